//! A project's page in the simple index: HTML (PEP 503, 592, 658, 714) and JSON (PEP 691, 700).
//!
//! A page says which files there are, where, and what they are expected to be. Takes text and the address it
//! came from; everything in it is somebody else's word.

use std::collections::BTreeMap;
use std::str::FromStr;

use pep440_rs::VersionSpecifiers;
use serde::Deserialize;
use url::Url;

use super::filename::{Filename, Versions};
use super::name::Name;
use super::requirement::lenient_specifiers;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};

/// No page is larger, in bytes.
pub const LARGEST: u64 = 128 << 20;
/// No page lists more files.
const MOST_FILES: usize = 300_000;
/// No address in a page is longer, in bytes.
const LONGEST_ADDRESS: usize = 8192;

/// The media type of the JSON form.
pub const JSON: &str = "application/vnd.pypi.simple.v1+json";
/// The media type of the HTML form.
pub const HTML: &str = "application/vnd.pypi.simple.v1+html";

/// A file as a page lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub filename: Filename,
    /// Its name as written.
    pub name: String,
    /// Where it is: an address, relative to the page's perhaps.
    pub href: String,
    pub sha256: Option<Digest>,
    /// In bytes.
    pub size: Option<u64>,
    pub requires_python: Option<VersionSpecifiers>,
    /// Why it was taken back, if it was (PEP 592); the reason may be empty.
    pub yanked: Option<String>,
    pub metadata: Announced,
}

/// Whether a wheel's metadata can be had by itself, at its address with `.metadata` (PEP 658).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Nothing is said of it.
    No,
    /// It can, and has this hash if one is given.
    Yes(Option<Digest>),
}

/// All files of a page that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What addresses in the page are relative to.
    pub base: Url,
    pub files: Vec<Listed>,
}

/// Reads a page of either form, by its media type or else by how it begins.
pub fn parse(bytes: &[u8], media_type: Option<&str>, address: &Url, project: &Name) -> Result<Page> {
    let what = || format!("reading the index page of {project} at {}", address.host_str().unwrap_or("this machine"));
    if bytes.len() as u64 > LARGEST {
        return Err(Error::new(format!("{}: it has more than {LARGEST} bytes", what())).kind(Kind::Corrupt));
    }
    let is_json = match media_type {
        Some(media_type) if media_type.contains("json") => true,
        Some(media_type) if media_type.contains("html") => false,
        _ => bytes.trim_ascii_start().first() == Some(&b'{'),
    };
    let page = if is_json { parse_json(bytes, address, project) } else { parse_html(bytes, address, project) };
    page.map_err(|error| Error::new(what()).kind(Kind::Corrupt).caused_by(error))
}

/// The address of a listed file.
pub fn address(base: &Url, href: &str) -> Result<Url> {
    if href.len() > LONGEST_ADDRESS {
        return Err(Error::new(format!("an address has more than {LONGEST_ADDRESS} bytes")).kind(Kind::Corrupt));
    }
    let url = base.join(href).context(|| "a file's address is not a URL")?;
    let allowed = matches!(url.scheme(), "http" | "https") || url.scheme() == base.scheme();
    if !allowed || (base.scheme() == "https" && url.scheme() == "http" && url.host_str() == base.host_str()) {
        return Err(Error::new(format!(
            "a page at an `{}:` address leads to a `{}:` address",
            base.scheme(),
            url.scheme()
        ))
        .kind(Kind::Corrupt));
    }
    Ok(url)
}

fn check_version(version: &str) -> Result<()> {
    if version.trim() == "1" || version.trim().starts_with("1.") {
        return Ok(());
    }
    let shown: String = version.chars().take(20).collect();
    Err(Error::new(format!("the index speaks version `{}`, this kiln knows version 1", shown.escape_debug())))
}

fn too_many() -> Error {
    Error::new(format!("it lists more than {MOST_FILES} files"))
}

