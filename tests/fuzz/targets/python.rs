//! Python: wheels, sources, metadata, requirements, index pages and other tools' locks.

use std::collections::BTreeSet;
use std::io::{Cursor, Write as _};
use std::str::FromStr;

use kiln::Digest;
use kiln::ecosystem::pypi::filename::{Filename, Source, Wheel};
use kiln::ecosystem::pypi::listing::Listing;
use kiln::ecosystem::pypi::locks::LockKind;
use kiln::ecosystem::pypi::metadata::Stored;
use kiln::ecosystem::pypi::name::Name;
use kiln::ecosystem::pypi::requirement::{Requirement, lenient_specifiers};
use kiln::ecosystem::pypi::source::BuildSystem;
use kiln::ecosystem::pypi::target::Target as Machine;
use kiln::ecosystem::pypi::{index, inside, page, ranges, requirements, tags, wheel};
use pep440_rs::{Version, VersionSpecifiers};
use url::Url;

use super::{Outcome, Target, printable, same, text};
use crate::mend;
use crate::world::World;

const METADATA: &[&str] = &[
    "Metadata-Version: 2.1\n",
    "Name: ",
    "Version: ",
    "Requires-Dist: ",
    "Requires-Python: ",
    "Provides-Extra: ",
    "Dynamic: ",
    "License-Expression: ",
    "\n\n",
    "; extra == 'x'",
    "\n ",
];
const REQUIREMENT: &[&str] = &[
    ">=",
    "<=",
    "==",
    "!=",
    "~=",
    "===",
    ",",
    ";",
    "[",
    "]",
    "(",
    ")",
    " @ https://h.example/a.whl",
    ".*",
    "a1",
    "rc1",
    ".post1",
    ".dev0",
    "+local",
    "1!",
    "python_version",
    "extra",
    "sys_platform",
    " and ",
    " or ",
    " in ",
    " not in ",
    "'linux'",
    "platform_release",
    "implementation_name",
];
const LOCK: &[&str] = &[
    "[[package]]\n",
    "name = \"a\"\n",
    "version = \"1\"\n",
    "[[packages]]\n",
    "wheels = [",
    "{ url = \"",
    "sdist = ",
    "hash = \"sha256:",
    "source = { registry = ",
    "marker = \"",
    "resolution-markers = ",
    "dependencies = [",
    "size = ",
    "lock-version = \"1.0\"\n",
    "files = [",
    "[metadata]\n",
    "groups = [\"main\"]\n",
    "optional = true\n",
];

