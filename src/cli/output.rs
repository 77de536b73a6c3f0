//! What is printed: data on stdout, everything else on stderr.

use std::io::{self, Write};

use serde::Serialize;

use super::arguments::Format;
use super::context::Context;
use super::errors::safe;
use super::github;
use crate::error::{Error, Result};

impl Context {
    /// Prints a line of data on stdout.
    pub fn print(&self, line: &str) -> Result<()> {
        self.progress.suspend(|| quietly(writeln!(io::stdout(), "{}", safe(line))))
    }

    /// Prints a report on stdout: JSON if that is the format, else the lines.
    pub fn report<T: Serialize>(&self, name: &str, value: &T, lines: impl FnOnce() -> Vec<String>) -> Result<()> {
        if self.format == Format::Json {
            let mut document = serde_json::json!({ "schema": { "name": format!("kiln/{name}"), "version": 1 } });
            document[name] = serde_json::to_value(value)?;
            let text = serde_json::to_string_pretty(&document)?;
            return self.progress.suspend(|| quietly(writeln!(io::stdout(), "{text}")));
        }
        let lines = lines();
        for line in &lines {
            self.print(line)?;
        }
        if self.format == Format::Github && !lines.is_empty() {
            self.summarize(&github::preformatted(name, &lines))?;
        }
        Ok(())
    }

    /// Adds to the summary that a run of GitHub Actions shows of this step, if there is one.
    pub fn summarize(&self, markdown: &str) -> Result<()> {
        match self.summary().filter(|_| self.format == Format::Github) {
            Some(path) => github::summarize(path, markdown),
            None => Ok(()),
        }
    }

    /// Warns of something on stderr, unless `--quiet`.
    pub fn warn(&self, text: &str) {
        let line = match self.format {
            Format::Github => github::annotation(github::Level::Warning, None, text),
            _ => format!("warning: {text}"),
        };
        self.say(&line);
    }

    /// Says something on stderr, unless `--quiet`.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.progress.suspend(|| {
                let _ = writeln!(anstream::stderr(), "{line}");
            });
        }
    }
}

/// Prints a whole document on stdout, as it is: one that kiln has made itself.
pub fn raw(document: &[u8]) -> Result<()> {
    quietly(io::stdout().write_all(document).and_then(|()| io::stdout().flush()))
}

/// A reader that has had enough (`| head`) is no error.
fn quietly(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Error::new("writing to stdout").caused_by(error)),
    }
}

/// Bytes for people: `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = count * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

/// So many of something: `1 package`, `2 packages`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(123_456_789), "117.7 MiB");
    }
}