#[derive(Deserialize)]
struct JsonPage {
    meta: JsonMeta,
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
struct JsonMeta {
    #[serde(rename = "api-version")]
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    size: Option<u64>,
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Flag,
    core_metadata: Option<JsonMetadata>,
    dist_info_metadata: Option<JsonMetadata>,
}

/// A truth or a text that stands for one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Is(bool),
    Because(String),
}

impl Default for Flag {
    fn default() -> Self {
        Self::Is(false)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonMetadata {
    Is(bool),
    Hashes(BTreeMap<String, String>),
}

fn parse_json(bytes: &[u8], address: &Url, project: &Name) -> Result<Page> {
    let page: JsonPage = serde_json::from_slice(bytes)?;
    check_version(&page.meta.api_version)?;
    if page.files.len() > MOST_FILES {
        return Err(too_many());
    }
    let sha256 = |hashes: &BTreeMap<String, String>| hashes.get("sha256").and_then(|hash| digest(hash));
    let mut known = Known::default();
    let read = |file: JsonFile| {
        let metadata = match file.core_metadata.or(file.dist_info_metadata) {
            Some(JsonMetadata::Hashes(hashes)) => Announced::Yes(sha256(&hashes)),
            Some(JsonMetadata::Is(true)) => Announced::Yes(None),
            Some(JsonMetadata::Is(false)) | None => Announced::No,
        };
        Some(Listed {
            filename: Filename::parse_with(&file.filename, project, &mut known.versions)?,
            name: file.filename,
            href: file.url,
            sha256: sha256(&file.hashes),
            size: file.size,
            requires_python: known.requires_python(file.requires_python.as_deref())?,
            yanked: match file.yanked {
                Flag::Is(yanked) => yanked.then(String::new),
                Flag::Because(reason) => Some(reason),
            },
            metadata,
        })
    };
    Ok(Page { base: address.clone(), files: page.files.into_iter().filter_map(read).collect() })
}

/// What is the same for many files of a page, read once.
#[derive(Default)]
struct Known {
    versions: Versions,
    python: BTreeMap<String, Option<VersionSpecifiers>>,
}

impl Known {
    /// `None` if it cannot be read: then the file is as good as not there, for nobody knows whom it is for.
    #[expect(clippy::option_option, reason = "that there is nothing and that it is unreadable are different things")]
    fn requires_python(&mut self, text: Option<&str>) -> Option<Option<VersionSpecifiers>> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Some(None) };
        if let Some(known) = self.python.get(text) {
            return known.clone().map(Some);
        }
        let read = lenient_specifiers(text).ok();
        self.python.insert(text.to_owned(), read.clone());
        read.map(Some)
    }
}

fn digest(text: &str) -> Option<Digest> {
    text.to_ascii_lowercase().parse().ok()
}

fn parse_html(bytes: &[u8], address: &Url, project: &Name) -> Result<Page> {
    let text = String::from_utf8_lossy(bytes);
    let mut page = Page { base: address.clone(), files: Vec::new() };
    let mut known = Known::default();
    let mut rest = &*text;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let length = rest.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let tag = &rest[..length];
        if tag.eq_ignore_ascii_case("a") {
            let attributes = Attributes::read(&mut rest, length);
            // Its text is the file's name where the address has none that can be read.
            let end = memchr::memchr(b'<', rest.as_bytes()).unwrap_or(rest.len());
            page.files.extend(anchor(&attributes, &rest[..end], project, &mut known));
            if page.files.len() > MOST_FILES {
                return Err(too_many());
            }
        } else if tag.eq_ignore_ascii_case("base") {
            if let Some(href) = Attributes::read(&mut rest, length).get("href") {
                page.base = self::address(address, &href).context(|| "reading the page's base address")?;
            }
        } else if tag.eq_ignore_ascii_case("meta") {
            let attributes = Attributes::read(&mut rest, length);
            if attributes.get("name").as_deref() == Some("pypi:repository-version") {
                check_version(&attributes.get("content").unwrap_or_default())?;
            }
        }
    }
    Ok(page)
}

