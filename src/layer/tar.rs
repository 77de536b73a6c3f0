//! Canonical tar: one entry has one encoding, and streams of it can be read back.
//!
//! Headers are POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format") with numeric owners only.
//! A pax extended header comes before an entry only when a field does not fit into the ustar header, or
//! for extended attributes; the ustar prefix field is never used. It does not know what is in the
//! entries, nor how streams are compressed.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::entry::{Entry, Kind};
use crate::error::{Context, Error, Result};

/// Tar's unit: headers are one block, content is filled up to whole ones.
pub const BLOCK: usize = 512;

/// The end of an archive: two blocks of zeros, and nothing after them.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Before the name of an extended attribute in a pax record (the convention of star, GNU tar and Docker).
const XATTR: &str = "SCHILY.xattr.";

/// The name of every pax extended header. Readers that know pax never show it.
const PAX_NAME: &[u8] = b"PaxHeader";

/// Long names and pax headers beyond this many bytes are no honest archive's.
const LIMIT_EXTENSION: u64 = 1 << 20;

/// The bytes with which a content of `size` bytes is filled up to whole blocks.
pub fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

/// Appends the header of `entry`: one block, or a pax extended header before it.
///
/// Fails on what tar cannot say: a mode beyond 0o7777, a device number beyond 2,097,151, a NUL in a name.
pub fn write_header(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let fields = Fields::of(entry)?;
    let mut records = fields.pax_records();
    for (name, value) in &entry.xattrs {
        let value = hex::decode(value)
            .context(|| format!("the extended attribute {name} of /{} is not hexadecimal", entry.path))?;
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::new(format!("/{} has an extended attribute named {name:?}", entry.path)));
        }
        records.insert(format!("{XATTR}{name}"), value);
    }
    if !records.is_empty() {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        let header = Fields {
            name: PAX_NAME.to_vec(),
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: body.len() as u64,
            mtime: 0,
            typeflag: b'x',
            device: (0, 0),
        };
        out.extend(header.block());
        out.extend(&body);
        out.resize(out.len() + padding(body.len() as u64), 0);
    }
    out.extend(fields.block());
    Ok(())
}

/// What a header says, before it is known what fits.
struct Fields {
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    typeflag: u8,
    device: (u32, u32),
}

const MAXIMUM_7: u64 = 0o777_7777;
const MAXIMUM_11: u64 = 0o777_7777_7777;

impl Fields {
    fn of(entry: &Entry) -> Result<Self> {
        let mut name = entry.path.clone().into_bytes();
        let (mut link, mut size, mut device) = (Vec::new(), 0, (0, 0));
        let typeflag = match &entry.kind {
            Kind::File { size: bytes, .. } => {
                size = *bytes;
                b'0'
            }
            Kind::HardLink { target } => {
                link = target.clone().into_bytes();
                b'1'
            }
            Kind::Symlink { target } => {
                link = target.clone().into_bytes();
                b'2'
            }
            Kind::CharacterDevice { major, minor } => {
                device = (*major, *minor);
                b'3'
            }
            Kind::BlockDevice { major, minor } => {
                device = (*major, *minor);
                b'4'
            }
            Kind::Directory => {
                // The root itself is `./`: an empty name would be no name.
                name = if name.is_empty() { b"./".to_vec() } else { [&name[..], b"/"].concat() };
                b'5'
            }
            Kind::Fifo => b'6',
        };
        let linked = matches!(entry.kind, Kind::HardLink { .. } | Kind::Symlink { .. });
        let unsayable = name.is_empty() || name.contains(&0) || link.contains(&0) || (linked && link.is_empty());
        if unsayable || entry.mode > 0o7777 || u64::from(device.0.max(device.1)) > MAXIMUM_7 {
            return Err(Error::new(format!("tar has no way to say {entry:?}")));
        }
        let Entry { mode, uid, gid, mtime, .. } = *entry;
        Ok(Self { name, link, mode, uid, gid, size, mtime, typeflag, device })
    }

    /// The fields that the ustar header cannot hold, by their pax keyword.
    fn pax_records(&self) -> BTreeMap<String, Vec<u8>> {
        let mut records = BTreeMap::new();
        for (key, text) in [("path", &self.name), ("linkpath", &self.link)] {
            if text.len() > 100 || !text.is_ascii() {
                records.insert(key.to_owned(), text.clone());
            }
        }
        for (key, number, maximum) in [
            ("uid", u64::from(self.uid), MAXIMUM_7),
            ("gid", u64::from(self.gid), MAXIMUM_7),
            ("size", self.size, MAXIMUM_11),
            ("mtime", self.mtime, MAXIMUM_11),
        ] {
            if number > maximum {
                records.insert(key.to_owned(), number.to_string().into_bytes());
            }
        }
        records
    }

