//! The report as lines for a terminal.

use super::report::{Environment, Report, Status};
use super::row::{Row, Section};
use super::rows::rows;
use super::words::{plain, short};
use crate::cli::output::count;
use crate::lock::diff::Class;

/// The report's lines: both identities, what needs attention, the rest, and the counts.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![
        format!("<<< {}{}", plain(&report.old.operand), identity(report, |environment| environment.old.as_ref())),
        format!(">>> {}{}", plain(&report.new.operand), identity(report, |environment| environment.new.as_ref())),
        String::new(),
    ];
    if report.summary.same {
        lines.push(sentence(report));
        return lines;
    }
    let rows = rows(report);
    for section in rows.chunk_by(|one, other| one.section == other.section) {
        lines.push(section[0].section.title().to_owned());
        lines.extend(table(section));
        lines.push(String::new());
    }
    if report.summary.same_content {
        lines.push("What the images are made of is the same.".to_owned());
    }
    lines.push(footer(report));
    lines
}

/// What the one lockfile of a side is told by; how many there are, if there are several.
fn identity(report: &Report, of: impl Fn(&Environment) -> Option<&super::operands::Identity>) -> String {
    let known: Vec<_> = report.environments.iter().filter_map(|one| Some((&one.name, of(one)?))).collect();
    match known.as_slice() {
        [(name, identity)] => {
            let dated = identity.dated.as_ref().map(|date| format!("  dated {}", plain(date))).unwrap_or_default();
            format!("  {}  sha256:{}{dated}", plain(name), short(&identity.sha256))
        }
        several => format!("  {}", count(several.len(), "environment")),
    }
}

/// What is said where nothing differs.
pub fn sentence(report: &Report) -> String {
    let packages: usize = report.environments.iter().map(|environment| environment.locked).sum();
    let environments = count(report.environments.len(), "environment");
    match report.environments.len() {
        0 => "No differences: there is no lockfile on either side.".to_owned(),
        1 => format!("No differences: both sides lock the same {}.", count(packages, "package")),
        _ => format!("No differences: both sides lock the same {} in {environments}.", count(packages, "package")),
    }
}

/// How many changes there are of each class.
pub fn footer(report: &Report) -> String {
    let summary = &report.summary;
    let mut counts = Vec::new();
    match summary.attention {
        0 => {}
        1 => counts.push("1 needs attention".to_owned()),
        number => counts.push(format!("{number} need attention")),
    }
    counts.extend(summary.classes.iter().map(|(class, number)| format!("{number} {}", noun(*class, *number))));
    let same = report.environments.iter().filter(|environment| environment.status == Status::Unchanged).count();
    let mut rest = format!("{} unchanged", count(summary.unchanged, "package"));
    if same > 0 {
        rest.push_str(&format!(", {} unchanged", count(same, "environment")));
    }
    format!("{}; {rest}", counts.join(", "))
}

fn noun(class: Class, number: usize) -> String {
    let (one, several) = match class {
        Class::Scripts => ("script change", "script changes"),
        Class::Origin => ("origin change", "origin changes"),
        Class::Signature => ("signature change", "signature changes"),
        Class::Licence => ("licence change", "licence changes"),
        Class::Base => ("in the base", "in the base"),
        Class::Version => ("other version", "other versions"),
        Class::Selection => ("selection change", "selection changes"),
        Class::Source => ("source change", "source changes"),
        Class::Placement => ("placement change", "placement changes"),
        Class::Platform => ("platform", "platforms"),
        Class::Step => ("step", "steps"),
        Class::Files => ("folder or file copied", "folders or files copied"),
        Class::Image => ("image setting", "image settings"),
        Class::Settings => ("setting", "settings"),
        Class::Accounts => ("account", "accounts"),
        Class::Suite => ("from another suite", "from another suite"),
        Class::Words => ("change of words", "changes of words"),
        Class::Index => ("index", "indexes"),
        Class::Output => ("image", "images"),
        Class::Environment => ("environment", "environments"),
        other => (other.name(), other.name()),
    };
    if number == 1 { one } else { several }.to_owned()
}

/// Rows with their columns aligned.
fn table(rows: &[Row]) -> Vec<String> {
    let width = |of: &dyn Fn(&Row) -> &str| rows.iter().map(|row| plain(of(row)).chars().count()).max().unwrap_or(0);
    // One long name does not move the others' columns out of sight.
    let kind = width(&|row| &row.kind).min(24);
    let name = width(&|row| &row.name).min(40);
    let what = width(&|row| &row.what).min(44);
    let size = width(&|row| &row.size);
    let line = |row: &Row| {
        let letters = if row.section == Section::Images {
            String::new()
        } else {
            format!("[{}{}] ", row.letters[0], row.letters[1])
        };
        let line = format!(
            "{letters}{:kind$}  {:name$}  {:what$}  {:>size$}  {}",
            plain(&row.kind),
            plain(&row.name),
            plain(&row.what),
            row.size,
            row.remarks(),
        );
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
