//! Images of others: their documents, their names, and what registries say.

use std::sync::atomic::AtomicBool;

use kiln::image::read::{self, Document};
use kiln::registry::{Logins, Reference, challenge};
use kiln::{Digest, image};

use super::{Outcome, Target, printable, same, text};
use crate::mend;
use crate::world::World;

const JSON: &[&str] = &[
    "\"schemaVersion\": 2",
    "\"config\": ",
    "\"layers\": [",
    "\"manifests\": [",
    "null",
    "\"size\": ",
    "sha256:",
    "\"platform\": {\"os\": \"linux\", \"architecture\": \"arm64\"}",
    "\"rootfs\": {\"diff_ids\": []}",
    "{}",
    "[]",
    "\"Env\": [\"A=b\"]",
    "\"history\": [",
    "\\u0000",
    "\\ud800",
    "1e400",
];

fn list() -> Vec<Target> {
    let target = |name, words, run| Target { name, words, mend: mend::nothing, run };
    vec![
        target("image-documents", JSON, documents),
        target(
            "reference",
            &["/", ":", "@sha256:", "localhost:5000/", "docker.io/", "[::1]:80/", ".", "-", "_"],
            reference,
        ),
        target("www-authenticate", &["Bearer ", "realm=\"", "service=", "scope=", ",", "\"", "="], authenticate),
        target(
            "logins",
            &[
                "\"auths\": {",
                "\"auth\": \"",
                "\"identitytoken\": ",
                "\"credHelpers\": {",
                "\"credsStore\": ",
                "h.example",
            ],
            logins,
        ),
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

fn documents(world: &World, bytes: &[u8]) -> Outcome {
    match printable(read::document(bytes)) {
        Some(Document::Index(mut images)) => {
            images.sort();
            if let Some(written) = printable(image::manifest::index_document(&images)) {
                let again = read::document(&written).map_err(|error| format!("an index: {error}"))?;
                // What is attached for an unknown platform is passed over, and stays so.
                same("an index", &Document::Index(images), &again)?;
            }
        }
        Some(Document::Manifest(_)) | None => {}
    }
    for layers in [0, 1, 2] {
        let _ = printable(read::configuration(bytes, layers));
    }
    let _ = printable(read::named(bytes, None));
    let _ = printable(read::named(bytes, Some("a")));
    world.write("layout/index.json", bytes);
    let _ = printable(image::layout::named(&world.folder().join("layout"), None));
    let _ = image::layout::Ahead::new(&world.store, &world.folder().join("layout"), "a", &[], &AtomicBool::new(false));
    Ok(())
}

fn reference(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let _ = kiln::workspace::is_image_name(&text);
    let Some(reference) = printable(Reference::parse(&text)) else { return Ok(()) };
    let again = Reference::parse(&reference.to_string()).map_err(|error| format!("{reference}: {error}"))?;
    same("a reference", &reference, &again)?;
    let _ = (reference.host(), reference.manifest(), reference.with_digest(Digest::of(b"")).to_string());
    Ok(())
}

fn authenticate(_: &World, bytes: &[u8]) -> Outcome {
    let (scheme, fields) = challenge(&text(bytes));
    let long = scheme.len() + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if long > text(bytes).len() * 2 {
        return Err("more comes out than went in".to_owned());
    }
    Ok(())
}

fn logins(_: &World, bytes: &[u8]) -> Outcome {
    let logins = Logins { inline: Some(text(bytes).into_owned()), ..Logins::default() };
    for registry in ["h.example", "docker.io"] {
        let _ = printable(logins.find(registry, "team/name"));
    }
    Ok(())
}
