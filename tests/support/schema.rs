//! Checks values against the schemas that `kiln schema` prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use boon::{Compiler, Schemas};
use serde_json::Value;

/// A schema that values are checked against.
pub struct Schema {
    schemas: Schemas,
    index: boon::SchemaIndex,
    /// As it is printed.
    pub value: Value,
}

impl Schema {
    /// The one that `kiln schema NAME` prints.
    pub fn of(name: &str) -> Self {
        Self::new(printed(name))
    }

    /// The same without room for keys that it does not have: later kilns may print more, this one says all that it
    /// prints.
    pub fn strict(name: &str) -> Self {
        let mut value = printed(name);
        close(&mut value);
        Self::new(value)
    }

    pub fn new(value: Value) -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource("file:///schema.json", value.clone()).unwrap();
        let index = compiler.compile("file:///schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error}"));
        Self { schemas, index, value }
    }

    /// What is wrong with a value.
    pub fn complaint(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.index).err().map(|error| format!("{error:#}"))
    }

    /// Fails the test if a value is not what the schema says.
    pub fn check(&self, what: &str, value: &Value) {
        if let Some(complaint) = self.complaint(value) {
            panic!("{what} is not what its schema says: {complaint}");
        }
    }
}

/// What `kiln schema NAME` prints.
fn printed(name: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln")).args(["schema", name]).output().unwrap();
    assert!(output.status.success(), "kiln schema {name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && fields.contains_key("type") {
                fields.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

/// TOML as the JSON that it stands for.
pub fn json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

/// Checks what kiln has taken: the workspace's file, its definitions and lockfiles.
pub fn check_workspace(root: &Path) {
    for (schema, folder, extension) in
        [("kiln.toml", "", "toml"), ("definition", "envs", "toml"), ("lockfile", "lockfiles", "lock")]
    {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        let wanted = |path: &std::path::PathBuf| {
            path.extension().is_some_and(|found| found == extension)
                && (!folder.is_empty() || path.ends_with("kiln.toml"))
        };
        let schema = Schema::of(schema);
        for path in paths.filter(wanted) {
            schema.check(&path.display().to_string(), &json(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Checks what a command has printed as JSON, if it is a report or an error of kiln's.
pub fn check_output(text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let name = value["schema"]["name"].as_str().and_then(|name| name.strip_prefix("kiln/"));
    if let Some(name) = name {
        Schema::strict(name).check(name, &value);
    }
}
