//! Overrides (npm's documentation of package.json, "overrides"): rules that replace what packages ask for,
//! everywhere or only below some package. A rule is in force for all that is below the package it names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ecosystem::npm::range::Range;
use crate::ecosystem::npm::spec::{Spec, Wanted, split};
use crate::error::{Error, Result};

/// Levels of rules within rules.
const DEEPEST: usize = 32;
/// Rules in all.
const MOST: usize = 10_000;

/// A rule's place.
pub(super) type RuleId = usize;

#[derive(Debug)]
struct Rule {
    parent: Option<RuleId>,
    /// As written: `name` or `name@range`.
    key: String,
    name: String,
    /// Which specifiers of the name the rule is for; `*` for all.
    range: String,
    /// What is asked for instead.
    value: String,
    children: Vec<RuleId>,
}

/// All rules of a project; the first holds the others and is none itself.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the rules. `$name` stands for what the project itself asks for, which `own` knows.
    pub fn parse(overrides: &Map<String, Value>, own: &BTreeMap<String, String>) -> Result<Self> {
        let mut rules = Self::default();
        if overrides.is_empty() {
            return Ok(rules);
        }
        let none = String::new;
        rules.0.push(Rule {
            parent: None,
            key: none(),
            name: none(),
            range: none(),
            value: none(),
            children: Vec::new(),
        });
        rules.read(0, overrides, own, 0)?;
        Ok(rules)
    }

    fn read(
        &mut self,
        parent: RuleId,
        from: &Map<String, Value>,
        own: &BTreeMap<String, String>,
        depth: usize,
    ) -> Result<()> {
        if depth > DEEPEST || self.0.len() > MOST {
            return Err(Error::no(format!("there are more than {MOST} overrides, or deeper than {DEEPEST} levels")));
        }
        for (key, value) in from.iter().filter(|(key, _)| *key != ".") {
            let (name, range) = split(key);
            let range = if range.is_empty() { "*" } else { range };
            let what = |value: &Value| match value {
                Value::String(text) => referred(key, text, own),
                _ => Err(Error::no(format!("the override of `{key}` is {value}: a specifier is expected, or a table"))
                    .hint("as in `overrides = { name = \"1.2.3\" }`")),
            };
            let nested = value.as_object();
            let value = match nested.map(|table| table.get(".")) {
                None => what(value)?,
                Some(Some(value)) => what(value)?,
                Some(None) => range.to_owned(),
            };
            // Says what is wrong with either.
            Spec::parse(name, range)?;
            Spec::parse(name, &value)?;
            let id = self.0.len();
            let (key, name, range) = (key.clone(), name.to_owned(), range.to_owned());
            self.0.push(Rule { parent: Some(parent), key, name, range, value, children: Vec::new() });
            self.0[parent].children.push(id);
            if let Some(table) = nested {
                self.read(id, table, own, depth + 1)?;
            }
        }
        Ok(())
    }

    /// What is in force for the project itself; `None` without rules.
    pub fn root(&self) -> Option<RuleId> {
        (!self.0.is_empty()).then_some(0)
    }

    /// What a rule says instead of a dependency called `name`, if it is for that name.
    pub fn value(&self, rule: RuleId, name: &str) -> Option<&str> {
        let rule = &self.0[rule];
        (rule.parent.is_some() && rule.name == name && rule.value != "*").then_some(rule.value.as_str())
    }

    /// Which specifiers a rule is for; `None` for the one that holds the others.
    pub fn key(&self, rule: RuleId) -> Option<&str> {
        self.0[rule].parent.map(|_| self.0[rule].range.as_str())
    }

    /// Whether a node of this name and version came of the rule.
    pub fn made(&self, rule: RuleId, name: &str, version: &str) -> bool {
        let rule = &self.0[rule];
        rule.parent.is_some() && rule.name == name && rule.value == version
    }

    /// The rule's name, for which the rule that holds the others has none.
    pub fn name(&self, rule: RuleId) -> &str {
        &self.0[rule].name
    }

    fn ancestry(&self, rule: RuleId) -> impl Iterator<Item = RuleId> + '_ {
        std::iter::successors(Some(rule), |id| self.0[*id].parent)
    }

    /// The rules that count where `rule` is in force, the innermost first; one of a key.
    fn in_force(&self, rule: RuleId) -> Vec<RuleId> {
        let mut all: Vec<RuleId> = Vec::new();
        let mut add = |id: RuleId| {
            if !all.iter().any(|other| self.0[*other].key == self.0[id].key) {
                all.push(id);
            }
        };
        for id in self.ancestry(rule) {
            self.0[id].children.iter().for_each(|child| add(*child));
            if self.0[id].parent.is_some() {
                add(id);
            }
        }
        all
    }

    /// What is in force for a dependency of a package for which `rule` is.
    pub fn of_edge(&self, rule: RuleId, name: &str, spec: &str) -> RuleId {
        let is_for = |id: &RuleId| {
            let rule = &self.0[*id];
            rule.name == name && (rule.range == "*" || meets(name, spec, &rule.range))
        };
        self.in_force(rule).into_iter().find(is_for).unwrap_or(rule)
    }

    /// The one of two that is within the other, or what both are within; `None` if they cannot both be had.
    pub fn more_specific(&self, first: RuleId, second: RuleId) -> Option<RuleId> {
        if self.ancestry(second).any(|id| id == first) {
            return Some(second);
        }
        if self.ancestry(first).any(|id| id == second) {
            return Some(first);
        }
        if self.contradict(first, second) {
            return None;
        }
        self.ancestry(second).find(|id| self.ancestry(first).any(|other| other == *id))
    }

    /// Whether a package cannot be under both.
    pub fn conflict(&self, first: RuleId, second: RuleId) -> bool {
        self.more_specific(first, second).is_none()
    }

    fn contradict(&self, first: RuleId, second: RuleId) -> bool {
        let others = self.in_force(second);
        self.in_force(first).into_iter().any(|one| {
            let other = others.iter().find(|other| self.0[**other].key == self.0[one].key && **other != one);
            other.is_some_and(|other| {
                let value = |id: RuleId| range(&self.0[id].name, &self.0[id].value);
                matches!((value(one), value(*other)), (Some(one), Some(other)) if !one.intersects(&other))
            })
        })
    }
}