fn list() -> Vec<Target> {
    let target = |name, words, run| Target { name, words, mend: mend::nothing, run };
    vec![
        Target {
            name: "wheel",
            words: &["PK\u{3}\u{4}", "PK\u{1}\u{2}", ".dist-info/", ".data/", "RECORD", "../"],
            mend: mend::zip,
            run: wheel_file,
        },
        target("wheel-metadata", METADATA, wheel_metadata),
        target("wheel-record", &[",sha256=", ",", "\"", "a/__init__.py", "\n", "a-1.dist-info/"], wheel_record),
        target("entry-points", &["[console_scripts]\n", "[gui_scripts]\n", " = ", "a.b:c", "[x]", "\n"], entry_points),
        target("metadata", METADATA, metadata),
        Target { name: "source", words: &["PKG-INFO", "pyproject.toml", "requires.txt"], mend: mend::tar, run: source },
        target(
            "filename",
            &["-", "_", ".", "py3", "none", "any", ".whl", ".tar.gz", ".zip", "manylinux_2_17_x86_64", "cp313", "abi3"],
            filename,
        ),
        target("requirement", REQUIREMENT, requirement),
        target(
            "requirements-txt",
            &["-r ", "-c ", "--hash=sha256:", " \\\n", "#", "-e ", "--pre", "${X}", "a==1"],
            requirements_txt,
        ),
        target("uv-lock", LOCK, |_, bytes| lock(bytes, "uv.lock")),
        target("pylock", LOCK, |_, bytes| lock(bytes, "pylock.toml")),
        target("poetry-lock", LOCK, |_, bytes| lock(bytes, "poetry.lock")),
        target(
            "pyproject",
            &["[project]\n", "[build-system]\n", "requires = [", "dynamic = [", "[project.optional-dependencies]\n"],
            pyproject,
        ),
        target(
            "simple-index",
            &[
                "<a ",
                "href=\"",
                "</a>",
                "<base ",
                "<meta ",
                "<!--",
                "-->",
                "data-yanked",
                "data-requires-python=\"",
                "&gt;",
                "&#x41;",
                "#sha256=",
                "\"files\": [",
                "\"hashes\": {",
                "\"core-metadata\": ",
                "\"yanked\": ",
            ],
            simple_index,
        ),
        target("listing", &["=", "\t", "-", "+", "\n", "a-1.0.zip"], listing),
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

fn machine() -> Machine {
    Machine::new("3.13.5", "amd64", (2, 41)).expect("a machine")
}

fn name() -> Name {
    "a".parse().expect("a name")
}

fn install(world: &World, bytes: &[u8]) -> Outcome {
    let sha256 = world.put(bytes);
    let layout = wheel::Layout::debian("python3.13", "3.13");
    let locked = wheel::Locked { name: "a", version: "1", sha256 };
    let Some(part) = printable(wheel::part(&world.store, &locked, &layout, &BTreeSet::new())) else { return Ok(()) };
    for entry in &part.part.entries {
        if !entry.path.starts_with("usr/local/") || entry.path.split('/').any(|name| name == "..") {
            return Err(format!("a path leads out: {:?}", entry.path));
        }
    }
    Ok(())
}

fn wheel_file(world: &World, bytes: &[u8]) -> Outcome {
    let wheel = Wheel::from_str("a-1-py3-none-any.whl").map_err(|error| error.to_string())?;
    if let Some(stored) = printable(inside::of_wheel(&wheel, Cursor::new(bytes))) {
        let _ = printable(stored.read());
    }
    install(world, bytes)
}

/// A wheel that is in order, but for what is given.
fn built(files: &[(&str, &[u8])], record: Option<&[u8]>) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const USUAL: [(&str, &[u8]); 3] = [
        ("a/__init__.py", b""),
        ("a-1.dist-info/METADATA", b"Metadata-Version: 2.1\nName: a\nVersion: 1\n"),
        ("a-1.dist-info/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
    ];
    let usual = USUAL.iter().filter(|(name, _)| !files.iter().any(|(given, _)| given == name));
    let all: Vec<&(&str, &[u8])> = usual.chain(files).collect();
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut lines = String::from("a-1.dist-info/RECORD,,\n");
    for (name, content) in all {
        archive.start_file(*name, options).expect("a member of a zip archive");
        archive.write_all(content).expect("writing to memory");
        let hash = URL_SAFE_NO_PAD.encode(Digest::of(content).as_bytes());
        lines += &format!("{name},sha256={hash},{}\n", content.len());
    }
    archive.start_file("a-1.dist-info/RECORD", options).expect("a member of a zip archive");
    archive.write_all(record.unwrap_or(lines.as_bytes())).expect("writing to memory");
    archive.finish().expect("a zip archive").into_inner()
}

fn wheel_metadata(world: &World, bytes: &[u8]) -> Outcome {
    install(world, &built(&[("a-1.dist-info/METADATA", bytes)], None))?;
    install(world, &built(&[("a-1.dist-info/WHEEL", bytes)], None))
}

fn wheel_record(world: &World, bytes: &[u8]) -> Outcome {
    install(world, &built(&[], Some(bytes)))
}

fn entry_points(world: &World, bytes: &[u8]) -> Outcome {
    install(world, &built(&[("a-1.dist-info/entry_points.txt", bytes), ("a-1.data/scripts/b", bytes)], None))
}

fn metadata(_: &World, bytes: &[u8]) -> Outcome {
    let Some((mut stored, header)) = printable(Stored::parse(bytes)) else { return Ok(()) };
    let _ = (header.is_static(), header.has_requirements());
    let _ = printable(stored.read());
    stored.add_egg_requirements(&text(bytes));
    let _ = printable(stored.read());
    let written = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
    same("metadata", &stored, &serde_json::from_slice(&written).map_err(|error| error.to_string())?)
}

fn source(_: &World, bytes: &[u8]) -> Outcome {
    for filename in ["a-1.tar.gz", "a-1.zip"] {
        let source = Source::parse(filename, &name()).ok_or("a name of a source")?;
        let packed;
        // Most inputs are tar archives, whose checksums are right: they are compressed here.
        let content = if filename.ends_with("gz") && !bytes.starts_with(b"\x1f\x8b") {
            packed = kiln::layer::gzip::member(bytes).map_err(|error| error.to_string())?;
            &packed
        } else {
            bytes
        };
        if let Some(stored) = printable(inside::of_source(&source, Cursor::new(content))) {
            let _ = printable(stored.read());
        }
    }
    Ok(())
}

fn filename(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let tags = tags::Tags::of(&machine());
    if let Some(filename) = Filename::parse(&text, &name()) {
        let _ = filename.version();
    }
    if let Some(wheel) = printable(Wheel::from_str(&text)) {
        let _ = (wheel.tags(), tags.fit(&wheel), wheel.to_string());
    }
    if let Some(name) = printable(text.parse::<Name>()) {
        same("a name", &Ok(name.clone()), &name.as_str().parse::<Name>().map_err(|error| error.to_string()))?;
        same("a name as it is written", &true, &name.is(&text))?;
    }
    Ok(())
}

fn requirement(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let strict = printable(text.parse::<Requirement>());
    let lenient = printable(Requirement::lenient(&text));
    if let Some(strict) = &strict {
        same("a requirement read leniently", &Some(strict), &lenient.as_ref())?;
    }
    if let Some(requirement) = lenient {
        let again = Requirement::lenient(requirement.text()).map_err(|error| format!("{requirement}: {error}"))?;
        same("a requirement", &requirement, &again)?;
        let _ = (requirement.applies(&machine(), &[name()]), requirement.range().to_string());
    }
    if let Some(specifiers) = printable(lenient_specifiers(&text)) {
        let again = VersionSpecifiers::from_str(&specifiers.to_string()).map_err(|error| error.to_string())?;
        same("version specifiers", &specifiers, &again)?;
        let _ = (ranges::of(&specifiers), ranges::python(&specifiers), machine().allows(&specifiers));
    }
    if let Ok(version) = Version::from_str(&text) {
        same("a version", &Ok(version.clone()), &Version::from_str(&version.to_string()).map_err(|e| e.to_string()))?;
        let _ = ranges::after_locals(version);
    }
    Ok(())
}

fn requirements_txt(_: &World, bytes: &[u8]) -> Outcome {
    let main = text(bytes);
    let read = |path: &str| match path {
        "requirements.txt" => Ok(main.clone().into_owned()),
        "other.txt" => Ok("-r third.txt\n-r third.txt\nb\n".to_owned()),
        "third.txt" => Ok("c==1\n".to_owned()),
        _ => Err(kiln::Error::new("no such file")),
    };
    let _ = printable(requirements::parse("requirements.txt", &read));
    Ok(())
}

fn lock(bytes: &[u8], filename: &str) -> Outcome {
    let kind = LockKind::of(filename).ok_or("a kind of lock")?;
    let _ = printable(kind.parse(&text(bytes), &machine()));
    Ok(())
}

fn pyproject(_: &World, bytes: &[u8]) -> Outcome {
    let version = Version::from_str("1").map_err(|error| error.to_string())?;
    if let Some(Some(stored)) = printable(Stored::parse_pyproject(&text(bytes), &version)) {
        let _ = printable(stored.read());
    }
    let _ = printable(BuildSystem::parse(&text(bytes)));
    Ok(())
}

fn simple_index(_: &World, bytes: &[u8]) -> Outcome {
    let base = Url::parse("https://h.example/simple/a/").map_err(|error| error.to_string())?;
    for media_type in [None, Some(page::JSON), Some(page::HTML)] {
        let Some(page) = printable(page::parse(bytes, media_type, &base, &name())) else { continue };
        let listing = Listing::of(&page);
        let again = Listing::read(listing.text().to_owned()).map_err(|error| format!("a listing: {error}"))?;
        same("a listing", &listing, &again)?;
        let versions = again.versions().map_err(|error| format!("a listing's versions: {error}"))?;
        let files: usize = (0..versions.len()).map(|at| again.files(at, &name()).len()).sum();
        same("the files of a listing", &page.files.len(), &files)?;
        for file in &page.files {
            let _ = printable(page::address(&page.base, &file.href));
        }
        let Some(project) = printable(index::Project::new(name(), "pypi".to_owned(), again)) else { continue };
        for at in 0..project.versions().len() {
            let release = project.release(at);
            for listed in release.wheels.iter().chain(&release.sources) {
                let _ = printable(project.file(listed));
            }
        }
    }
    Ok(())
}

fn listing(_: &World, bytes: &[u8]) -> Outcome {
    let Some(listing) = printable(Listing::read(text(bytes).into_owned())) else { return Ok(()) };
    let versions = printable(listing.versions()).map_or(0, |versions| versions.len());
    let _: usize = (0..=versions).map(|at| listing.files(at, &name()).len()).sum();
    let _ = listing.base();
    Ok(())
}
