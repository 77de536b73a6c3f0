//! `kiln diff`: what changed between two lockfiles, or between all of a workspace at two times.

mod git;
mod markdown;
mod operands;
mod packages;
mod report;
mod row;
mod rows;
mod text;
pub mod words;

use std::collections::BTreeSet;

use super::arguments::{Diff as Arguments, Format};
use super::context::Context;
use crate::error::{Error, Result};
use crate::lock::diff::Class;
use crate::workspace::nearest;
use report::Report;

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8> {
    let gates = gates(&arguments.fail_on)?;
    let (old, new) =
        operands::sides(context, arguments.old.as_deref(), arguments.new.as_deref(), &arguments.environments)?;
    let report = Report::new(old, new);
    match context.format {
        Format::Json => context.report("diff", &report, Vec::new)?,
        Format::Text => text::lines(&report).iter().try_for_each(|line| context.print(line))?,
        Format::Github => {
            text::lines(&report).iter().try_for_each(|line| context.print(line))?;
            context.summarize(&markdown::comment(&report, arguments.max_bytes as usize)?)?;
            if report.summary.attention > 0 {
                context.warn(&format!("kiln diff: {}", text::footer(&report)));
            }
        }
        Format::Markdown => context.print(&markdown::comment(&report, arguments.max_bytes as usize)?)?,
    }
    let found: BTreeSet<Class> = report.summary.classes.keys().copied().collect();
    let fails = (arguments.exit_code && !found.is_empty()) || !found.is_disjoint(&gates);
    if !found.is_disjoint(&gates) {
        let names: Vec<&str> = found.intersection(&gates).map(|class| class.name()).collect();
        context.say(&format!("there are changes that `--fail-on` names: {}", names.join(", ")));
    }
    Ok(u8::from(fails))
}

/// The classes that `--fail-on` names.
fn gates(names: &[String]) -> Result<BTreeSet<Class>> {
    let mut gates = BTreeSet::new();
    for name in names {
        match name.as_str() {
            "any" => gates.extend(Class::ALL),
            "attention" => gates.extend(Class::ALL.into_iter().filter(|class| class.needs_attention())),
            name => {
                let known = || Class::ALL.iter().map(|class| class.name());
                let class = Class::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
                    let error = Error::new(format!("`{name}` is no class of changes"));
                    match nearest(name, known()) {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => {
                            error.hint(format!("there are: any, attention, {}", known().collect::<Vec<_>>().join(", ")))
                        }
                    }
                })?;
                gates.insert(class);
            }
        }
    }
    Ok(gates)
}
