//! `kiln schema`: JSON Schema (draft 2020-12) of what people write and of what programs read. The schemas are written
//! beside the types that they describe; tests hold each to what kiln takes and prints.

use serde_json::{Map, Value, json};

use super::arguments::Schema;
use super::context::Context;
use super::output;
use crate::error::{Error, Result};
use crate::workspace::nearest;

const DEFINITION: &str = include_str!("../workspace/definition.schema.json");
const KILN_TOML: &str = include_str!("../workspace/kiln.schema.json");
const LOCKFILE: &str = include_str!("../lock/lockfile.schema.json");
const OUTPUTS: &str = include_str!("outputs.schema.json");

/// The files that people write, or that kiln does.
const FILES: [&str; 3] = ["definition", "kiln.toml", "lockfile"];

pub fn run(context: &Context, arguments: &Schema) -> Result<u8> {
    let outputs = read(OUTPUTS)?;
    let reports = outputs["outputs"].as_object().cloned().unwrap_or_default();
    let Some(name) = &arguments.name else {
        let names: Vec<&str> = FILES.into_iter().chain(reports.keys().map(String::as_str)).chain(["error"]).collect();
        context.report("schemas", &names, || names.iter().map(|name| (*name).to_owned()).collect())?;
        return Ok(0);
    };
    let schema = match name.as_str() {
        "definition" => read(DEFINITION)?,
        "kiln.toml" => read(KILN_TOML)?,
        "lockfile" => lockfile()?,
        "error" => outputs["error"].clone(),
        "schemas" => report(name, &json!({ "type": "array", "items": { "type": "string" } }), &Value::Null),
        name => match reports.get(name) {
            Some(schema) => report(name, schema, &outputs["$defs"]),
            None => return Err(unknown(name, &reports)),
        },
    };
    output::raw(format!("{}\n", serde_json::to_string_pretty(&schema)?).as_bytes())?;
    Ok(0)
}

fn read(text: &str) -> Result<Value> {
    Ok(serde_json::from_str(text)?)
}

/// A lockfile says of images, users and steps what definitions say.
fn lockfile() -> Result<Value> {
    let (mut lockfile, definition) = (read(LOCKFILE)?, read(DEFINITION)?);
    if let (Some(own), Some(shared)) = (lockfile["$defs"].as_object_mut(), definition["$defs"].as_object()) {
        own.extend(shared.clone());
    }
    Ok(lockfile)
}

/// What a command prints with `--format json`.
fn report(name: &str, schema: &Value, definitions: &Value) -> Value {
    let full = format!("kiln/{name}");
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": full,
        "type": "object",
        "properties": {
            "schema": {
                "type": "object",
                "properties": { "name": { "const": full }, "version": { "const": 1 } },
                "required": ["name", "version"],
            },
        },
        "required": ["schema", name],
    });
    document["properties"][name] = schema.clone();
    if !definitions.is_null() {
        document["$defs"] = definitions.clone();
    }
    document
}

fn unknown(name: &str, reports: &Map<String, Value>) -> Error {
    let error = Error::new(format!("there is no schema `{name}`"));
    match nearest(name, FILES.into_iter().chain(reports.keys().map(String::as_str))) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`kiln schema` lists all of them"),
    }
}
