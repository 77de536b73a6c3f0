use proptest::prelude::*;

use super::*;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn parse(text: &str) -> Result<Index> {
    Index::parse("test/main", Release::default(), text.as_bytes().to_vec())
}

fn all(index: &Index) -> Vec<Package> {
    index.chunks().iter().flat_map(|chunk| &chunk.stanzas).map(|stanza| index.package(stanza).unwrap()).collect()
}

fn refused(text: &str) -> String {
    parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_whole_stanza_in_an_odd_form() {
    let text = format!(
        "\n\nSHA256: {SHA256}\nversion: 1:2-3\nFILENAME: pool/main/a/a.deb\nSize: 12\nInstalled-Size: 34\nTag: x,\n y: z\n\
         package: Alpha\nSource: beta (2-2)\nArchitecture: all\nPriority: required\nSection: admin\nEssential: yes\n\
         Important: yes\nMulti-Arch: foreign\nDepends: a,\n b (>= 1)\n | c\nPre-Depends: d\nConflicts: e\nBreaks: f (<< 1)\n\
         Provides: g (= 1), h\nReplaces: i\nDescription: é\n\n\n\nPackage: z\nVersion: 1\nArchitecture: amd64\n\
         Filename: ./z.deb\nSHA256: {SHA256}\n"
    );
    let index = parse(&text).unwrap();
    let packages = all(&index);
    let expected = Package {
        name: "alpha".into(),
        version: "1:2-3".into(),
        architecture: "all".into(),
        source: "beta".into(),
        source_version: "2-2".into(),
        essential: true,
        protected: true,
        priority: Priority::Required,
        multi_arch: MultiArch::Foreign,
        section: "admin".into(),
        depends: "a, b (>= 1) | c".into(),
        pre_depends: "d".into(),
        conflicts: "e".into(),
        breaks: "f (<< 1)".into(),
        provides: "g (= 1), h".into(),
        replaces: "i".into(),
        filename: "pool/main/a/a.deb".into(),
        size: 12,
        installed_size: 34,
        sha256: SHA256.parse().unwrap(),
    };
    assert_eq!(packages[0], expected);
    assert_eq!((packages[1].source.as_str(), packages[1].source_version.as_str()), ("z", "1"));
    assert!(index.stanza_text(&packages[1]).unwrap().starts_with("Package: z\n"));
    assert_eq!(packages.len(), 2);
}

#[test]
fn what_is_refused_is_named() {
    let stanza = |change: &dyn Fn(&str) -> String| {
        change(&format!("Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: {SHA256}\n"))
    };
    let error = refused(&stanza(&|text| text.replace("\n", "\r\n")));
    assert!(error.contains("test/main") && error.contains("carriage return"), "{error}");
    for (from, to) in [
        ("Package: a\n", ""),
        ("Package: a", "Package: ../a"),
        ("Version: 1", "Version: one two"),
        ("Version: 1\n", ""),
        ("Architecture: all\n", ""),
        ("Filename: a.deb", "Filename: /etc/passwd"),
        ("Filename: a.deb", "Filename: pool/../../a.deb"),
        ("Filename: a.deb\n", ""),
        (SHA256, "d41d8cd98f00b204e9800998ecf8427e"),
        ("SHA256: ", "SHA512: "),
        ("SHA256: ", "Depends: b (1)\nSHA256: "),
    ] {
        let error = refused(&stanza(&|text| text.replace(from, to)));
        assert!(error.contains("test/main"), "{error}");
        assert!(error.contains("package a:") || from.starts_with("Package"), "{error}");
    }
}

/// What is checked is what is used: neither a path out of the archive nor another package hides behind a second field.
#[test]
fn of_a_field_that_is_there_twice_the_last_counts() {
    let text = format!(
        "Package: a\nVersion: 1\nVersion: 2\nArchitecture: all\nFilename: ../../a.deb\nFilename: a.deb\nSHA256: {SHA256}\n"
    );
    let index = parse(&text).unwrap();
    let package = &all(&index)[0];
    assert_eq!((package.version.as_str(), package.filename.as_str()), ("2", "a.deb"));
    assert!(index.stanza_text(package).is_some());
    refused(&text.replace("Filename: a.deb\n", "Filename: ../a.deb\n"));
}

#[test]
fn large_indexes_are_read_in_chunks() {
    let filler = "x".repeat(1000);
    let text: String = (0..6000)
        .map(|number| {
            format!(
                "Package: p{number}\nVersion: {number}\nArchitecture: all\nFilename: p.deb\nSHA256: {SHA256}\n\
                 Description: {filler}\n\n"
            )
        })
        .collect();
    let index = parse(&text).unwrap();
    assert!(index.chunks().len() > 2);
    let names: Vec<String> = all(&index).into_iter().map(|package| package.name).collect();
    assert_eq!(names, (0..6000).map(|number| format!("p{number}")).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Index::parse("test", Release::default(), bytes);
    }

    #[test]
    fn near_misses_never_panic(text in "(Package: a\n|Version: 1\n|Architecture: all\n|Filename: a\n|SHA256: x\n| y\n|\n|:|Provides: b \\(= 1\\), c\n){0,12}") {
        let _ = parse(&text.replace('x', SHA256));
    }
}
