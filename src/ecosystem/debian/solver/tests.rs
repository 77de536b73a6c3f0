//! Small universes for each rule, and solutions checked by a brute reading of the rules.

use proptest::prelude::*;

use super::*;
use crate::ecosystem::debian::index::Index;
use crate::ecosystem::debian::relation;
use crate::ecosystem::debian::version;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// `name version; Field: value; …` a line.
fn index(codename: &str, release: Release, lines: &str) -> Index {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        text.push_str(&format!(
            "Package: {name}\nVersion: {version}\nFilename: {name}_{version}.deb\nSHA256: {SHA256}\n"
        ));
        let fields: Vec<&str> = parts.collect();
        if !line.contains("Architecture:") {
            text.push_str("Architecture: amd64\n");
        }
        text.push_str(&format!("{}\n\n", fields.join("\n")).replace("\n\n\n", "\n\n"));
    }
    Index::parse(codename, Release { codename: codename.into(), ..release }, text.into_bytes()).unwrap()
}

fn universe(lines: &str) -> Universe {
    Universe::new("amd64", vec![index("trixie", Release::default(), lines)]).unwrap()
}

fn request(packages: &[&str]) -> Request {
    Request {
        architecture: "amd64".into(),
        base: Base::None,
        packages: packages.iter().map(|&package| package.to_owned()).collect(),
        ..Request::default()
    }
}

fn names(solution: Solution) -> String {
    let names: Vec<String> = solution
        .packages
        .into_iter()
        .map(|chosen| {
            if chosen.package.version == "1" {
                chosen.package.name
            } else {
                format!("{}={}", chosen.package.name, chosen.package.version)
            }
        })
        .collect();
    names.join(" ")
}

/// The answer in short: names, with the version unless it is 1; or the error.
fn answer(universe: &Universe, packages: &[&str]) -> String {
    match solve(universe, &request(packages)) {
        Ok(solution) => names(solution),
        Err(error) => {
            let mut text = error.to_string();
            for hint in error.hints() {
                text.push_str(&format!(" [{hint}]"));
            }
            text
        }
    }
}

#[test]
fn the_first_alternative_and_what_is_there_already() {
    let universe = universe("a 1; Depends: b | c\n b 1\n c 1\n d 1; Depends: c\n e 1; Depends: missing | c");
    assert_eq!(answer(&universe, &["a"]), "a b");
    assert_eq!(answer(&universe, &["d", "a"]), "a c d");
    assert_eq!(answer(&universe, &["e"]), "c e");
    assert_eq!(answer(&universe, &["missing|c"]), "c");
    assert_eq!(answer(&universe, &["b | c"]), "b");
}

#[test]
fn real_packages_before_providers_and_providers_by_importance() {
    let universe = universe(
        "a 1; Depends: m\n m 1; Priority: extra\n n 1; Provides: m; Priority: required\n\
         v 1; Depends: w\n x 1; Provides: w; Priority: optional\n y 1; Provides: w; Priority: standard\n\
         z 1; Provides: w; Priority: standard",
    );
    assert_eq!(answer(&universe, &["a"]), "a m");
    // Of equals apt takes the one it met last.
    assert_eq!(answer(&universe, &["v"]), "v z");
}

#[test]
fn provides_without_a_version_satisfy_no_versioned_dependency() {
    let universe =
        universe("a 1; Depends: v (>= 1)\n b 1; Provides: v\n c 1; Provides: v (= 2)\n d 1; Depends: v (>= 3)");
    assert_eq!(answer(&universe, &["a"]), "a c");
    assert_eq!(
        answer(&universe, &["d"]),
        "`d` cannot be installed: `d`, which you asked for, needs `v (>= 3)`, but there is no `v`"
    );
}

