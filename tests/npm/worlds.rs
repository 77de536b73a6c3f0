//! Second tier: made-up registries, full of peers that contradict each other, are resolved by this machine's npm
//! and by kiln. KILN_TEST_NPM_WORLDS says which, as `FROM..TO`.
#![allow(clippy::disallowed_methods, reason = "tests look at the machine they run on")]

use std::collections::BTreeMap;
use std::fs;

use kiln::ecosystem::npm::lockfile;
use kiln::error::Kind;
use serde_json::{Map, Value, json};

use crate::real::{ENDLESS, differences, npm, ours, real, request, scratch};
use crate::registry::{Packages, World};

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..10 {
            dice.roll(2);
        }
        dice
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

const VERSIONS: [&str; 6] = ["1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.1.0", "3.0.0-beta.1"];
const RANGES: [&str; 12] =
    ["*", "^1.0.0", "^2.0.0", "~1.0.0", "1.0.0", ">=1", "1.x || 2.x", "<2", "^1.1.0", "2", "latest", ">=1.0.1 <2.1.0"];

/// A registry, the dependencies of a project, and its overrides.
fn world(seed: u64) -> (Packages, Value, Value) {
    let mut dice = Dice::new(seed);
    let all = ["a", "b", "c", "d", "@s/e", "f-g", "f", "h.js", "i", "J"];
    let names: Vec<&str> = all[..4 + dice.roll(7)].to_vec();
    let (peers, optional) = (dice.roll(60), dice.roll(30));
    let mut packages = Packages::default();
    for name in &names {
        for version in VERSIONS {
            // Most ranges shall find something.
            if !matches!(version, "1.0.0" | "1.1.0" | "2.0.0") && dice.chance(50) {
                continue;
            }
            let mut manifest = Map::new();
            for kind in ["dependencies", "peerDependencies", "optionalDependencies"] {
                let mut table = Map::new();
                let likely = match kind {
                    "dependencies" => 55,
                    "peerDependencies" => peers,
                    _ => optional,
                };
                for _ in 0..3 {
                    if dice.chance(if seed.is_multiple_of(2) { likely / 2 } else { likely }) {
                        let other = dice.one(&names);
                        if other != *name {
                            table.insert(other.into(), dice.one(&RANGES).into());
                        }
                    }
                }
                if kind == "peerDependencies" && dice.chance(40) {
                    let meta: Map<String, Value> = table
                        .keys()
                        .filter(|_| dice.chance(60))
                        .map(|name| (name.clone(), json!({"optional": true})))
                        .collect();
                    manifest.insert("peerDependenciesMeta".into(), meta.into());
                }
                if !table.is_empty() {
                    manifest.insert(kind.into(), table.into());
                }
            }
            if dice.chance(8) {
                manifest.insert("deprecated".into(), "old".into());
            }
            packages.add(&format!("{name}@{version}"), manifest.into(), &[]);
        }
    }
    let mut dependencies = Map::new();
    for _ in 0..1 + dice.roll(4) {
        dependencies.insert(dice.one(&names).into(), dice.one(&RANGES).into());
    }
    if dice.chance(20) {
        dependencies.insert("alias".into(), format!("npm:{}@{}", dice.one(&names), dice.one(&RANGES)).into());
    }
    let mut overrides = Map::new();
    if dice.chance(30) {
        let name = dice.one(&names);
        if !dependencies.contains_key(name) {
            let value = dice.one(&RANGES);
            let rule = match dice.roll(3) {
                0 => json!({ dice.one(&names): value }),
                1 => json!({ ".": dice.one(&RANGES), dice.one(&names): value }),
                _ => json!(value),
            };
            overrides.insert(name.into(), rule);
        }
    }
    (packages, dependencies.into(), overrides.into())
}

fn range() -> std::ops::Range<u64> {
    let named = std::env::var("KILN_TEST_NPM_WORLDS").unwrap_or("24..84".into());
    let (from, to) = named.split_once("..").expect("FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn made_up_registries_are_resolved_as_npm_does() {
    if !real("made_up_registries_are_resolved_as_npm_does") {
        return;
    }
    let mut wrong = Vec::new();
    let (mut solved, mut refused, mut circles, mut endless, mut placed_in_all) = (0, 0, 0, 0, 0);
    for seed in range() {
        let (packages, dependencies, overrides) = world(seed);
        let world = World::new(&packages);
        let folder = tempfile::Builder::new().prefix("world").tempdir_in(scratch("work")).unwrap();
        let project =
            json!({"name": "project", "version": "1.0.0", "dependencies": dependencies, "overrides": overrides});
        fs::write(folder.path().join("package.json"), project.to_string()).unwrap();
        let registry = format!("--registry={}", world.server.url("/"));
        let said = npm(folder.path(), 60, &["install", "--package-lock-only", "--prefer-online", &registry]);
        let request = request(&dependencies, &overrides);
        match (world.solve(&request), said) {
            (Ok(placed), Ok(())) => {
                let text = fs::read_to_string(folder.path().join("package-lock.json")).unwrap();
                let npms = lockfile::read(&text, &request.platform, &request.engines).unwrap();
                let found = differences(&ours(&placed), &ours(&npms));
                solved += 1;
                placed_in_all += npms.len();
                wrong.extend(found.into_iter().map(|line| format!("{seed}: {line}")));
            }
            // npm ends such circles with a symbolic link; see docs/npm-parity.md.
            (Err(error), _) if error.to_string().contains("below itself without end") => circles += 1,
            // npm goes on for ever in some worlds.
            (_, Err(said)) if said == ENDLESS => endless += 1,
            (Err(error), Err(_)) if error.what() == Kind::No => refused += 1,
            (Err(error), Err(said)) => wrong.push(format!("{seed}: {error}; npm says {said}")),
            (Ok(_), Err(said)) => wrong.push(format!("{seed}: kiln resolves it, npm says {said}")),
            (Err(error), Ok(())) => wrong.push(format!("{seed}: npm resolves it, kiln says {error}")),
        }
    }
    eprintln!(
        "{solved} worlds resolved to {placed_in_all} packages, {refused} refused by both, {circles} with circles, {endless} \
         in which npm did not end"
    );
    let seeds: BTreeMap<&str, usize> = wrong.iter().fold(BTreeMap::new(), |mut seeds, line| {
        *seeds.entry(line.split(':').next().unwrap()).or_default() += 1;
        seeds
    });
    assert!(wrong.is_empty(), "{} worlds differ\n{}", seeds.len(), wrong.join("\n"));
    assert!(solved > 0, "no world was looked at");
}
