use std::collections::BTreeMap;
use std::io::Read;

use super::{END, Reader, padding, write_header};
use crate::digest::Digest;
use crate::layer::{Entry, Kind};

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000, xattrs: BTreeMap::new() }
}

fn file(size: u64) -> Kind {
    Kind::File { size, sha256: Digest::of(&vec![b'x'; usize::try_from(size).unwrap()]) }
}

/// One of everything that a header can have to say.
fn samples() -> Vec<Entry> {
    let long = format!("usr/{}/{}", "d".repeat(90), "f".repeat(60));
    let mut samples = vec![
        Entry { mode: 0o755, ..entry("", Kind::Directory) },
        Entry { mode: 0o2775, gid: 50, ..entry("usr/local", Kind::Directory) },
        Entry { mode: 0o4755, ..entry("usr/bin/su", file(1000)) },
        entry("usr/bin/su2", Kind::HardLink { target: "usr/bin/su".into() }),
        Entry { mode: 0o777, ..entry("bin", Kind::Symlink { target: "usr/bin".into() }) },
        entry("dev/null", Kind::CharacterDevice { major: 1, minor: 3 }),
        entry("dev/sda", Kind::BlockDevice { major: 8, minor: 0 }),
        entry("run/pipe", Kind::Fifo),
        entry(&long, file(0)),
        entry("long-link", Kind::Symlink { target: long.clone() }),
        entry("hard-link", Kind::HardLink { target: long }),
        entry("usr/share/ümläut", file(3)),
        Entry { uid: 3_000_000, gid: 4_000_000_000, mtime: 1 << 34, ..entry("big", file(5)) },
        entry(&"e".repeat(100), file(1)),
        entry(&"e".repeat(100).replace('e', "d"), Kind::Directory),
    ];
    let xattrs = [("security.capability", "0100000200040000"), ("user.a", "00ff3d0a")];
    samples.push(Entry {
        xattrs: xattrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..entry("usr/bin/ping", file(2))
    });
    samples
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        write_header(entry, &mut out).unwrap();
        if let Kind::File { size, .. } = entry.kind {
            out.resize(out.len() + usize::try_from(size).unwrap(), b'x');
            out.resize(out.len() + padding(size), 0);
        }
    }
    out.extend(END);
    out
}

fn read_all(bytes: &[u8]) -> crate::Result<Vec<Entry>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(item) = reader.next_item()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, item.size);
        entries.push(item.to_entry(Digest::of(&content))?);
    }
    assert!(reader.ended() || bytes.is_empty() || !bytes.ends_with(&END));
    Ok(entries)
}

#[test]
fn the_encoding_is_the_format_s() {
    assert_eq!(
        Digest::of(&archive(&samples())).to_string(),
        "8ab7a59511f026d25c8ba2ba94ae5f5c5a28a16d7c28323855b0628ab48a7b71"
    );
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(read_all(&archive(&samples())).unwrap(), samples());
}

#[test]
fn an_extended_header_is_there_only_when_a_field_does_not_fit() {
    let size = |entry: &Entry| archive(std::slice::from_ref(entry)).len() - END.len();
    assert_eq!(size(&entry(&"a".repeat(100), file(0))), 512);
    assert_eq!(size(&entry(&"a".repeat(101), file(0))), 3 * 512);
    assert_eq!(size(&entry(&"a".repeat(99), Kind::Directory)), 512);
    assert_eq!(size(&entry(&"a".repeat(100), Kind::Directory)), 3 * 512);
    assert_eq!(size(&Entry { uid: 2_097_151, ..entry("a", file(0)) }), 512);
    assert_eq!(size(&Entry { uid: 2_097_152, ..entry("a", file(0)) }), 3 * 512);
    let mut header = Vec::new();
    write_header(&entry("a", Kind::File { size: 8 << 30, sha256: Digest::of(b"") }), &mut header).unwrap();
    assert!(header.windows(16).any(|window| window == b"size=8589934592\n"));
}