fn anchor(attributes: &Attributes<'_>, text: &str, project: &Name, known: &mut Known) -> Option<Listed> {
    let link = attributes.get("href")?;
    let (href, fragment) = link.split_once('#').unwrap_or((&link, ""));
    let path = href.split('?').next().unwrap_or(href);
    let last = path.rsplit('/').next().unwrap_or(path);
    let plain = crate::net::percent_decoded(last);
    let (name, filename) = match Filename::parse_with(&plain, project, &mut known.versions) {
        Some(filename) => (plain, filename),
        None => {
            let text = unescaped(text.trim());
            let filename = Filename::parse_with(&text, project, &mut known.versions)?;
            (text, filename)
        }
    };
    let sha256 = fragment.split('&').find_map(|part| part.strip_prefix("sha256="));
    let announced = attributes.get("data-core-metadata").or_else(|| attributes.get("data-dist-info-metadata"));
    Some(Listed {
        filename,
        name,
        href: href.to_owned(),
        sha256: sha256.and_then(digest),
        size: None,
        requires_python: known.requires_python(attributes.get("data-requires-python").as_deref())?,
        yanked: attributes.get("data-yanked"),
        metadata: match announced.as_deref() {
            None | Some("false") => Announced::No,
            Some(value) => Announced::Yes(value.strip_prefix("sha256=").and_then(digest)),
        },
    })
}

/// The attributes of one tag, as they stand in the text.
struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    /// Reads the attributes that begin at `from` of `rest`, which is left after the tag's end.
    fn read(rest: &mut &'a str, from: usize) -> Self {
        let mut attributes = Vec::new();
        let mut text = &rest[from..];
        loop {
            text = text.trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '/');
            let Some(first) = text.chars().next() else { break };
            if first == '>' {
                text = &text[1..];
                break;
            }
            let end = text
                .find(|character: char| character.is_ascii_whitespace() || matches!(character, '=' | '>' | '/'))
                .unwrap_or(text.len())
                .max(first.len_utf8());
            let name = &text[..end];
            text = text[end..].trim_start();
            let mut value = "";
            if let Some(after) = text.strip_prefix('=') {
                let after = after.trim_start();
                let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''));
                (value, text) = match quote {
                    Some(quote) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                    None => after.split_at(
                        after.find(|end: char| end.is_ascii_whitespace() || end == '>').unwrap_or(after.len()),
                    ),
                };
            }
            attributes.push((name, value));
        }
        *rest = text;
        Self(attributes)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| unescaped(value))
    }
}

