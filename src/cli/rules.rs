//! `kiln rules`: what may not be baked into an image.

use super::context::Context;
use crate::ecosystem::debian::rules::RULES;
use crate::error::Result;

pub fn run(context: &Context) -> Result<u8> {
    context.report("rules", &RULES, || {
        RULES
            .iter()
            .flat_map(|rule| {
                let action = format!("{:?}", rule.action).to_lowercase();
                let mut lines = vec![format!("{} ({action}): {}", rule.name, rule.why)];
                lines.extend(rule.paths.iter().map(|path| format!("    /{path}")));
                lines
            })
            .collect()
    })?;
    Ok(0)
}
