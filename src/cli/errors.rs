//! The one renderer of errors.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::arguments::{Color, Format, Global};
use super::github::annotated;
use crate::error::Error;

const RED: Style = AnsiColor::Red.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Prints `error` on stderr: the chain, what it shows, an empty line, and the hints.
pub fn print(error: &Error, global: &Global) {
    let choice = match global.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    let mut out = anstream::AutoStream::new(std::io::stderr().lock(), choice);
    // Nothing can be done about a stderr that is gone.
    let _ = match global.format {
        Format::Json => json(error, &mut out),
        Format::Github => writeln!(out, "{}", safe(&annotated(error))).and_then(|()| text(error, &mut out)),
        Format::Text | Format::Markdown => text(error, &mut out),
    };
}

fn json(error: &Error, out: &mut dyn Write) -> std::io::Result<()> {
    let value = serde_json::json!({
        "schema": { "name": "kiln/error", "version": 1 },
        "error": error.message(),
        "causes": &error.chain()[1..],
        "detail": error.details(),
        "hints": error.hints(),
        "exit-code": error.exit_code(),
    });
    writeln!(out, "{value}")
}

fn text(error: &Error, out: &mut dyn Write) -> std::io::Result<()> {
    let mut chain = error.chain().iter();
    if let Some(message) = chain.next() {
        writeln!(out, "{RED}error{RED:#}: {}", safe(message))?;
    }
    for cause in chain {
        writeln!(out, "  {RED}caused by{RED:#}: {}", safe(cause).replace('\n', "\n    "))?;
    }
    if let Some(detail) = error.details() {
        for line in detail.lines() {
            writeln!(out, "    {}", safe(line))?;
        }
    }
    if !error.hints().is_empty() {
        writeln!(out)?;
    }
    for hint in error.hints() {
        writeln!(out, "{CYAN}hint{CYAN:#}: {}", safe(hint))?;
    }
    Ok(())
}

/// Text from outside cannot steer the terminal.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
