//! Reading a `.deb`: its control information, and its files as a plain tar stream (deb(5)).
//!
//! Takes any reader, writes nothing, and trusts nothing: sizes, counts and compression ratios have
//! limits. What becomes of the files is decided elsewhere.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::error::{Context, Error, Kind, Result};
use crate::layer::tar;

/// Plain bytes of the control archive. The largest in Debian have a few million.
const LIMIT_CONTROL: u64 = 64 << 20;

/// Plain bytes of the data archive.
const LIMIT_DATA: u64 = 64 << 30;

/// Plain bytes for each compressed byte. Empty disk images in test suites reach a few thousand.
const LIMIT_RATIO: u64 = 8192;

/// Members of the control archive.
const LIMIT_MEMBERS: usize = 1000;

/// Memory that an xz stream may ask for; `xz -9` asks for 65 MiB.
const LIMIT_MEMORY: u64 = 1 << 30;

/// The largest zstd window: 128 MiB, as dpkg and the `zstd` program have it.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A package's control information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The fields of the file `control` (Debian Policy, 5.3). Lines after the first of a value keep their
    /// leading space.
    pub fields: BTreeMap<String, String>,
    /// Every file in the control archive by name: its mode and content.
    pub members: BTreeMap<String, (u32, Vec<u8>)>,
}

/// A line of the file `conffiles` (deb-conffiles(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConffileLine {
    /// Absolute.
    pub path: String,
    /// Whether the file is to be removed on upgrade, rather than being in the package.
    pub remove_on_upgrade: bool,
}

/// A `.deb`, read up to its data archive.
#[derive(Debug)]
pub struct Deb<R: Read> {
    /// The control information.
    pub control: Control,
    /// The control archive as a plain tar stream.
    pub control_tar: Vec<u8>,
    /// The data archive.
    pub data: Data<R>,
}

/// The data archive as a plain tar stream, to be read.
pub struct Data<R: Read> {
    decoder: Decoder<Exactly<R>>,
    /// Plain bytes that may still come.
    left: u64,
    /// Compressed bytes of the archive.
    size: u64,
}

impl<R: Read> std::fmt::Debug for Data<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Data").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Reads a `.deb` up to the beginning of its data archive.
///
/// Fails on what dpkg would not take, on compression other than none, gzip, xz and zstd, and on what is
/// beyond the limits.
pub fn read<R: Read>(mut reader: R) -> Result<Deb<R>> {
    let mut magic = [0; 8];
    reader.read_exact(&mut magic).context(|| "reading the first bytes of the package")?;
    if magic != *b"!<arch>\n" {
        return Err(Error::new("this is not a Debian package: it does not begin as an ar archive")
            .kind(Kind::Corrupt)
            .hint("its archive serves it so, for its hash is right: tell those who keep the archive"));
    }
    let version = member(&mut reader, "debian-binary")?;
    if version.name != "debian-binary" || version.size > 64 {
        return Err(Error::new(format!("the package begins with {:?} instead of debian-binary", version.name)));
    }
    let text = read_member(&mut reader, &version)?;
    if !text.starts_with(b"2.") {
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(Error::new(format!("the package has format {text:?}, only 2.x is known")));
    }
    let control = wanted(&mut reader, "control.tar")?;
    if control.size > LIMIT_CONTROL {
        return Err(Error::new(format!("{} has {} bytes", control.name, control.size)));
    }
    let compressed = read_member(&mut reader, &control)?;
    let control_tar = plain_control(&control.name, &compressed)?;
    let data = wanted(&mut reader, "data.tar")?;
    let limit = limit(data.size);
    let decoder = Decoder::new(&data.name, "data.tar", Exactly { inner: reader, left: data.size })?;
    Ok(Deb { control: Control::read(&control_tar)?, control_tar, data: Data { decoder, left: limit, size: data.size } })
}

fn limit(compressed: u64) -> u64 {
    compressed.saturating_mul(LIMIT_RATIO).min(LIMIT_DATA)
}

/// The header of an ar member.
struct Member {
    name: String,
    size: u64,
}

/// The next member that is not one of those that readers skip (names that begin with `_`, deb(5)).
fn wanted(reader: &mut impl Read, name: &str) -> Result<Member> {
    loop {
        let found = member(reader, name)?;
        if found.name.starts_with(name) {
            return Ok(found);
        }
        if !found.name.starts_with('_') {
            return Err(Error::new(format!("the package has {:?} where {name} is expected", found.name)));
        }
        let skip = found.size + found.size % 2;
        if io::copy(&mut reader.by_ref().take(skip), &mut io::sink())? < skip {
            return Err(cut_off(&found.name));
        }
    }
}

fn cut_off(name: &str) -> Error {
    Error::new(format!("the package ends inside {name}")).kind(Kind::Corrupt)
}

/// Reads the header of the next member (ar(5), the common format; no long names).
fn member(reader: &mut impl Read, expected: &str) -> Result<Member> {
    let mut header = [0; 60];
    reader.read_exact(&mut header).map_err(|_| {
        Error::new(format!("the package ends where its member {expected} is expected")).kind(Kind::Corrupt)
    })?;
    let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
    let (name, size) = (field(0..16), field(48..58).and_then(|text| text.parse().ok()));
    match (name, size) {
        // Some writers end names with a slash.
        (Some(name), Some(size)) if header[58..] == *b"`\n" => {
            Ok(Member { name: name.strip_suffix('/').unwrap_or(name).to_owned(), size })
        }
        _ => Err(Error::new("the package has a damaged ar header").kind(Kind::Corrupt)),
    }
}

