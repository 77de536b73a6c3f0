//! The scenarios of packse, with what uv's authors expect of them. They are in `../shared/data/packse` beside the
//! repository, or where KILN_PACKSE says; without them a few of our own have to do.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::ecosystem::pypi::requirement::Requirement;
use kiln::ecosystem::pypi::solve::{Prereleases, Request};
use kiln::error::Kind;

use super::say;
use super::scenario::{Scenario, versions};

/// What stands in for packse.
const OWN: [&str; 3] = [
    r#"
name = "own-backtracking"
root.requires = ["a", "b"]
expected = { satisfiable = true, packages = { a = "1.0", b = "2.0" } }
packages.a.versions = { "1.0" = {}, "2.0" = {} }
packages.b.versions = { "1.0" = { requires = ["c"] }, "2.0" = { requires = ["a==1.0"] } }
"#,
    r#"
name = "own-extras"
root.requires = ["a[x]"]
expected = { satisfiable = true, packages = { a = "1.0", b = "1.0" } }
packages.a.versions = { "1.0" = { extras = { x = ["a[y]"], y = ["b"] } } }
packages.b.versions = { "1.0" = {}, "2.0" = { yanked = true } }
"#,
    r#"
name = "own-conflict"
root.requires = ["a", "b==2.0"]
expected = { satisfiable = false }
packages.a.versions = { "1.0" = { requires = ["b<2"] } }
packages.b.versions = { "1.0" = {}, "2.0" = {} }
"#,
];

fn folder() -> PathBuf {
    let named = std::env::var_os("KILN_PACKSE").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/packse"))
}

fn scenarios() -> Vec<Scenario> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_dir(entry.ok()?.path()).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        say("packse is not here (KILN_PACKSE can say where): scenarios of our own stand in for it");
        return OWN.iter().map(|text| Scenario::parse(text)).collect();
    }
    paths.iter().map(|path| Scenario::parse(&fs::read_to_string(path).unwrap())).collect()
}

/// What kiln has to answer, or why the scenario says nothing about it.
fn expectation(scenario: &Scenario, request: &Request) -> Result<bool, &'static str> {
    if !scenario.resolver_options.universal {
        return Ok(scenario.expected.satisfiable);
    }
    let applies = |requirement: &Requirement| requirement.applies(&request.target, &[]);
    match scenario.expected.satisfiable {
        // One answer for all environments at once is made of one for each.
        true => Ok(true),
        false if request.requirements.iter().all(applies) => Ok(false),
        false => Err("what has no answer there is another environment's part of the requirements"),
    }
}

#[test]
fn packse_scenarios_come_out_as_expected() {
    let (mut passed, mut universal, mut aside, mut failed) = (0, 0, Vec::new(), Vec::new());
    for scenario in scenarios() {
        // The scenarios are from when uv took pre-releases only for projects that have nothing else or are named
        // with one.
        let mut request = scenario.request();
        if request.prereleases == Prereleases::default() {
            request.prereleases = Prereleases::IfNecessaryOrExplicit;
        }
        let satisfiable = match expectation(&scenario, &request) {
            Ok(satisfiable) => satisfiable,
            Err(why) => {
                aside.push(format!("{}: {why}", scenario.name));
                continue;
            }
        };
        let wanted = scenario.expected.packages.as_ref().filter(|_| !scenario.resolver_options.universal);
        match scenario.solve(&request) {
            Ok(solution) if satisfiable && wanted.is_none_or(|wanted| *wanted == versions(&solution)) => {}
            Err(error) if !satisfiable && error.what() == Kind::No => {
                assert!(error.chain().len() > 1 && !error.hints().is_empty(), "{}: {error:?}", scenario.name);
            }
            Ok(solution) => {
                failed.push(format!("{}: expected {wanted:?}, found {:?}", scenario.name, versions(&solution)));
                continue;
            }
            Err(error) => {
                failed.push(format!("{}: {error}", scenario.name));
                continue;
            }
        }
        passed += 1;
        universal += usize::from(scenario.resolver_options.universal);
    }
    say(&format!(
        "packse: {passed} scenarios come out as expected ({universal} of them universal ones, for one environment), \
         {} do not apply, {} fail",
        aside.len(),
        failed.len()
    ));
    aside.iter().for_each(|line| say(&format!("  does not apply: {line}")));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(passed >= OWN.len());
}

/// docs/python-parity.md says which scenarios come out differently with what uv does about pre-releases today.
#[test]
fn four_scenarios_are_of_another_time() {
    let differs = |scenario: &Scenario| {
        let request = scenario.request();
        let answer = scenario.solve(&request).ok().map(|solution| versions(&solution));
        let request = Request { prereleases: Prereleases::IfNecessaryOrExplicit, ..request };
        answer != scenario.solve(&request).ok().map(|solution| versions(&solution))
    };
    let scenarios: Vec<Scenario> =
        scenarios().into_iter().filter(|scenario| !scenario.resolver_options.prereleases).collect();
    let names: Vec<&str> =
        scenarios.iter().filter(|scenario| differs(scenario)).map(|scenario| scenario.name.as_str()).collect();
    let expected = [
        "package-only-prereleases-in-range",
        "package-prereleases-specifier-boundary",
        "transitive-package-only-prereleases-in-range",
        "transitive-prerelease-and-stable-dependency-many-versions-holes",
    ];
    if scenarios.len() > OWN.len() {
        assert_eq!(names, expected);
    } else {
        assert!(names.is_empty(), "{names:?}");
    }
}