    /// The ustar header. A text that does not fit is cut, a number that does not fit is zero: the pax
    /// header before it says what they are.
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut text = |at: usize, width: usize, bytes: &[u8]| {
            let length = bytes.len().min(width);
            block[at..at + length].copy_from_slice(&bytes[..length]);
        };
        let octal = |digits: usize, number: u64, maximum: u64| {
            format!("{:0digits$o}", if number > maximum { 0 } else { number }).into_bytes()
        };
        text(0, 100, &self.name);
        text(100, 8, &octal(7, u64::from(self.mode), MAXIMUM_7));
        text(108, 8, &octal(7, u64::from(self.uid), MAXIMUM_7));
        text(116, 8, &octal(7, u64::from(self.gid), MAXIMUM_7));
        text(124, 12, &octal(11, self.size, MAXIMUM_11));
        text(136, 12, &octal(11, self.mtime, MAXIMUM_11));
        text(148, 8, b"        ");
        text(156, 1, &[self.typeflag]);
        text(157, 100, &self.link);
        text(257, 8, b"ustar\x0000");
        text(329, 8, &octal(7, u64::from(self.device.0), MAXIMUM_7));
        text(337, 8, &octal(7, u64::from(self.device.1), MAXIMUM_7));
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend(value);
    record.push(b'\n');
    record
}

/// One entry of a tar stream as its headers say it, from wherever it came: nothing in it is checked
/// beyond being readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The name as written, with a leading `./` and a trailing slash if it has them.
    pub path: String,
    /// The target of a link, as written.
    pub link: String,
    /// `b'0'` to `b'6'`; the other spellings of a file (`\0`, `7`) are read as `b'0'`.
    pub typeflag: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// The owner's name; empty if there is none.
    pub user: String,
    /// The group's name; empty if there is none.
    pub group: String,
    /// Bytes of content that follow: zero for all but files.
    pub size: u64,
    pub mtime: u64,
    pub device: (u32, u32),
    /// Raw values.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Item {
    /// The item as an entry of one of our own streams. A file's digest is not known from its header:
    /// `sha256` gives it.
    pub fn to_entry(&self, sha256: crate::digest::Digest) -> Result<Entry> {
        let target = || self.link.clone();
        let (major, minor) = self.device;
        let kind = match self.typeflag {
            b'0' => Kind::File { size: self.size, sha256 },
            b'1' => Kind::HardLink { target: target() },
            b'2' => Kind::Symlink { target: target() },
            b'3' => Kind::CharacterDevice { major, minor },
            b'4' => Kind::BlockDevice { major, minor },
            b'5' => Kind::Directory,
            _ => Kind::Fifo,
        };
        let path = match (self.path.as_str(), &kind) {
            ("./", Kind::Directory) => "",
            (path, Kind::Directory) => path.strip_suffix('/').unwrap_or(path),
            (path, _) => path,
        };
        let number = |number: u64| u32::try_from(number).context(|| format!("{:?} has the owner {number}", self.path));
        Ok(Entry {
            path: path.to_owned(),
            kind,
            mode: self.mode,
            uid: number(self.uid)?,
            gid: number(self.gid)?,
            mtime: self.mtime,
            xattrs: self.xattrs.iter().map(|(name, value)| (name.clone(), hex::encode(value))).collect(),
        })
    }
}

/// Reads ustar, pax and GNU tar streams, entry by entry. Reading from the reader itself gives the
/// content of the current entry.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// Bytes left of the current content, and of the padding after it.
    left: u64,
    padding: u64,
    /// Whether the two blocks of zeros (one is enough for a reader) have been seen.
    ended: bool,
}