/// The content of a small member, and its padding to an even size skipped.
fn read_member(reader: &mut impl Read, member: &Member) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.by_ref().take(member.size + member.size % 2).read_to_end(&mut content)?;
    if (content.len() as u64) < member.size + member.size % 2 {
        return Err(cut_off(&member.name));
    }
    content.truncate(usize::try_from(member.size)?);
    Ok(content)
}

fn plain_control(name: &str, compressed: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let decoder = Decoder::new(name, "control.tar", compressed)?;
    decoder.take(LIMIT_CONTROL + 1).read_to_end(&mut plain).context(|| format!("reading {name}"))?;
    if plain.len() as u64 > LIMIT_CONTROL {
        return Err(Error::new(format!("{name} holds more than {LIMIT_CONTROL} bytes")));
    }
    Ok(plain)
}

/// What a member is compressed with.
enum Decoder<R: Read> {
    None(R),
    Gzip(flate2::read::MultiGzDecoder<R>),
    Xz(liblzma::read::XzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, io::BufReader<R>>),
}

impl<R: Read> Decoder<R> {
    fn new(name: &str, stem: &str, reader: R) -> Result<Self> {
        Ok(match name.strip_prefix(stem) {
            Some("") => Self::None(reader),
            Some(".gz") => Self::Gzip(flate2::read::MultiGzDecoder::new(reader)),
            Some(".xz") => {
                let stream = liblzma::stream::Stream::new_stream_decoder(LIMIT_MEMORY, 0)?;
                Self::Xz(liblzma::read::XzDecoder::new_stream(reader, stream))
            }
            Some(".zst") => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            _ => {
                return Err(Error::new(format!(
                    "the package's member {name} is compressed in a way that is not known"
                ))
                .hint("known are none, gzip (.gz), xz (.xz) and zstd (.zst)"));
            }
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Xz(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// The bytes of one ar member: a package that ends before its member does is an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the package ends inside its data archive"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl<R: Read> Read for Data<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("the data archive of {} bytes holds more than {}", self.size, limit(self.size)))
        })?;
        Ok(count)
    }
}

impl Control {
    /// Reads a plain control archive.
    pub fn read(control_tar: &[u8]) -> Result<Self> {
        let mut reader = tar::Reader::new(control_tar);
        let mut members = BTreeMap::new();
        while let Some(item) = reader.next_item().context(|| "reading the control archive")? {
            let name = item.path.strip_prefix("./").unwrap_or(&item.path).to_owned();
            if item.typeflag == b'5' && matches!(name.as_str(), "" | "." | "/") {
                continue;
            }
            let wrong = name.is_empty() || name.starts_with('.') || name.contains(['/', '\0', '\n']);
            if item.typeflag != b'0' || wrong || members.len() >= LIMIT_MEMBERS {
                return Err(Error::new(format!("the control archive has the unexpected member {:?}", item.path)));
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            if members.insert(name.clone(), (item.mode, content)).is_some() {
                return Err(Error::new(format!("the control archive has {name:?} twice")));
            }
        }
        let (_, control) = members.get("control").context(|| "the control archive has no file named control")?;
        Ok(Self { fields: fields(control)?, members })
    }

    /// The value of a field, its name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Fails unless the package is the one that it was taken for. An architecture of `all` is every one.
    pub fn check_identity(&self, name: &str, version: &str, architecture: &str) -> Result<()> {
        for (field, expected) in [("Package", name), ("Version", version), ("Architecture", architecture)] {
            let found = self.field(field).unwrap_or_default();
            if found != expected && !(field == "Architecture" && found == "all") {
                return Err(Error::new(format!(
                    "the package says of itself `{field}: {found}`, expected {name} {version} for {architecture}"
                ))
                .kind(Kind::Corrupt)
                .hint(
                    "what its index says of it is not true: lock another version, or tell those who keep the archive",
                ));
            }
        }
        Ok(())
    }

    /// The configuration files that the package declares (deb-conffiles(5)).
    pub fn conffiles(&self) -> Result<Vec<ConffileLine>> {
        let Some((_, text)) = self.members.get("conffiles") else { return Ok(Vec::new()) };
        let text = std::str::from_utf8(text).context(|| "reading the file conffiles")?;
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (flag, path) = line.split_once(' ').filter(|_| !line.starts_with('/')).unwrap_or(("", line));
                let path = path.trim_start();
                if !path.starts_with('/') || !matches!(flag, "" | "remove-on-upgrade") {
                    return Err(Error::new(format!("the file conffiles has the line {line:?}")));
                }
                Ok(ConffileLine { path: path.to_owned(), remove_on_upgrade: !flag.is_empty() })
            })
            .collect()
    }
}

/// The fields of a single paragraph (Debian Policy, 5.1).
fn fields(control: &[u8]) -> Result<BTreeMap<String, String>> {
    let text = std::str::from_utf8(control).context(|| "the file control is not UTF-8")?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    let mut ended = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            ended = ended || !fields.is_empty();
            continue;
        }
        if ended {
            return Err(Error::new("the file control has more than one paragraph"));
        }
        if line.starts_with([' ', '\t']) {
            let name = current.as_ref().context(|| "the file control begins with a continued line")?;
            let value = fields.entry(name.clone()).or_default();
            value.push('\n');
            value.push_str(line.trim_end());
            continue;
        }
        let (name, value) = line.split_once(':').context(|| format!("the file control has the line {line:?}"))?;
        if fields.keys().any(|field| field.eq_ignore_ascii_case(name)) {
            return Err(Error::new(format!("the file control has the field {name} twice")));
        }
        fields.insert(name.to_owned(), value.trim().to_owned());
        current = Some(name.to_owned());
    }
    Ok(fields)
}
