//! The report as a comment for a pull request. Names and versions are other people's text: none of it can become a
//! link, a mention, a tag or a cell of its own.

use super::report::Report;
use super::row::{Row, Section};
use super::rows::rows;
use super::text::{footer, sentence};
use super::words::{plain, visible};
use crate::digest::Digest;
use crate::error::Result;

/// By this a program finds the comment again that it wrote before.
const MARKER: &str = "<!-- kiln diff -->";
/// Sections with more rows are folded, unless they need attention.
const EXPANDED: usize = 10;
/// What is set aside for the words that count what was left out.
const RESERVED: usize = 240;
const HEADING: &str = "| | | name | change | size | |\n|---|---|---|---|---:|---|\n";

/// The comment, at most `most` bytes long.
pub fn comment(report: &Report, most: usize) -> Result<String> {
    let title = if report.summary.same { sentence(report) } else { footer(report) };
    let mut text = format!(
        "{MARKER}\n### kiln diff\n\n{} -> {}\n\n{}\n",
        code(&report.old.operand),
        code(&report.new.operand),
        escaped(&title),
    );
    if report.summary.same_content && !report.summary.same {
        text.push_str("\nWhat the images are made of is the same.\n");
    }
    let rows = rows(report);
    let mut left_out = 0;
    for section in rows.chunk_by(|one, other| one.section == other.section) {
        let room = most.saturating_sub(text.len() + RESERVED);
        let (written, missing) = table(section, room);
        text.push_str(&written);
        left_out += missing;
    }
    if left_out > 0 {
        let json = serde_json::to_string(report)?;
        let noun = if left_out == 1 { "row" } else { "rows" };
        text.push_str(&format!(
            "\n… {left_out} more {noun}: `kiln diff --format json` has them all (sha256 of its report: `{}`)\n",
            Digest::of(json.as_bytes())
        ));
    }
    Ok(text.trim_end().to_owned())
}

/// A section in at most `room` bytes, and how many of its rows did not fit.
fn table(rows: &[Row], room: usize) -> (String, usize) {
    let section = rows[0].section;
    let folded = section != Section::Attention && rows.len() > EXPANDED;
    let (start, end) = if folded {
        (format!("\n<details><summary>{} ({})</summary>\n\n{HEADING}", section.title(), rows.len()), "\n</details>\n")
    } else {
        (format!("\n#### {}\n\n{HEADING}", section.title()), "")
    };
    let mut text = start;
    for (index, row) in rows.iter().enumerate() {
        let line = line(row);
        if text.len() + line.len() + end.len() > room {
            // A heading alone says nothing.
            let kept = if index == 0 { String::new() } else { text + end };
            return (kept, rows.len() - index);
        }
        text.push_str(&line);
    }
    (text + end, 0)
}

fn line(row: &Row) -> String {
    // Remarks are cut off each by itself.
    let cells = [plain(&row.kind), plain(&row.name), plain(&row.what), row.size.clone(), row.remarks()];
    let cells = cells.map(|cell| code(&cell));
    format!("| {} | {} |\n", row.word(), cells.join(" | "))
}

/// Text from outside as what it is. Within `code`, nobody is mentioned and no issue is referred to.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<code>{}</code>", escaped(text)) }
}

/// Characters that mean something in Markdown or HTML, by their numbers: neither has another meaning for these.
fn escaped(text: &str) -> String {
    let text = visible(text);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        // `www.` alone makes a link.
        let link = c == '.' && text[..at].to_ascii_lowercase().ends_with("www");
        let harmless = c.is_alphanumeric() || !c.is_ascii() || " -+./(),;=%?'".contains(c);
        if harmless && !link { out.push(c) } else { out.push_str(&format!("&#{};", u32::from(c))) }
    }
    out
}
