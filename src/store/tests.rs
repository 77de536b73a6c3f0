use std::fs;
use std::time::Duration;

use super::Store;
use crate::digest::Digest;
use crate::error::Kind;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

#[test]
fn a_blob_is_read_back_checked() {
    let (_folder, store) = store();
    let digest = store.put(b"content").unwrap();
    assert_eq!(digest, Digest::of(b"content"));
    assert_eq!(store.read(&digest).unwrap(), b"content");
    let mut copy = Vec::new();
    assert_eq!(store.copy_to(&digest, &mut copy).unwrap(), 7);
    assert_eq!(copy, b"content");
}

#[test]
fn a_corrupt_blob_is_said_and_set_aside() {
    let (_folder, store) = store();
    let digest = store.put(b"content").unwrap();
    fs::write(store.blob_path(&digest), b"CONTENT").unwrap();
    let error = store.read(&digest).unwrap_err();
    assert_eq!(error.what(), Kind::Corrupt);
    assert!(!store.contains(&digest), "the corrupt file must be out of the way");
    assert_eq!(store.read(&digest).unwrap_err().what(), Kind::NotFound);
}

#[test]
fn a_result_counts_only_with_its_blobs_and_intact() {
    let (folder, store) = store();
    let key = Digest::of(b"key");
    let blob = store.put(b"blob").unwrap();
    store.put_keyed("part", &key, &[blob], &"result").unwrap();
    assert_eq!(store.keyed::<String>("part", &key).as_deref(), Some("result"));
    fs::remove_file(store.blob_path(&blob)).unwrap();
    assert_eq!(store.keyed::<String>("part", &key), None);
    store.put(b"blob").unwrap();
    assert!(store.keyed::<String>("part", &key).is_some());
    let name = key.to_string();
    let path = folder.path().join("keyed/part").join(&name[..2]).join(&name);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(store.keyed::<String>("part", &key), None);
}

#[test]
fn collection_keeps_what_results_name_and_waits_for_no_one() {
    let (folder, store) = store();
    let kept = store.put(b"kept").unwrap();
    let lost = store.put(b"lost").unwrap();
    let fetched = store.put(b"fetched for later").unwrap();
    let old = fs::File::options().write(true).open(store.blob_path(&lost)).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    store.put_keyed("part", &kept, &[kept], &1).unwrap();
    let month = Duration::from_secs(30 * 24 * 3600);
    assert!(Store::collect(folder.path(), month, false).is_err(), "the store is in use");
    drop(store);
    let collected = Store::collect(folder.path(), month, false).unwrap();
    assert!(collected.bytes >= 4);
    let store = Store::open(folder.path()).unwrap();
    assert!(store.contains(&kept) && store.contains(&fetched) && !store.contains(&lost));
    drop(store);
    Store::collect(folder.path(), Duration::ZERO, false).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(!store.contains(&kept), "nothing was used within no time at all");
}

#[test]
fn another_layout_is_refused() {
    let (folder, store) = store();
    drop(store);
    fs::write(folder.path().join("kiln-store"), "2\n").unwrap();
    assert!(Store::open(folder.path()).unwrap_err().to_string().contains("layout 2"));
}

#[test]
fn what_is_not_complete_is_gone_with_its_process() {
    let (folder, store) = store();
    let tmp = || fs::read_dir(folder.path().join("tmp")).unwrap().count();
    let scratch = store.scratch().unwrap();
    let other = Store::open(folder.path()).unwrap();
    other.put(b"other").unwrap();
    assert!(scratch.path().exists(), "its process lives");
    assert_eq!(tmp(), 2);
    drop((other, scratch));
    drop(store);
    assert_eq!(tmp(), 0);
    // As a killed process leaves it: nobody holds its lock.
    fs::create_dir_all(folder.path().join("tmp/run-killed/work/root")).unwrap();
    Store::open(folder.path()).unwrap().put(b"more").unwrap();
    assert_eq!(tmp(), 0);
}

#[test]
fn verification_reads_blobs_and_results() {
    let (folder, store) = store();
    let blob = store.put(b"blob").unwrap();
    store.put_keyed("part", &blob, &[blob], &1).unwrap();
    assert_eq!(store.verify().unwrap(), (2, Vec::new()));
    fs::write(store.blob_path(&blob), b"other").unwrap();
    let name = blob.to_string();
    let result = format!("keyed/part/{}/{name}", &name[..2]);
    fs::write(folder.path().join(&result), b"{}").unwrap();
    assert_eq!(store.verify().unwrap(), (0, vec![format!("blobs/sha256/{}/{name}", &name[..2]), result]));
    assert_eq!(store.verify().unwrap(), (0, Vec::new()));
}
