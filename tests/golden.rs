//! Golden digests: fixed inputs give these bytes in format 1, on every machine. A change here is a new
//! format, or a mistake.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln::digest::Digest;
use kiln::ecosystem::debian::exclusions::Exclusions;
use kiln::ecosystem::debian::part::{PartOptions, deb_part};
use kiln::image::{
    ContainerConfig, Image, ImageSpec, LayerInfo, Platform, Root, archive, layout, write_image, write_index,
};
use kiln::layer::part::default_directory;
use kiln::layer::{Entry, Kind, Layer, PartBuilder, assemble};
use kiln::store::Store;
use support::deb::Package;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

/// The uncompressed package, whose bytes no compressor of the tests decides.
fn package() -> Package {
    let content: Vec<u8> = (0..2_500_000_u32).map(|at| (at / 3 % 251) as u8).collect();
    let package = Package::new()
        .member("conffiles", 0o644, "/etc/sample\n")
        .dir("./etc/", 0o755)
        .file("./etc/sample", b"setting\n")
        .dir("./lib/", 0o755)
        .file("./lib/large", &content)
        .hard_link("./lib/link", "./lib/large")
        .symlink("./usr/bin/tool", "../lib/large")
        .file(&format!("./usr/share/{}", "long/".repeat(30)), b"long")
        .file("./usr/share/doc/sample/README", b"left out");
    Package { data_name: "data.tar", control_name: "control.tar", ..package }
}

fn layers(store: &Store) -> Vec<Layer> {
    let deb = store.put(&package().build()).unwrap();
    let (exclusions, leave_out) = (Exclusions::new(&["docs"]).unwrap(), BTreeSet::new());
    let options = PartOptions { exclusions: &exclusions, merged_usr: true, leave_out: &leave_out };
    let deb = deb_part(store, &deb, &options).unwrap();
    let mut builder = PartBuilder::new(store).unwrap();
    let kind = Kind::File { size: 0, sha256: Digest::of(b"") };
    let xattrs = BTreeMap::from([("security.capability".to_owned(), "0100000200040000".to_owned())]);
    let file = Entry { kind, mode: 0o600, mtime: 1, xattrs, ..default_directory("etc/.wh.sample") };
    builder.entry(&file, &mut std::io::empty()).unwrap();
    let top = builder.finish().unwrap();
    vec![
        assemble(store, &deb.part.directories, &[&deb.part]).unwrap(),
        assemble(store, &top.directories, &[&top]).unwrap(),
    ]
}

fn image(store: &Store, platform: &str) -> (Platform, Image) {
    let platform: Platform = platform.parse().unwrap();
    let info = |text: &str| LayerInfo {
        created_by: text.to_owned(),
        annotations: [("org.example.layer".to_owned(), text.to_owned())].into(),
    };
    let spec = ImageSpec {
        platform: platform.clone(),
        epoch: 1_700_000_000,
        config: ContainerConfig {
            user: Some("app".into()),
            exposed_ports: ["80/tcp".to_owned(), "5000/tcp".to_owned()].into(),
            env: [("PATH".to_owned(), "/usr/bin".to_owned()), ("A".to_owned(), "b=c".to_owned())].into(),
            entrypoint: vec!["tool".into()],
            cmd: vec!["--help".into()],
            volumes: ["/data".to_owned()].into(),
            working_dir: Some("/app".into()),
            labels: [("k".to_owned(), "v\"\u{e9}".to_owned())].into(),
            stop_signal: Some("SIGTERM".into()),
            healthcheck: None,
        },
        layers: layers(store).into_iter().zip([info("the package"), info("the rest")]).collect(),
        annotations: [("org.example.lock".to_owned(), "1".to_owned())].into(),
    };
    let image = write_image(store, &spec).unwrap();
    (platform, image)
}

fn file_digest(path: &Path) -> String {
    Digest::of(&std::fs::read(path).unwrap()).to_string()
}

#[test]
fn layers_have_these_digests() {
    let (_folder, store) = store();
    let layers = layers(&store);
    assert_eq!(layers[0].diff_id.to_string(), "a6f3fbb615a1526079fd9a87d2840bbdf2cca1b01a80d5c1d424f4641f03a028");
    assert_eq!(layers[0].digest.to_string(), "abde471ec2dea3a73d9b85b6d554e03e48622b766952deb8826fd1e3be3492b3");
    assert_eq!(layers[1].diff_id.to_string(), "bf3132af8e67971a8805a0bc9a33e65dadaa2b36a43680d7d69015ce72cedaea");
    assert_eq!(layers[1].digest.to_string(), "b2786e6109d72afbf7a556e3e63370feeb09e7a588eb1d73f17e9149d5920535");
}

