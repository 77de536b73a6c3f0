//! A builder of `.deb` files, honest and hostile ones.

use std::io::Write;

use tar::{EntryType, Header};

/// A package in the making. What is not said is sensible.
pub struct Package {
    pub control: String,
    pub members: Vec<(String, u32, Vec<u8>)>,
    pub data: Vec<u8>,
    /// Name of the data member, which says its compression.
    pub data_name: &'static str,
    pub control_name: &'static str,
    pub version: &'static str,
    /// Whether ar names end with a slash.
    pub slash: bool,
}

impl Default for Package {
    fn default() -> Self {
        Self {
            control: "Package: sample\nVersion: 1.0-1\nArchitecture: amd64\nDescription: a sample\n of two lines\n"
                .into(),
            members: Vec::new(),
            data: Vec::new(),
            data_name: "data.tar.xz",
            control_name: "control.tar.xz",
            version: "2.0\n",
            slash: false,
        }
    }
}

impl Package {
    pub fn new() -> Self {
        Self::default().dir("./", 0o755)
    }

    pub fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_mtime(1_600_000_000);
        header.set_username("root").unwrap();
        header.set_groupname("root").unwrap();
        header
    }

    /// Appends an entry whose name is taken as it is, however wrong.
    pub fn raw(mut self, mut header: Header, name: &str, link: &str, content: &[u8]) -> Self {
        for (text, kind) in [(name, b'L'), (link, b'K')] {
            if text.len() > 100 {
                let mut long = Self::header(EntryType::new(kind), 0o644, text.len() as u64 + 1);
                long.as_mut_bytes()[..13].copy_from_slice(b"././@LongLink");
                long.set_cksum();
                self.push(&long, &[text.as_bytes(), b"\0"].concat());
            }
        }
        let (short_name, short_link) = (name.len().min(100), link.len().min(100));
        let bytes = header.as_mut_bytes();
        bytes[..short_name].copy_from_slice(&name.as_bytes()[..short_name]);
        bytes[157..157 + short_link].copy_from_slice(&link.as_bytes()[..short_link]);
        header.set_cksum();
        self.push(&header, content);
        self
    }

    fn push(&mut self, header: &Header, content: &[u8]) {
        self.data.extend(header.as_bytes());
        self.data.extend(content);
        self.data.resize(self.data.len().next_multiple_of(512), 0);
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.raw(Self::header(EntryType::Directory, mode, 0), name, "", b"")
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.file_with(name, content, |_| {})
    }

    pub fn file_with(self, name: &str, content: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Self::header(EntryType::Regular, 0o644, content.len() as u64);
        change(&mut header);
        self.raw(header, name, "", content)
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(Self::header(EntryType::Symlink, 0o777, 0), name, target, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(Self::header(EntryType::Link, 0o644, 0), name, target, b"")
    }

    /// Appends a pax header with one record for the entry after it.
    pub fn pax(self, key: &str, value: &str) -> Self {
        let rest = key.len() + value.len() + 3;
        let length = (1..4).map(|digits| rest + digits).find(|all| all.to_string().len() + rest == *all).unwrap();
        let body = format!("{length} {key}={value}\n");
        self.raw(Self::header(EntryType::XHeader, 0o644, body.len() as u64), "PaxHeader", "", body.as_bytes())
    }

    pub fn member(mut self, name: &str, mode: u32, content: &str) -> Self {
        self.members.push((name.to_owned(), mode, content.as_bytes().to_vec()));
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut control = Self { data: Vec::new(), ..Self::default() }.dir("./", 0o755);
        for (name, mode, content) in
            [("control".to_owned(), 0o644, self.control.clone().into_bytes())].iter().chain(&self.members)
        {
            let mode = *mode;
            control = control.file_with(&format!("./{name}"), content, |header| header.set_mode(mode));
        }
        let mut out = b"!<arch>\n".to_vec();
        self.ar(&mut out, "debian-binary", self.version.as_bytes());
        let end = [0; 1024];
        self.ar(&mut out, self.control_name, &compress(self.control_name, &[&control.data[..], &end].concat()));
        self.ar(&mut out, self.data_name, &compress(self.data_name, &[&self.data[..], &end].concat()));
        out
    }

    fn ar(&self, out: &mut Vec<u8>, name: &str, content: &[u8]) {
        let name = format!("{name}{}", if self.slash { "/" } else { "" });
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        out.extend(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
}

fn compress(name: &str, plain: &[u8]) -> Vec<u8> {
    match name.rsplit_once('.').unwrap().1 {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::bulk::compress(plain, 1).unwrap(),
        _ => plain.to_vec(),
    }
}