#[test]
fn any_needs_multi_arch_allowed() {
    let universe = universe(
        "a 1; Depends: p:any\n b 1; Depends: q:any\n c 1; Depends: q:amd64, p:native\n p 1; Multi-Arch: allowed\n q 1",
    );
    assert_eq!(answer(&universe, &["a"]), "a p");
    assert!(
        answer(&universe, &["b"]).contains("needs `q:any`, but there is no `q:any`"),
        "{}",
        answer(&universe, &["b"])
    );
    assert_eq!(answer(&universe, &["c"]), "c p q");
    assert_eq!(answer(&universe, &["a:amd64"]), "a p");
    assert!(answer(&universe, &["a:i386"]).contains("another architecture"));
}

#[test]
fn conflicts_with_provided_names_but_not_with_oneself() {
    let universe = universe(
        "m1 1; Provides: mta; Conflicts: mta\n m2 1; Provides: mta; Conflicts: mta\n a 1; Depends: m1 | m2\n b 1; Depends: mta",
    );
    assert_eq!(answer(&universe, &["m1"]), "m1");
    assert_eq!(answer(&universe, &["a", "m2"]), "a m2");
    assert_eq!(answer(&universe, &["b", "m1"]), "b m1");
    assert_eq!(
        answer(&universe, &["m1", "m2"]),
        "`m1`, `m2` cannot be installed together: `m1`, which you asked for, conflicts with `mta`, which `m2` provides, which you asked for"
    );
}

#[test]
fn a_conflict_met_late_makes_the_resolver_take_the_other_alternative() {
    // `a` takes `x` at first; `y` then wants it gone.
    let universe = universe(
        "top 1; Depends: a, y\n a 1; Depends: x | z\n x 1\n z 1\n y 1; Conflicts: x\n\
         deep 1; Depends: l, y\n l 1; Depends: k\n k 1; Depends: x | z",
    );
    assert_eq!(answer(&universe, &["a", "y"]), "a y z");
    assert_eq!(answer(&universe, &["top"]), "a top y z");
    assert_eq!(answer(&universe, &["deep"]), "deep k l y z");
}

#[test]
fn leftovers_of_a_failed_attempt_are_not_installed() {
    let universe =
        universe("a 1; Depends: x | z\n x 1; Depends: helper, broken\n broken 1; Depends: gone\n helper 1\n z 1");
    assert_eq!(answer(&universe, &["a"]), "a z");
}

#[test]
fn unsatisfiable_requests_are_explained() {
    let universe = universe(
        "a 1; Depends: b (>= 2)\n b 2; Conflicts: c\n b 1\n c 1\n d 1; Depends: e\n e 1; Depends: f | g\n f 1; Depends: h (>= 2)\n h 1\n\
         i 1; Depends: c\n j 1; Depends: a",
    );
    let text: Vec<String> = [&["c", "a"][..], &["d"], &["i", "j", "h"], &["h=2"], &["h/sid"], &["hh"]]
        .iter()
        .map(|packages| answer(&universe, packages))
        .collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    `c`, `a` cannot be installed together: `a`, which you asked for, needs `b (>= 2)`, `b` conflicts with `c`, which you asked for
    `d` cannot be installed: `d`, which you asked for, needs `e`, `e` needs `f`, `f` needs `h (>= 2)`, but there is only h 1
    `i`, `j` cannot be installed together: `j`, which you asked for, needs `a`, `a` needs `b (>= 2)`, `b` conflicts with `c`, which `i` needs
    `h` has no version 2 [there is 1 (trixie)]
    `h` has no version in `sid` [there is 1 (trixie)]
    no package is called `hh` in trixie
    ");
}

