//! What several programs print at the same time: line by line, each with its program's name in front. Bytes are passed
//! on as they are, whatever they mean; only the ends of lines are looked at.

use std::io::{self, Read, Write};

use anstyle::{AnsiColor, Style};

/// The longest line that is held back until it is whole, in bytes; longer ones are shown in pieces.
const LONGEST: usize = 16 << 10;

/// The colours of names, in turn.
const COLORS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// What stands in front of the lines of each of `names`, in their order: aligned, and coloured if wanted.
pub fn prefixes(names: &[&str], coloured: bool) -> Vec<String> {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let prefix = |(number, name): (usize, &&str)| {
        let style = match coloured {
            true => COLORS[number % COLORS.len()].on_default(),
            false => Style::new(),
        };
        format!("{style}{name:width$} |{style:#} ")
    };
    names.iter().enumerate().map(prefix).collect()
}

/// Copies all that `from` gives to stdout, each line with `prefix` in front. What cannot be written is read all the same,
/// so that its program need not wait; the first such error is handed to `deaf`.
pub fn copy(mut from: impl Read, prefix: &str, coloured: bool, deaf: impl FnOnce(io::Error)) {
    let mut lines = Lines { prefix: prefix.as_bytes(), coloured, held: Vec::new() };
    let mut buffer = [0; 64 << 10];
    let mut deaf = Some(deaf);
    loop {
        let (count, out) = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A pipe that cannot be read has ended.
            Ok(0) | Err(_) => (0, lines.end()),
            Ok(count) => (count, lines.feed(&buffer[..count])),
        };
        if deaf.is_some()
            && let Err(error) = write(&out)
            && let Some(deaf) = deaf.take()
        {
            deaf(error);
        }
        if count == 0 {
            return;
        }
    }
}

/// Whole lines at once, so that no other program's come between.
fn write(out: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(out)?;
    stdout.flush()
}

/// Bytes on their way to lines.
struct Lines<'a> {
    prefix: &'a [u8],
    coloured: bool,
    /// The beginning of a line whose end has not come yet; never longer than [`LONGEST`].
    held: Vec<u8>,
}

impl Lines<'_> {
    /// The lines that `bytes` complete.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            self.held.extend_from_slice(content);
            while self.held.len() > LONGEST {
                let rest = self.held.split_off(whole(&self.held[..LONGEST]));
                let line = std::mem::replace(&mut self.held, rest);
                self.line(&line, &mut out);
            }
            if ended {
                let line = std::mem::take(&mut self.held);
                self.line(line.strip_suffix(b"\r").unwrap_or(&line), &mut out);
            }
        }
        out
    }

    /// The last line, if it was not ended.
    fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let line = std::mem::take(&mut self.held);
        if !line.is_empty() {
            self.line(&line, &mut out);
        }
        out
    }

    fn line(&self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(line);
        // A colour that the program has left on ends with its line.
        if self.coloured && line.contains(&0x1b) {
            out.extend_from_slice(b"\x1b[0m");
        }
        out.push(b'\n');
    }
}

/// Where to cut so that no character is torn: `bytes` may end within one (RFC 3629, section 3).
fn whole(bytes: &[u8]) -> usize {
    let continuing = bytes.iter().rev().take_while(|byte| **byte & 0xc0 == 0x80).count();
    let Some(start) = bytes.len().checked_sub(continuing + 1) else { return bytes.len() };
    let length = match bytes[start] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return bytes.len(),
    };
    // Bytes that are no character at all are cut wherever.
    if continuing + 1 < length && start > 0 { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Lines, prefixes};

    fn split(pieces: &[&[u8]]) -> Vec<u8> {
        let mut lines = Lines { prefix: b"a | ", coloured: false, held: Vec::new() };
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| lines.feed(piece)).collect();
        out.extend(lines.end());
        out
    }

    #[test]
    fn names_are_aligned_and_coloured() {
        assert_eq!(prefixes(&["api", "queue"], false), ["api   | ", "queue | "]);
        assert_eq!(prefixes(&["api"], true), ["\x1b[36mapi |\x1b[0m "]);
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let expected = b"a | one\na | \na | two\na | three\n";
        let text = b"one\n\ntwo\r\nthree";
        assert_eq!(split(&[text]), expected);
        for at in 0..text.len() {
            assert_eq!(split(&[&text[..at], &text[at..]]), expected, "cut at {at}");
        }
        assert_eq!(split(&[b"\xff\xfe\x80\n"]), b"a | \xff\xfe\x80\n");
        assert_eq!(split(&[]), b"");
    }

    #[test]
    fn long_lines_come_in_pieces_between_characters() {
        let long = "ä€😀".repeat(LONGEST / 3);
        let out = String::from_utf8(split(&[long.as_bytes(), b"\nnext"])).unwrap();
        let lines: Vec<&str> = out.lines().map(|line| line.strip_prefix("a | ").unwrap()).collect();
        assert_eq!(lines[..lines.len() - 1].concat(), long);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.len() <= LONGEST));
        assert_eq!(lines.last(), Some(&"next"));
        // What is no text is passed on all the same.
        let noise = [0x80].repeat(3 * LONGEST);
        let count = split(&[&noise]).iter().filter(|byte| **byte == 0x80).count();
        assert_eq!(count, noise.len());
    }

    #[test]
    fn a_colour_ends_with_its_line() {
        let mut lines = Lines { prefix: b"", coloured: true, held: Vec::new() };
        assert_eq!(lines.feed(b"\x1b[31mred\nplain\n"), b"\x1b[31mred\x1b[0m\nplain\n");
    }
}