#[test]
fn what_tar_cannot_say_is_refused() {
    let mut out = Vec::new();
    for wrong in [
        Entry { mode: 0o10_000, ..entry("a", Kind::Fifo) },
        entry("a\0b", Kind::Fifo),
        entry("", Kind::Fifo),
        entry("a", Kind::Symlink { target: String::new() }),
        entry("a", Kind::CharacterDevice { major: 1 << 22, minor: 0 }),
        Entry { xattrs: [("a=b".to_owned(), String::new())].into(), ..entry("a", Kind::Fifo) },
        Entry { xattrs: [("a".to_owned(), "xyz".to_owned())].into(), ..entry("a", Kind::Fifo) },
    ] {
        assert!(write_header(&wrong, &mut out).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_cut_or_damaged_stream_gives_an_error_or_fewer_entries() {
    let whole = archive(&samples());
    let count = samples().len();
    for at in 0..whole.len() - END.len() {
        if let Ok(entries) = read_all(&whole[..at]) {
            assert!(entries.len() < count && at % 512 == 0, "cut at {at}");
        }
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x80;
        // Damage in content shows elsewhere, by the digest; here it must only never panic.
        let _ = read_all(&damaged);
    }
}

#[test]
fn gnu_long_names_are_read() {
    let mut header = ::tar::Header::new_gnu();
    let name = "n".repeat(200);
    let mut bytes = Vec::new();
    let mut builder = ::tar::Builder::new(&mut bytes);
    header.set_size(2);
    header.set_mode(0o600);
    header.set_uid(1 << 30);
    header.set_gid(0);
    header.set_mtime(5);
    builder.append_data(&mut header, &name, &b"hi"[..]).unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_link(&mut header, "link", "t".repeat(150)).unwrap();
    builder.finish().unwrap();
    drop(builder);
    let entries = read_all(&bytes).unwrap();
    assert_eq!((entries[0].path.as_str(), entries[0].uid, entries[0].mtime), (name.as_str(), 1 << 30, 5));
    assert_eq!(entries[1].kind, Kind::Symlink { target: "t".repeat(150) });
}

#[test]
fn hostile_headers_are_refused() {
    // A long name of 2 GiB must not be read into memory.
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_size(2 << 30);
    header.set_cksum();
    assert!(read_all(header.as_bytes()).unwrap_err().to_string().contains("2147483648 bytes"));
    for body in ["12 path=abc\n", "x", "0 =\n", "99999999999999999999 a=b\n", "9 size=x\n", "22 GNU.sparse.major=1\n"] {
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(::tar::EntryType::XHeader);
        header.set_size(body.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(body.bytes());
        bytes.resize(1024, 0);
        bytes.extend(archive(&samples()));
        assert!(read_all(&bytes).is_err() || body.starts_with("12"), "{body:?}");
    }
}

/// Skipping it must not wrap around and go on in the middle of what follows.
#[test]
fn an_entry_of_every_byte_there_is_ends_the_archive() {
    let body = format!("29 size={}\n", u64::MAX);
    let mut bytes = archive(&[entry("x", file(29))])[..1024].to_vec();
    bytes[512..541].copy_from_slice(body.as_bytes());
    bytes[156] = b'x';
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend(archive(&[entry("a", file(0)), entry("b", file(0))]));
    let mut reader = Reader::new(&bytes[..]);
    assert_eq!(reader.next_item().unwrap().unwrap().size, u64::MAX);
    assert!(reader.next_item().unwrap_err().to_string().contains("ends inside an entry"));
}

#[test]
fn archives_without_owners_and_with_a_comment_are_read() {
    let body = b"20 comment=aaaaaaaa\n";
    let mut global = archive(&[entry("pax_global_header", file(20))])[..1024].to_vec();
    global[512..532].copy_from_slice(body);
    global[156] = b'g';
    let mut header = archive(&[entry("a", file(3))])[..1024].to_vec();
    header[108..124].fill(0);
    header[136..148].fill(0);
    for block in [&mut global, &mut header] {
        block[148..156].fill(b' ');
        let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let read = read_all(&[global, header, END.to_vec()].concat()).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].path.as_str(), read[0].uid, read[0].gid, read[0].mtime), ("a", 0, 0, 0));
}