/// `$name` is what the project asks of `name`.
fn referred(key: &str, text: &str, own: &BTreeMap<String, String>) -> Result<String> {
    match text.strip_prefix('$') {
        None if text.is_empty() => Ok("*".into()),
        None => Ok(text.to_owned()),
        Some(name) => own.get(name).cloned().ok_or_else(|| {
            Error::no(format!("the override of `{key}` refers to `{name}`, which is no dependency of the project"))
                .hint("`$name` stands for what `dependencies` ask of `name`: add it there, or write a version")
        }),
    }
}

/// A specifier as a range, where it is one.
fn range(name: &str, spec: &str) -> Option<Range> {
    match Spec::parse(name, spec).ok()?.wanted {
        Wanted::Version(version) => Range::parse(&version.to_string()),
        Wanted::Range(None) => Range::parse("*"),
        Wanted::Range(range) => range,
        Wanted::Tag(_) => None,
    }
}

/// Whether a rule for `key` is for a dependency that asks for `spec`: always, where that cannot be compared.
fn meets(name: &str, spec: &str, key: &str) -> bool {
    match (range(name, spec), range(name, key)) {
        (Some(one), Some(other)) => one.intersects(&other),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(overrides: Value) -> Result<Rules> {
        let own = BTreeMap::from([("react".to_owned(), "^18".to_owned())]);
        Rules::parse(overrides.as_object().unwrap(), &own)
    }

    #[test]
    fn rules_are_for_names_ranges_and_places() {
        let rules = rules(json!({
            "a": "2", "b@^1": "1.5.0", "c": {".": "3", "d": "$react"}, "e": {"a": "9"}
        }))
        .unwrap();
        let root = rules.root().unwrap();
        let asked = |rule, name, spec| rules.value(rules.of_edge(rule, name, spec), name).map(str::to_owned);
        assert_eq!(asked(root, "a", "^1").as_deref(), Some("2"));
        assert_eq!(asked(root, "b", "~1.2").as_deref(), Some("1.5.0"));
        assert_eq!(asked(root, "b", "^2"), None);
        assert_eq!(asked(root, "d", "1"), None);
        let below_c = rules.of_edge(root, "c", "1");
        assert_eq!(asked(below_c, "d", "1").as_deref(), Some("^18"));
        let below_e = rules.of_edge(root, "e", "1");
        assert_eq!(asked(below_e, "a", "1").as_deref(), Some("9"));
        assert!(rules.conflict(below_c, below_e), "of `a` 2 and 9 are wanted");
        assert_eq!(rules.more_specific(root, below_e), Some(below_e));
    }

    #[test]
    fn wrong_rules_are_refused() {
        for (wrong, words) in [
            (json!({"a": 1}), "a specifier is expected"),
            (json!({"a": "$b"}), "no dependency of the project"),
            (json!({"../a": "1"}), "is not the name"),
            (json!({"a": "git+ssh://x/y"}), "a git repository"),
        ] {
            assert!(rules(wrong.clone()).unwrap_err().to_string().contains(words), "{wrong}");
        }
        let mut deep = json!("1");
        for _ in 0..40 {
            deep = json!({"a": deep});
        }
        assert!(rules(deep).is_err());
        assert!(rules(json!({})).unwrap().root().is_none());
    }
}
