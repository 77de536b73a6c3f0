//! A project's page in the form in which the store keeps it: one line for each version, followed by one for each of
//! its files. Of a page with thousands of files only the versions are read until a version's files are wanted.
//!
//! ```text
//! https://…/simple/name/
//! =1.0
//! name-1.0-py3-none-any.whl <tab> address <tab> sha256 <tab> size <tab> metadata <tab> Python <tab> yanked
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use super::filename::Filename;
use super::name::Name;
use super::page::{Announced, Listed, Page};
use crate::error::{Context, Error, Kind, Result};

/// Stands for what is not there.
const NOTHING: &str = "-";
/// Stands for what is there, and comes before its text if it has one.
const SOMETHING: char = '+';

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    text: String,
    /// Where the files of each version are in the text.
    places: Vec<Range<usize>>,
}

impl Listing {
    /// The listing of a page.
    pub fn of(page: &Page) -> Self {
        let mut releases: BTreeMap<&Version, Vec<&Listed>> = BTreeMap::new();
        for listed in &page.files {
            releases.entry(listed.filename.version()).or_default().push(listed);
        }
        let mut text = line(page.base.as_str());
        let mut places = Vec::with_capacity(releases.len());
        for (version, files) in releases {
            // Writing to a text does not fail.
            let _ = writeln!(text, "={version}");
            let start = text.len();
            files.into_iter().for_each(|listed| text.push_str(&written(listed)));
            places.push(start..text.len());
        }
        Self { text, places }
    }

    /// A listing that was kept.
    pub fn read(text: String) -> Result<Self> {
        let mut places = Vec::new();
        let mut at = text.find('\n').map_or(text.len(), |end| end + 1);
        let mut start = None;
        while at < text.len() {
            let end = memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |end| at + end + 1);
            if text.as_bytes()[at] == b'=' {
                places.extend(start.map(|start| start..at));
                start = Some(end);
            } else if start.is_none() {
                return Err(Error::new("a listing in the store has a file without a version").kind(Kind::Corrupt));
            }
            at = end;
        }
        places.extend(start.map(|start| start..text.len()));
        Ok(Self { text, places })
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What addresses are relative to.
    pub fn base(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The versions, ascending.
    pub fn versions(&self) -> Result<Vec<Version>> {
        let read = |place: &Range<usize>| {
            let head = self.text[..place.start].trim_end_matches('\n');
            let version = head.rsplit('\n').next().and_then(|line| line.strip_prefix('=')).unwrap_or_default();
            Version::from_str(version)
                .context(|| "reading a listing in the store")
                .map_err(|error| error.kind(Kind::Corrupt))
        };
        self.places.iter().map(read).collect()
    }

    /// The files of the version at a place among the versions.
    pub fn files(&self, at: usize, project: &Name) -> Vec<Listed> {
        let text = self.places.get(at).map_or("", |place| &self.text[place.clone()]);
        // Lines that cannot be read were not written here.
        text.lines().filter_map(|line| listed(line, project)).collect()
    }
}

/// The text as one line: what a page has of control characters means nothing.
fn line(text: &str) -> String {
    clean(text) + "\n"
}

fn clean(text: &str) -> String {
    text.replace(char::is_control, "")
}

fn written(listed: &Listed) -> String {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let metadata = match listed.metadata {
        Announced::No => NOTHING.to_owned(),
        Announced::Yes(None) => SOMETHING.to_string(),
        Announced::Yes(Some(digest)) => format!("{SOMETHING}{digest}"),
    };
    let fields = [
        clean(&listed.name),
        clean(&listed.href),
        or_nothing(listed.sha256.map(|digest| digest.to_string())),
        or_nothing(listed.size.map(|size| size.to_string())),
        metadata,
        or_nothing(listed.requires_python.as_ref().map(ToString::to_string)),
        or_nothing(listed.yanked.as_ref().map(|reason| format!("{SOMETHING}{}", clean(reason)))),
    ];
    fields.join("\t") + "\n"
}

fn listed(line: &str, project: &Name) -> Option<Listed> {
    let mut fields = line.split('\t').map(|field| (field != NOTHING).then_some(field));
    let mut next = || fields.next();
    let (name, href) = (next()??, next()??);
    let (sha256, size, metadata, python, yanked) = (next()?, next()?, next()?, next()?, next()?);
    Some(Listed {
        filename: Filename::parse(name, project)?,
        name: name.to_owned(),
        href: href.to_owned(),
        sha256: sha256.map(str::parse).transpose().ok()?,
        size: size.map(str::parse).transpose().ok()?,
        requires_python: python.map(VersionSpecifiers::from_str).transpose().ok()?,
        yanked: yanked.map(|reason| reason.trim_start_matches(SOMETHING).to_owned()),
        metadata: match metadata.map(|metadata| metadata.trim_start_matches(SOMETHING)) {
            None => Announced::No,
            Some("") => Announced::Yes(None),
            Some(digest) => Announced::Yes(Some(digest.parse().ok()?)),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    fn page(html: &str) -> Page {
        let base = Url::parse("https://h.example/simple/a/").unwrap();
        crate::ecosystem::pypi::page::parse(html.as_bytes(), Some("text/html"), &base, &"a".parse().unwrap()).unwrap()
    }

    fn html() -> String {
        format!(
            "<a href='../a-2.0.tar.gz?x=-' data-yanked='tab\there'>a</a><a href='/a-1.0-py3-none-any.whl#sha256={HASH}' \
             data-requires-python='&gt;=3.8,!=3.9.*' data-core-metadata='sha256={HASH}'>a</a>\
             <a href='/a-1.0.0.zip' data-core-metadata=true data-yanked>a</a>"
        )
    }

    #[test]
    fn what_is_kept_is_what_the_page_said() {
        let page = page(&html());
        let listing = Listing::read(Listing::of(&page).text().to_owned()).unwrap();
        assert_eq!(listing, Listing::of(&page));
        assert_eq!(listing.base(), "https://h.example/simple/a/");
        let versions: Vec<String> = listing.versions().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(versions, ["1.0", "2.0"]);
        let name = "a".parse().unwrap();
        let mut files = listing.files(0, &name);
        files.extend(listing.files(1, &name));
        let mut expected = page.files[1..].to_vec();
        expected.push(Listed { yanked: Some("tabhere".into()), ..page.files[0].clone() });
        assert_eq!(files, expected);
        assert!(listing.files(2, &name).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(cut in 0..400_usize, text in "(=|\\t|\n|1\\.0|a-1.0.zip|\\PC){0,30}") {
            let whole = Listing::of(&page(&html())).text().to_owned();
            let cut = whole[..cut.min(whole.len())].to_owned();
            for text in [cut, text.clone(), format!("https://h.example/\n{text}")] {
                if let Ok(listing) = Listing::read(text) {
                    let versions = listing.versions().map_or(0, |versions| versions.len());
                    (0..versions).for_each(|at| drop(listing.files(at, &"a".parse().unwrap())));
                }
            }
        }
    }
}