#[test]
fn requests_by_virtual_name_version_and_suite() {
    let backports = Release { not_automatic: true, but_automatic_upgrades: true, ..Release::default() };
    let main = index(
        "trixie",
        Release::default(),
        "a 1; Depends: b\n b 1\n b 2\n v1 1; Provides: v\n w1 1; Provides: w\n w2 1; Provides: w\n t 1; Depends: l (= 1)\n l 1\n package 1",
    );
    let new =
        index("trixie-backports", backports, "a 5; Depends: b (>= 4), l\n b 5\n l 5\n t 5; Depends: l (= 5)\n only 5");
    let universe = Universe::new("amd64", vec![main, new]).unwrap();
    assert_eq!(answer(&universe, &["a"]), "a b=2");
    assert_eq!(answer(&universe, &["a", "b=1"]), "a b");
    // What has to come from there for it comes from there too; `l` need not.
    assert_eq!(answer(&universe, &["a/trixie-backports"]), "a=5 b=5 l");
    assert_eq!(answer(&universe, &["t/trixie-backports"]), "l=5 t=5");
    assert_eq!(
        answer(&universe, &["a=5"]),
        "`a=5` cannot be installed: `a`, which you asked for, needs `b (>= 4)`, but of `b` only 2 may be taken, not 5"
    );
    assert_eq!(answer(&universe, &["only"]), "only=5");
    assert_eq!(answer(&universe, &["v"]), "v1");
    assert!(answer(&universe, &["w"]).contains("several provide: w1, w2"), "{}", answer(&universe, &["w"]));
    assert!(answer(&universe, &["pakcage"]).contains("did you mean `package`?"), "{}", answer(&universe, &["pakcage"]));
    assert!(answer(&universe, &["a="]).contains("asks for no package"));
    assert_eq!(solve(&universe, &request(&["pakcage"])).unwrap_err().what(), ErrorKind::NotFound);
    assert_eq!(solve(&universe, &request(&["a=7"])).unwrap_err().what(), ErrorKind::No);
}

#[test]
fn not_automatic_and_the_users_priority() {
    let experimental = Release { not_automatic: true, ..Release::default() };
    let pinned = Release { not_automatic: true, priority: Some(990), ..Release::default() };
    let never = Release { priority: Some(-1), ..Release::default() };
    for (release, expected) in [(experimental, "a"), (pinned, "a=2"), (never, "a"), (Release::default(), "a=2")] {
        let indexes = vec![index("trixie", Release::default(), "a 1"), index("other", release, "a 2")];
        assert_eq!(answer(&Universe::new("amd64", indexes).unwrap(), &["a"]), expected);
    }
}

#[test]
fn a_suite_asked_for_is_where_dependencies_come_from_too() {
    // What `a` needs is not there yet, and the newer `lib` needs more: apt looks no further than that.
    let stable =
        "a 1; Depends: lib (>= 1)\n b 1; Depends: lib (>= 1), late (>= 3)\n c 1; Depends: lib\n lib 1\n other 1";
    let security = "lib 2; Depends: other\n late 3; Depends: other";
    let indexes =
        vec![index("trixie", Release::default(), stable), index("trixie-security", Release::default(), security)];
    let universe = Universe::new("amd64", indexes).unwrap();
    assert_eq!(answer(&universe, &["a"]), "a lib=2 other");
    assert_eq!(answer(&universe, &["a/trixie"]), "a lib");
    assert_eq!(answer(&universe, &["c/trixie"]), "c lib=2 other");
    // `late` cannot be had from there; the candidates changed before that was found out stay as they are.
    assert_eq!(answer(&universe, &["b/trixie"]), "b late=3 lib other");
}

#[test]
fn the_same_version_in_two_indexes_is_one() {
    let line = "a 1; Depends: b (>= 1); Installed-Size: 3\n b 1";
    let indexes = vec![index("trixie", Release::default(), line), index("trixie-updates", Release::default(), line)];
    let universe = Universe::new("amd64", indexes).unwrap();
    assert_eq!(universe.versions_of("a"), ["1"]);
    let solution = solve(&universe, &request(&["a/trixie-updates"])).unwrap();
    assert_eq!(solution.packages[0].release.codename, "trixie");
    assert_eq!(solution.packages[1].required_by, ["a"]);
    assert_eq!(solution.packages[0].requested.as_deref(), Some("a/trixie-updates"));
}

