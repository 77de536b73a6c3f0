//! What registries answer when they say no.

use crate::error::Error;
use crate::net::Reply;

/// The largest answer that is neither a manifest nor a blob, in bytes.
pub(super) const LARGEST: u64 = 1 << 20;

/// The error of an answer that says no, with what the registry says about it (OCI distribution specification, error
/// codes). Its text comes from outside.
pub(super) fn refused(reply: &Reply) -> Error {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let error = Error::new(format!("the registry answered {}", reply.status));
    let said: Option<Errors> = serde_json::from_slice(&reply.content).ok();
    let said: Vec<String> = said
        .into_iter()
        .flat_map(|said| said.errors)
        .take(5)
        .map(|entry| {
            let text = format!("{}: {}", entry.code, entry.message);
            text.chars().take(300).collect::<String>().escape_debug().to_string()
        })
        .collect();
    if said.is_empty() { error } else { error.detail(said.join("\n")) }
}