#[test]
fn images_have_these_digests_and_are_what_the_specification_models() {
    let (_folder, store) = store();
    let images = [image(&store, "linux/arm/v7"), image(&store, "linux/amd64")];
    let manifest = store.read(&images[1].1.manifest).unwrap();
    let parsed: oci_spec::image::ImageManifest = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(parsed.layers().len(), 2);
    assert_eq!(parsed.layers()[0].size(), images[1].1.layers[0].size);
    let config = store.read(&images[1].1.config).unwrap();
    let parsed: oci_spec::image::ImageConfiguration = serde_json::from_slice(&config).unwrap();
    assert_eq!(parsed.created().as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(parsed.rootfs().diff_ids()[0], images[1].1.layers[0].diff_id.oci());
    assert_eq!(parsed.history().as_ref().unwrap().len(), 2);
    assert_eq!(Digest::of(&config).to_string(), "f9fd2526b09448aead2e18f980a2f6d0816d27c3657c663e560263b361d1ed84");
    assert_eq!(Digest::of(&manifest).to_string(), "9af2f792dfcd8adedc371e14ffb700e027661af20db5339b96b50dd2e0580c16");
    let index = write_index(&store, &images).unwrap();
    let parsed: oci_spec::image::ImageIndex = serde_json::from_slice(&store.read(&index).unwrap()).unwrap();
    assert_eq!(parsed.manifests().len(), 2);
    assert_eq!(index.to_string(), "1035e467143389dd1aeb39444519cb51f8c5042b4f325b17ab68c879b763054c");
    let turned = [images[1].clone(), images[0].clone()];
    assert_eq!(write_index(&store, &turned).unwrap(), index);
    assert!(write_index(&store, &[images[0].clone(), images[0].clone()]).is_err());
}

#[test]
fn archives_have_these_digests() {
    let (folder, store) = store();
    let (platform, image) = image(&store, "linux/amd64");
    let path = folder.path().join("archive");
    archive::write_oci(&store, &Root::image("api", &platform, &image), &path).unwrap();
    assert_eq!(file_digest(&path), "4832a4374448db355bd14cde58f831eeae01bfb92571918765f2971a881b1056");
    archive::write_docker(&store, "api", &image, &path).unwrap();
    assert_eq!(file_digest(&path), "7486d733e032f7a0399cc2421f993a9f877ccd3d35bbbea0f4d3a023e080b22e");
    let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
    let mut manifest = String::new();
    archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut manifest).unwrap();
    assert!(manifest.contains("\"RepoTags\":[\"api:latest\"]"), "{manifest}");
    archive::write_root(&store, &image.layers, &path).unwrap();
    assert_eq!(file_digest(&path), "2a420958837e212fc4092c90a50b7e9016967f0474e6d23adc43542fd15d4811");
    let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
    let names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names[..3], ["etc/", "usr/", "usr/bin/"], "the whiteout must have removed etc/sample");
    assert!(names.contains(&"usr/lib/link".to_owned()));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".kiln-")), "{left:?}");
}

#[test]
fn a_layout_is_made_extended_and_replaced_but_nothing_else_is() {
    let (folder, store) = store();
    let images = [image(&store, "linux/amd64"), image(&store, "linux/arm64")];
    let layout_folder = folder.path().join("layout");
    let index = |folder: &Path| -> oci_spec::image::ImageIndex {
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap()
    };
    layout::write(&store, &Root::image("one", &images[0].0, &images[0].1), &layout_folder, &layout::Ahead::default())
        .unwrap();
    let first = file_digest(&layout_folder.join("index.json"));
    for (digest, size) in images[0].1.blobs() {
        let blob = std::fs::read(layout_folder.join("blobs/sha256").join(digest.to_string())).unwrap();
        assert_eq!((Digest::of(&blob), blob.len() as u64), (digest, size));
    }
    layout::write(&store, &Root::image("one", &images[0].0, &images[0].1), &layout_folder, &layout::Ahead::default())
        .unwrap();
    assert_eq!(file_digest(&layout_folder.join("index.json")), first);
    // A blob that is not what its name says is written anew.
    let blob = layout_folder.join("blobs/sha256").join(images[0].1.config.to_string());
    std::fs::write(&blob, vec![b' '; usize::try_from(images[0].1.config_size).unwrap()]).unwrap();
    layout::write(&store, &Root::image("one", &images[0].0, &images[0].1), &layout_folder, &layout::Ahead::default())
        .unwrap();
    assert_eq!(file_digest(&blob), images[0].1.config.to_string());
    let both = write_index(&store, &images).unwrap();
    layout::write(
        &store,
        &Root::index(&store, "two", &both, &images).unwrap(),
        &layout_folder,
        &layout::Ahead::default(),
    )
    .unwrap();
    layout::write(&store, &Root::image("one", &images[1].0, &images[1].1), &layout_folder, &layout::Ahead::default())
        .unwrap();
    let found: Vec<_> =
        index(&layout_folder).manifests().iter().map(|manifest| manifest.digest().to_string()).collect();
    assert_eq!(found, [both.oci(), images[1].1.manifest.oci()]);
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("precious"), "").unwrap();
    let error =
        layout::write(&store, &Root::image("one", &images[0].0, &images[0].1), &other, &layout::Ahead::default())
            .unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn what_is_written_ahead_of_a_layout_shows_when_it_gets_its_names() {
    let (folder, store) = store();
    let (platform, image) = image(&store, "linux/amd64");
    let (root, none) = (Root::image("one", &platform, &image), layout::Ahead::default());
    let layers: Vec<Digest> = image.layers.iter().map(|layer| layer.digest).collect();
    let layout_folder = folder.path().join("layout");
    let blob = |digest: &Digest| layout_folder.join("blobs/sha256").join(digest.to_string());
    let ahead = || layout::Ahead::new(&store, &layout_folder, "one", &layers, &AtomicBool::new(false));
    layout::write(&store, &root, &layout_folder, &none).unwrap();
    // One is missing, and another is not what its name says.
    std::fs::remove_file(blob(&layers[0])).unwrap();
    let mut damaged = std::fs::read(blob(&layers[1])).unwrap();
    damaged[20] ^= 1;
    std::fs::write(blob(&layers[1]), &damaged).unwrap();

    let files = || std::fs::read_dir(layout_folder.join("blobs/sha256")).unwrap().count();
    let before = files();
    drop(ahead());
    assert_eq!(files(), before, "without being written, nothing is left of it");
    // What was begun needs the store no more.
    let begun = ahead();
    std::fs::remove_file(store.blob_path(&layers[0])).unwrap();
    layout::write(&store, &root, &layout_folder, &begun).unwrap();
    assert!(layers.iter().all(|layer| file_digest(&blob(layer)) == layer.to_string()));
    assert_eq!(files(), before + 1);
}
