//! The index's client, and the solver's answers beyond packse's scenarios.

use super::scenario::{Scenario, versions};

/// Where a range has no release that can be used, a pre-release does (pip's way, and uv's).
#[test]
fn prereleases_stand_in_where_they_have_to() {
    let scenario = Scenario::parse(
        r#"
name = "necessary"
root.requires = ["a>1", "b"]
packages.a.versions = { "1.0" = {}, "2.0a1" = {} }
packages.b.versions = { "1.0" = {}, "2.0a1" = {} }
"#,
    );
    let solution = scenario.solve(&scenario.request()).unwrap();
    assert_eq!(versions(&solution), [("a", "2.0a1"), ("b", "1.0")].map(|(a, b)| (a.into(), b.into())).into());
}
