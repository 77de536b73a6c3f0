//! What is said when there is no answer.

use super::scenario::Scenario;

/// The sentences and hints of a scenario's error, the first sentence apart, which is always the same.
fn said(text: &str) -> Vec<String> {
    let scenario = Scenario::parse(&format!("name = 'words'\n{text}"));
    let error = scenario.solve(&scenario.request()).unwrap_err();
    let first = "no set of Python packages satisfies what is asked for, for Python 3.12.0 on x86_64 with glibc 2.41";
    assert_eq!((error.message(), error.exit_code()), (first, 1));
    let hints = error.hints().iter().map(|hint| format!("hint: {hint}"));
    error.chain()[1..].iter().cloned().chain(hints).collect()
}

const OTHERS: &str = "hint: ask for other versions, or for fewer packages in one environment";

#[test]
fn a_clash_names_both_sides() {
    let direct = "root.requires = ['a', 'b==1.0']\npackages.b.versions = { '1.0' = {}, '2.0' = {} }\n\
        packages.a.versions = { '1.0' = { requires = ['b>=2,<3'] }, '1.1' = { requires = ['b>=2,<3'] } }\n";
    let expected = ["`a` is asked for", "`b==1.0` is asked for", "a (each of 2 versions) requires b>=2,<3", OTHERS];
    assert_eq!(said(direct), expected);
    let between = "root.requires = ['a[x]', 'b']\npackages.a.versions = { '1.0' = { extras = { x = ['c~=1.4'] } } }\n\
        packages.b.versions = { '1.0' = { requires = ['c!=1.4.2'] } }\npackages.c.versions = { '1.4.2' = {}, '2.0' = {} }\n";
    let expected = [
        "`a[x]` is asked for",
        "`b` is asked for",
        "b 1.0 requires c!=1.4.2",
        "a[x] 1.0 requires c>=1.4,<2",
        "there is no version of c>=1.4,<2,!=1.4.2 that can be used: there are 2, from 1.4.2 to 2.0",
        OTHERS,
    ];
    assert_eq!(said(between), expected);
}

#[test]
fn what_is_not_there_is_said() {
    let expected =
        ["`a>=3` is asked for", "there is no version of a>=3 that can be used: there are 2, from 1.0 to 2.0", OTHERS];
    assert_eq!(said("root.requires = ['a>=3']\npackages.a.versions = { '1.0' = {}, '2.0' = {} }\n"), expected);
    let hint = "hint: check how a is written, and whether it is in another origin";
    assert_eq!(said("root.requires = ['a']\n"), ["`a` is asked for", "a is not in the index", hint]);
    let needed = "root.requires = ['a']\n\
        packages.a.versions = { '1.0' = { requires = ['b'] }, '2.0' = { requires = ['b'] } }\n";
    let expected = [
        "`a` is asked for",
        "a (each of 2 versions) requires b",
        "b is not in the index",
        "hint: check how b is written, and whether it is in another origin",
    ];
    assert_eq!(said(needed), expected);
}

#[test]
fn what_cannot_be_used_is_said_with_the_reason() {
    let expected = [
        "`a` is asked for",
        "a 1.0 was yanked (\"broken\")",
        "hint: a version that was yanked is used only if it is asked for exactly: `a==1.0`",
    ];
    assert_eq!(said("root.requires = ['a']\npackages.a.versions = { '1.0' = { yanked = true } }\n"), expected);
    let python = "root.requires = ['a']\n\
        packages.a.versions = { '1.0' = { requires_python = '>=3.14' }, '2.0' = { requires_python = '>=3.15' } }\n";
    let expected = [
        "`a` is asked for",
        "a 1.0 needs Python >=3.14",
        "a 2.0 needs Python >=3.15",
        "hint: a may have older versions for Python 3.12.0",
    ];
    assert_eq!(said(python), expected);
    let platform = "root.requires = ['a']\n\
        packages.a.versions = { '1.0' = { sdist = false, wheel_tags = ['cp312-cp312-win_amd64'] } }\n";
    let expected = [
        "`a` is asked for",
        "a 1.0 has only wheels for other platforms",
        "hint: a has no source distribution to build from; try other versions or another platform",
    ];
    assert_eq!(said(platform), expected);
    let impossible = "root.requires = ['a']\npackages.a.versions = { '1.0' = { requires = ['b>2,<1'] } }\n\
        packages.b.versions = { '1.0' = {} }\n";
    let expected = ["`a` is asked for", "a 1.0 requires `b>2,<1`, which no version can be", OTHERS];
    assert_eq!(said(impossible), expected);
}
