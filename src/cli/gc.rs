//! `kiln gc`: letting go of what the store has not used for a while.

use std::time::Duration;

use super::arguments::Gc;
use super::context::Context;
use super::output::{bytes, count};
use crate::error::Result;
use crate::store::Store;

pub fn run(context: &Context, arguments: &Gc) -> Result<u8> {
    let age = Duration::from_secs(u64::from(arguments.days) * 24 * 60 * 60);
    let collected = Store::collect(&context.store_path, age, arguments.dry_run)?;
    context.report("gc", &collected, || {
        let verb = if arguments.dry_run { "Would remove" } else { "Removed" };
        vec![format!("{verb} {}, {}", count(collected.files as usize, "file"), bytes(collected.bytes))]
    })?;
    Ok(0)
}