#[test]
fn the_base_is_what_is_essential_and_stays() {
    let universe = universe(
        "sh 1; Essential: yes; Depends: libc (>= 1)\n libc 1\n foreign 1; Architecture: arm64; Essential: yes\n\
         a 1; Depends: sh, awk\n mawk 1; Provides: awk\n gawk 1; Provides: awk\n bad 1; Conflicts: libc",
    );
    let mut wanted = request(&["a"]);
    wanted.base = Base::Essential;
    let solution = solve(&universe, &wanted).unwrap();
    let base: Vec<&str> =
        solution.packages.iter().filter(|chosen| chosen.base).map(|chosen| chosen.package.name.as_str()).collect();
    assert_eq!(base, ["libc", "sh"]);
    let awk = solution.packages.iter().find(|chosen| chosen.package.name == "gawk").unwrap();
    assert_eq!(
        (awk.provides_used.as_slice(), awk.required_by.as_slice()),
        (&["awk".to_owned()][..], &["a".to_owned()][..])
    );
    wanted.packages = vec!["bad".into()];
    let error = solve(&universe, &wanted).unwrap_err();
    assert_eq!(error.what(), ErrorKind::No);
    assert!(error.to_string().contains("`sh`, which is part of the base, needs `libc (>= 1)`, but `bad`, which you asked for, conflicts with `libc`"), "{error}");
    assert!(answer(&universe, &["foreign"]).contains("exists for arm64"), "{}", answer(&universe, &["foreign"]));
}

#[test]
fn a_relock_moves_as_little_as_possible() {
    let lines = "a 1; Depends: b\n a 2; Depends: b (>= 2)\n b 1\n b 2\n c 1\n c 2\n d 1; Depends: b (>= 2)";
    let universe = universe(lines);
    let old: BTreeMap<String, String> =
        [("a", "1"), ("b", "1"), ("c", "1"), ("gone", "1")].map(|(name, version)| (name.into(), version.into())).into();
    let solved = |packages: &[&str], moving: Moving| {
        let solution = solve(&universe, &Request { preferred: old.clone(), moving, ..request(packages) }).unwrap();
        let moved: Vec<String> = solution.moved.iter().cloned().collect();
        format!("{}; moved: {}", names(solution), moved.join(" "))
    };
    assert_eq!(solved(&["a", "c"], Moving::Nothing), "a b c; moved: ");
    assert_eq!(solved(&["a", "c"], Moving::Everything), "a=2 b=2 c=2; moved: ");
    assert_eq!(solved(&["a", "c"], Moving::Named(["c".to_owned()].into())), "a b c=2; moved: ");
    // `d` forces `b` to move, nothing else.
    assert_eq!(solved(&["a", "c", "d"], Moving::Nothing), "a b=2 c d; moved: b");
}

#[test]
fn a_chain_longer_than_apt_follows_is_no_crash() {
    let lines: String = (0..5000).map(|number| format!("p{number} 1; Depends: p{}\n", number + 1)).collect();
    let universe = universe(&lines);
    assert!(solve(&universe, &request(&["p0"])).is_err());
    assert!(solve(&universe, &request(&["p4000"])).is_err());
    let lines: String = (0..2500).map(|number| format!("q{number} 1; Depends: q{} | r\n", number + 1)).collect();
    let universe = self::universe(&format!("{lines}\n r 1"));
    assert_eq!(solve(&universe, &request(&["q0"])).unwrap().packages.len(), 2501);
}

#[test]
fn too_many_versions_of_a_package_are_refused() {
    let lines: String = (0..2500).rev().map(|number| format!("a {number}\n")).collect();
    let error = Universe::new("amd64", vec![index("trixie", Release::default(), &lines)]).unwrap_err();
    assert!(error.to_string().contains("versions of package a"), "{error}");
}