/// What pax and GNU headers said about the entry after them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    numbers: BTreeMap<&'static str, u64>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of a stream.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0, ended: false }
    }

    /// Whether the stream's end was said in it, not only reached.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What is read from.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, after skipping what is left of the current one; `None` at the end of the archive,
    /// or where the stream ends between two entries.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let mut extension = Extension::default();
        let mut extended = false;
        loop {
            self.skip_rest()?;
            let mut block = [0; BLOCK];
            let complete = read_block(&mut self.inner, &mut block)?;
            if !complete || block == [0; BLOCK] {
                self.ended = complete;
                if extended {
                    return Err(Error::new("the archive ends after a header that extends another"));
                }
                return Ok(None);
            }
            let header = ::tar::Header::from_byte_slice(&block);
            check_sum(&block)?;
            let size = header.size().context(|| "reading the size in a tar header")?;
            match block[156] {
                b'L' => extension.path = Some(until_nul(self.extension_body(size)?)),
                b'K' => extension.link = Some(until_nul(self.extension_body(size)?)),
                b'x' => extension.read_pax(&self.extension_body(size)?)?,
                // Speaks of the whole archive: in practice a comment of git's.
                b'g' => drop(self.extension_body(size)?),
                _ => return self.item(header, block[156], size, extension).map(Some),
            }
            extended |= block[156] != b'g';
        }
    }

    fn item(&mut self, header: &::tar::Header, typeflag: u8, size: u64, extension: Extension) -> Result<Item> {
        let text = |bytes: Vec<u8>, what: &str| {
            String::from_utf8(bytes)
                .map_err(|error| Error::new(format!("{what} {:?} in a tar header is not UTF-8", error.as_bytes())))
        };
        let path = text(extension.path.unwrap_or_else(|| header.path_bytes().into_owned()), "the name")?;
        let link = extension.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let link = text(link, "the link target")?;
        let what = || format!("reading the tar header of {path:?}");
        let typeflag = match typeflag {
            0 | b'7' => b'0',
            known @ b'0'..=b'6' => known,
            other => {
                return Err(Error::new(format!("{path:?} is of the unknown tar type {:?}", other as char)));
            }
        };
        let device = |number: io::Result<Option<u32>>| match typeflag {
            b'3' | b'4' => number.map(Option::unwrap_or_default).context(what),
            _ => Ok(0),
        };
        let number = |key: &str, number: io::Result<u64>| match extension.numbers.get(key) {
            Some(&number) => Ok(number),
            None => number.context(what),
        };
        // Archives that name no owner or no time may leave the field empty.
        let lenient = |key: &str, field: &[u8], read: io::Result<u64>| {
            let empty = field.iter().all(|byte| matches!(byte, 0 | b' '));
            number(key, if empty { Ok(0) } else { read })
        };
        let size = number("size", Ok(size))?;
        // A hard link may repeat the size of its target; no content follows.
        let size = if typeflag == b'0' { size } else { 0 };
        self.left = size;
        self.padding = padding(size) as u64;
        let user = extension.user.or_else(|| header.username_bytes().map(<[u8]>::to_vec)).unwrap_or_default();
        let group = extension.group.or_else(|| header.groupname_bytes().map(<[u8]>::to_vec)).unwrap_or_default();
        Ok(Item {
            typeflag,
            mode: header.mode().context(what)? & 0o7777,
            uid: lenient("uid", &header.as_old().uid, header.uid())?,
            gid: lenient("gid", &header.as_old().gid, header.gid())?,
            user: text(user, "the owner")?,
            group: text(group, "the group")?,
            size,
            mtime: lenient("mtime", &header.as_old().mtime, header.mtime())?,
            device: (device(header.device_major())?, device(header.device_minor())?),
            xattrs: extension.xattrs,
            path,
            link,
        })
    }

    fn extension_body(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LIMIT_EXTENSION {
            return Err(Error::new(format!("a tar header that extends another has {size} bytes")));
        }
        self.left = size;
        self.padding = padding(size) as u64;
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(body)
    }

    fn skip_rest(&mut self) -> Result<()> {
        // One after the other: a header may say any size, and no sum is to leave the number's range.
        for skip in [std::mem::take(&mut self.left), std::mem::take(&mut self.padding)] {
            if io::copy(&mut (&mut self.inner).take(skip), &mut io::sink())? < skip {
                return Err(cut_off().into());
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(cut_off());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside an entry")
}

/// Fills the block; false if the stream ends before it.
fn read_block(reader: &mut impl Read, block: &mut [u8; BLOCK]) -> Result<bool> {
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(cut_off().into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let said = ::tar::Header::from_byte_slice(block).cksum().context(|| "reading the check sum of a tar header")?;
    let found: u32 =
        block.iter().enumerate().map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte })).sum();
    if said != found {
        return Err(Error::new(format!("a tar header is damaged: its check sum is {found}, it says {said}")));
    }
    Ok(())
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

impl Extension {
    fn read_pax(&mut self, body: &[u8]) -> Result<()> {
        let mut rest = body;
        while !rest.is_empty() {
            let (key, value);
            (key, value, rest) = split_pax(rest).context(|| "a pax header is not readable")?;
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "uname" => self.user = Some(value.to_vec()),
                "gname" => self.group = Some(value.to_vec()),
                "size" => self.number("size", value)?,
                "uid" => self.number("uid", value)?,
                "gid" => self.number("gid", value)?,
                // Parts of a second are beyond what a layer holds.
                "mtime" => self.number("mtime", value.split(|&byte| byte == b'.').next().unwrap_or_default())?,
                key if key.starts_with("GNU.sparse.") => {
                    return Err(Error::new("the archive has a sparse file in it, which is not supported"));
                }
                key => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        self.xattrs.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, key: &'static str, value: &[u8]) -> Result<()> {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let number = number.context(|| format!("a pax header says the {key} {:?}", String::from_utf8_lossy(value)))?;
        self.numbers.insert(key, number);
        Ok(())
    }
}

/// Splits the first record off: its key, its value, and what follows.
fn split_pax(body: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = body.iter().position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let key = std::str::from_utf8(&record[..equals]).ok()?;
    Some((key, &record[equals + 1..], &body[length..]))
}

#[cfg(test)]
mod tests;