/// Undoes HTML's character references, of which those that indexes use are known.
fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| Some((reference(&rest[1..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn reference(name: &str) -> Option<char> {
    match name {
        "gt" => Some('>'),
        "lt" => Some('<'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let value = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => u32::from_str(number).ok()?,
            };
            char::from_u32(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Page> {
        parse(text.as_bytes(), None, &Url::parse("https://h.example/simple/foo/").unwrap(), &"foo".parse().unwrap())
    }

    const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    fn html() -> String {
        format!(
            "<!DOCTYPE html><html><head><meta name=\"pypi:repository-version\" content=\"1.1\"><title>x</title></head>\
             <!-- <a href='foo-9.tar.gz'>no</a> --><body>\n\
             <a href=\"../../p/foo-1.0-py3-none-any.whl#sha256={HASH}\" data-requires-python=\"&gt;=3.6,&lt;4\" \
             data-core-metadata=\"sha256={HASH}\">foo</a>\n\
             <A HREF='/p/foo-1.1%2Bx.tar.gz' data-yanked data-dist-info-metadata=true >foo-1.1+x.tar.gz</A>\
             <a href=/get?id=7>foo-1.2.zip</a><a href=\"bar-1.zip\">bar-1.zip</a><a>foo-2.zip</a>\
             <a href='foo-3.zip' data-requires-python='later'>x</a></body></html>"
        )
    }

    #[test]
    fn html_pages_are_read() {
        let page = read(&html()).unwrap();
        let names: Vec<&str> = page.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["foo-1.0-py3-none-any.whl", "foo-1.1+x.tar.gz", "foo-1.2.zip"]);
        let [wheel, source, other] = &page.files[..] else { panic!("three files") };
        assert_eq!(wheel.sha256.unwrap().to_string(), HASH);
        assert_eq!(wheel.requires_python.as_ref().unwrap().to_string(), ">=3.6, <4");
        assert_eq!(wheel.metadata, Announced::Yes(wheel.sha256));
        assert_eq!(address(&page.base, &wheel.href).unwrap().as_str(), "https://h.example/p/foo-1.0-py3-none-any.whl");
        assert_eq!((source.yanked.as_deref(), source.metadata), (Some(""), Announced::Yes(None)));
        assert_eq!(address(&page.base, &other.href).unwrap().as_str(), "https://h.example/get?id=7");
    }

    #[test]
    fn json_pages_are_read() {
        let text = format!(
            r#"{{"meta": {{"api-version": "1.3"}}, "name": "foo", "versions": ["1.0"], "files": [
                {{"filename": "foo-1.0-py3-none-any.whl", "url": "../foo-1.0-py3-none-any.whl", "size": 7,
                  "hashes": {{"sha256": "{HASH}"}}, "requires-python": null, "yanked": "broken",
                  "core-metadata": {{"sha256": "{HASH}"}}}},
                {{"filename": "foo-1.0.exe", "url": "x", "hashes": {{}}}},
                {{"filename": "foo-1.0.tar.gz", "url": "x", "hashes": {{"md5": "0"}}, "yanked": false, "core-metadata": false}}]}}"#
        );
        let page = read(&text).unwrap();
        assert_eq!(page.files.len(), 2);
        assert_eq!((page.files[0].size, page.files[0].yanked.as_deref()), (Some(7), Some("broken")));
        assert_eq!(page.files[0].metadata, Announced::Yes(page.files[0].sha256));
        assert_eq!((page.files[1].sha256, &page.files[1].yanked), (None, &None));
    }

    #[test]
    fn pages_that_cannot_be_trusted_are_refused() {
        for (text, expected) in [
            (r#"{"meta": {"api-version": "2.0"}, "files": []}"#.to_owned(), "speaks version `2.0`"),
            ("{\"meta\": {}".to_owned(), "reading the index page of foo"),
            ("<meta name='pypi:repository-version' content='2.0'>".to_owned(), "speaks version `2.0`"),
            ("<base href='file:///etc/'>".to_owned(), "leads to a `file:` address"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.what(), Kind::Corrupt);
        }
        let base = Url::parse("https://h.example/simple/foo/").unwrap();
        for href in ["file:///etc/shadow", "javascript:x", "http://h.example/foo-1.zip", "https://", &"x".repeat(9000)]
        {
            assert!(address(&base, href).is_err(), "{href}");
        }
    }

    #[test]
    fn a_page_cut_off_anywhere_does_not_make_it_panic() {
        let html = html();
        for end in (0..html.len()).filter(|end| html.is_char_boundary(*end)) {
            // Only a version of the index that is cut off is an error.
            assert!(read(&html[..end]).map_or(end < 200, |page| page.files.len() <= 4), "{end}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(<a |<base |<meta |href=|>|'|\"|&#x?[0-9a-f]{1,9};|foo-1.zip|%[0-9a-g]{2}|\\PC|\\{){0,40}") {
            if let Ok(page) = read(&text) {
                for file in &page.files {
                    let _ = address(&page.base, &file.href);
                }
            }
        }
    }
}
