//! Second tier: npm's own library reads made-up versions and ranges as kiln does.

use std::fs;
use std::process::Command;

use kiln::ecosystem::npm::range::Range;
use kiln::ecosystem::npm::semver::Version;
use serde_json::{Value, json};

use crate::real::{ask, real, scratch};
use crate::worlds::Dice;

/// Answers for every pair of a range and a version, as npm asks: leniently, and with prereleases for engines.
const SCRIPT: &str = r"
const semver = require(process.argv[1] + '/npm/node_modules/semver')
const { ranges, versions } = JSON.parse(require('fs').readFileSync(process.argv[2]))
const read = versions.map(version => { const clean = semver.clean(version, true); return clean === null ? null : clean })
const held = ranges.map(range => semver.validRange(range, true) === null ? null : versions.map(version =>
  (semver.satisfies(version, range, true) ? 1 : 0) +
  (semver.satisfies(version, range, { loose: true, includePrerelease: true }) ? 2 : 0)))
const order = versions.map(one => versions.map(other =>
  semver.valid(one, true) && semver.valid(other, true) ? semver.compare(one, other, true) : null))
const meet = ranges.slice(0, 150).map(one => ranges.slice(0, 150).map(other => {
  try { return semver.intersects(one, other) } catch { return null }
}))
console.log(JSON.stringify({ read, held, order, meet }))
";

fn number(dice: &mut Dice) -> &'static str {
    dice.one(&["0", "1", "2", "3", "10", "x", "*", "X"])
}

fn version(dice: &mut Dice) -> String {
    let digit = |dice: &mut Dice| dice.one(&["0", "1", "2", "3", "10"]);
    let tail = dice.one(&["", "", "", "-0", "-alpha", "-alpha.1", "-beta.2.x", "+build", "-rc.1+5", "beta", "-"]);
    let mark = dice.one(&["", "", "", "v", "=", " "]);
    format!("{mark}{}.{}.{}{tail}", digit(dice), digit(dice), digit(dice))
}

fn range(dice: &mut Dice) -> String {
    let mut alternatives = Vec::new();
    for _ in 0..1 + dice.roll(2) {
        let mut words = Vec::new();
        for _ in 0..1 + dice.roll(2) {
            let operator = dice.one(&["", "", "^", "~", "~>", ">=", "<", "<=", ">", "=", ">= ", "^ ", "^v"]);
            let text = match dice.roll(4) {
                0 => number(dice).to_owned(),
                1 => format!("{}.{}", number(dice), number(dice)),
                2 => format!("{}.{}.{}", number(dice), number(dice), number(dice)),
                _ => version(dice).trim().to_owned(),
            };
            words.push(format!("{operator}{text}"));
        }
        if dice.chance(10) {
            words = vec![version(dice).trim().to_owned(), "-".into(), format!("{}.{}", number(dice), number(dice))];
        }
        alternatives.push(words.join(" "));
    }
    alternatives.join(dice.one(&["||", " || "]))
}

#[test]
fn versions_and_ranges_are_read_as_npm_does() {
    if !real("versions_and_ranges_are_read_as_npm_does") {
        return;
    }
    let mut dice = Dice::new(7);
    let versions: Vec<String> = (0..150).map(|_| version(&mut dice)).collect();
    let mut ranges: Vec<String> = (0..3000).map(|_| range(&mut dice)).collect();
    ranges.extend(["", "*", "latest", "x || ", ">=", "1 nonsense", "<0.0.0-0"].map(String::from));
    let file = scratch("semver").join("questions.json");
    fs::write(&file, json!({"ranges": ranges, "versions": versions}).to_string()).unwrap();
    let root = ask(&["npm", "root", "-g"]).unwrap();
    let output = Command::new("node").args(["-e", SCRIPT, &root]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    let read: Vec<Option<Version>> = versions.iter().map(|text| Version::parse(text)).collect();
    let mut wrong = Vec::new();
    for (at, version) in read.iter().enumerate() {
        let text = version.as_ref().map(|version| version.to_string().split('+').next().unwrap().to_owned());
        if json!(text) != answers["read"][at] {
            wrong.push(format!("{:?} is {text:?}, for npm {}", versions[at], answers["read"][at]));
        }
        for (other_at, other) in read.iter().enumerate() {
            let order = version.as_ref().zip(other.as_ref()).map(|(one, other)| one.cmp(other) as i8);
            if json!(order) != answers["order"][at][other_at] {
                wrong.push(format!("{:?} and {:?} are {order:?}", versions[at], versions[other_at]));
            }
        }
    }
    for (at, text) in ranges.iter().enumerate() {
        let held = Range::parse(text).map(|range| {
            let wide = Range::parse_with_prereleases(text).unwrap();
            let holds = |version: &Option<Version>| {
                version.as_ref().map_or(0, |version| {
                    i32::from(range.contains(version)) + 2 * i32::from(wide.contains_prerelease(version))
                })
            };
            read.iter().map(holds).collect::<Vec<i32>>()
        });
        if json!(held) != answers["held"][at] {
            let differ =
                held.as_ref().and_then(|held| (0..held.len()).find(|i| json!(held[*i]) != answers["held"][at][*i]));
            let example = differ.map(|i| (&versions[i], held.as_ref().unwrap()[i], answers["held"][at][i].clone()));
            wrong.push(format!("{text:?}: {example:?}"));
        }
    }
    for one in 0..150 {
        for other in 0..150 {
            let Some(npms) = answers["meet"][one][other].as_bool() else { continue };
            // A few questions npm's library answers otherwise when they are put the other way round.
            if answers["meet"][other][one] != json!(npms) {
                continue;
            }
            let meet =
                Range::parse(&ranges[one]).zip(Range::parse(&ranges[other])).map(|(one, other)| one.intersects(&other));
            if meet != Some(npms) {
                wrong.push(format!("{:?} and {:?} meet: {meet:?}, for npm {npms}", ranges[one], ranges[other]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}