/// Checks a solution by the rules alone.
fn violations(solution: &Solution) -> Vec<String> {
    let packages: Vec<&Package> = solution.packages.iter().map(|chosen| &chosen.package).collect();
    let met = |one: &relation::Relation<'_>, by: &Package| {
        let accepts = |version: Option<&str>| {
            one.version.is_none_or(|(operator, wanted)| version.is_some_and(|version| operator.holds(version, wanted)))
        };
        by.name == one.name && accepts(Some(&by.version))
            || relation::parse(&by.provides)
                .flatten()
                .any(|provided| provided.name == one.name && accepts(provided.version.map(|(_, version)| version)))
    };
    let mut found = Vec::new();
    for package in &packages {
        let mut satisfied = false;
        for one in relation::parse(&package.depends).chain(relation::parse(&package.pre_depends)).flatten() {
            satisfied |= packages.iter().any(|by| met(&one, by));
            if !one.or {
                if !satisfied {
                    found.push(format!("{} lacks {}", package.name, one.name));
                }
                satisfied = false;
            }
        }
        for one in relation::parse(&package.conflicts).chain(relation::parse(&package.breaks)).flatten() {
            for other in packages.iter().filter(|other| other.name != package.name && met(&one, other)) {
                found.push(format!("{} conflicts with {}", package.name, other.name));
            }
        }
    }
    for pair in packages.windows(2) {
        if pair[0].name >= pair[1].name {
            found.push(format!("{} twice or out of order", pair[1].name));
        }
    }
    found
}

fn any_relation() -> impl Strategy<Value = String> {
    let restriction = prop_oneof![
        4 => Just(String::new()),
        1 => (prop_oneof![Just(">="), Just("<<"), Just("=")], 1..4_u8).prop_map(|(op, version)| format!(" ({op} {version})")),
    ];
    ("[a-hvw]", restriction).prop_map(|(name, restriction)| format!("{name}{restriction}"))
}

fn any_package() -> impl Strategy<Value = String> {
    let depends = proptest::collection::vec(proptest::collection::vec(any_relation(), 1..3), 0..3);
    let conflicts = proptest::collection::vec(any_relation(), 0..2);
    let provides = proptest::collection::vec("[vw]( [(]= [123][)])?", 0..2);
    ("[a-h]", 1..4_u8, depends, conflicts, provides).prop_map(|(name, version, depends, conflicts, provides)| {
        let groups: Vec<String> = depends.iter().map(|group| group.join(" | ")).collect();
        let field = |key: &str, values: Vec<String>| match values.is_empty() {
            true => String::new(),
            false => format!("; {key}: {}", values.join(", ")),
        };
        format!(
            "{name} {version}{}{}{}",
            field("Depends", groups),
            field("Conflicts", conflicts),
            field("Provides", provides)
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_solution_always_holds(lines in proptest::collection::vec(any_package(), 1..16), wanted in "[a-h]", other in "[a-h]") {
        let universe = universe(&lines.join("\n"));
        if let Ok(solution) = solve(&universe, &request(&[&wanted, &other])) {
            prop_assert_eq!(violations(&solution), Vec::<String>::new());
            for name in [&wanted, &other] {
                let there = solution.packages.iter().any(|chosen| chosen.requested.as_deref() == Some(name.as_str()));
                prop_assert!(there, "{} is not there", name);
            }
            // The same again, from its own lock, is the same.
            let preferred = solution.packages.iter().map(|chosen| (chosen.package.name.clone(), chosen.package.version.clone()));
            let again = Request { preferred: preferred.collect(), ..request(&[&wanted, &other]) };
            let again = solve(&universe, &again).unwrap();
            prop_assert!(again.moved.is_empty());
            prop_assert_eq!(again.packages.len(), solution.packages.len());
        }
    }

    #[test]
    fn versions_stand_highest_first(versions in proptest::collection::vec("[0-9][0-9a-c.~+-]{0,4}", 1..8)) {
        let lines: Vec<String> = versions.iter().map(|version| format!("a {version}")).collect();
        let universe = universe(&lines.join("\n"));
        let found = universe.versions_of("a");
        prop_assert!(found.windows(2).all(|pair| version::compare(pair[0], pair[1]).is_ge()), "{:?}", found);
    }
}
