//! The metadata inside of wheels and source distributions. Takes anything that can be read, wherever it is.

use std::io::{Read, Seek};
use std::str::FromStr;

use pep440_rs::Version;
use tar::{EntryType, PaxExtensions};

use super::filename::{Archive, Source, Wheel};
use super::metadata::{self, Basis, Stored};
use super::name::Name;
use crate::error::{Context, Error, Kind, Result};

/// No archive has more members.
const MOST_MEMBERS: usize = 1_000_000;
/// No source distribution unpacks to more, in bytes.
const LARGEST_SOURCE: u64 = 4 << 30;
/// A file this deep in a source distribution is not its own.
const DEEPEST: usize = 5;

fn corrupt(message: String) -> Error {
    Error::new(message).kind(Kind::Corrupt)
}

/// The METADATA of a wheel (the binary distribution format, "The .dist-info directory").
pub fn of_wheel(wheel: &Wheel, archive: impl Read + Seek) -> Result<Stored> {
    let mut archive = opened(archive)?;
    let own = |member: &str| {
        let folder = member.strip_suffix(".dist-info/METADATA").filter(|folder| !folder.contains('/'))?;
        let name = folder.split('-').next()?.parse::<Name>().ok()?;
        (name == wheel.name).then(|| member.to_owned())
    };
    let found: Vec<String> = names(&archive).iter().filter_map(|member| own(member)).collect();
    let [member] = &found[..] else {
        return Err(corrupt(format!(
            "the wheel {wheel} has {} METADATA files of its own, one is expected",
            found.len()
        )));
    };
    let member = archive.by_name(member).map_err(|error| unreadable(error.into()))?;
    let bytes = limited(member)?;
    Ok(Stored::parse(&bytes)?.0)
}

/// What a source distribution says of itself, by the surest of what it has: PKG-INFO that promises to stay as it is
/// (PEP 643), a static `[project]` table (PEP 621), or else what its author's tools left in it.
pub fn of_source(source: &Source, archive: impl Read + Seek) -> Result<Stored> {
    let found = match source.archive {
        Archive::Zip => Found::in_zip(archive)?,
        Archive::TarGz => Found::in_tar(archive)?,
    };
    found.metadata(source)
}

/// The files of a source distribution that say something.
#[derive(Default)]
struct Found {
    pkg_info: Option<Vec<u8>>,
    pyproject: Option<Vec<u8>>,
    egg_requirements: Option<Vec<u8>>,
}

impl Found {
    /// Where the content of a member is wanted, if it is. A path's first part is the distribution's folder.
    fn place(&mut self, path: &str) -> Option<&mut Option<Vec<u8>>> {
        let parts: Vec<&str> = path.trim_start_matches("./").split('/').collect();
        match &parts[..] {
            [_, "PKG-INFO"] => Some(&mut self.pkg_info),
            [_, "pyproject.toml"] => Some(&mut self.pyproject),
            [_, .., folder, "requires.txt"] if parts.len() <= DEEPEST && folder.ends_with(".egg-info") => {
                Some(&mut self.egg_requirements)
            }
            _ => None,
        }
        .filter(|place| place.is_none())
    }

    fn in_zip(archive: impl Read + Seek) -> Result<Self> {
        let mut archive = opened(archive)?;
        let mut found = Self::default();
        for name in names(&archive) {
            if let Some(place) = found.place(&name) {
                *place = Some(limited(archive.by_name(&name).map_err(|error| unreadable(error.into()))?)?);
            }
        }
        Ok(found)
    }

    fn in_tar(archive: impl Read) -> Result<Self> {
        let plain = flate2::read::MultiGzDecoder::new(archive).take(LARGEST_SOURCE);
        let mut archive = tar::Archive::new(plain);
        let mut found = Self::default();
        let mut long = None;
        // Raw, for the library reads long names into memory whatever they say of their size.
        for (count, member) in archive.entries().map_err(|error| unreadable(error.into()))?.raw(true).enumerate() {
            if count > MOST_MEMBERS {
                return Err(corrupt(format!("the archive has more than {MOST_MEMBERS} members")));
            }
            let member = member.map_err(|error| unreadable(error.into()))?;
            match member.header().entry_type() {
                EntryType::GNULongName => long = Some(until_nul(limited(member)?)),
                EntryType::XHeader => long = pax_path(&limited(member)?).or(long),
                EntryType::GNULongLink | EntryType::XGlobalHeader => {}
                kind => {
                    let path = long.take().unwrap_or_else(|| member.path_bytes().into_owned());
                    let place = found.place(&String::from_utf8_lossy(&path)).filter(|_| kind.is_file());
                    if let Some(place) = place {
                        *place = Some(limited(member)?);
                    }
                }
            }
        }
        Ok(found)
    }

    fn metadata(self, source: &Source) -> Result<Stored> {
        let parsed = self.pkg_info.as_deref().map(Stored::parse).transpose();
        if let Ok(Some((stored, header))) = &parsed
            && header.is_static()
        {
            return Ok(stored.clone());
        }
        if let Some(text) = self.pyproject.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok())
            && let Ok(Some(stored)) = Stored::parse_pyproject(text, &source.version)
        {
            return Ok(stored);
        }
        let (mut stored, has_requirements) = match parsed.context(|| "reading PKG-INFO")? {
            Some((stored, header)) => (stored, header.has_requirements()),
            // Without any metadata, its name is all that is known of it.
            None => (named(source), false),
        };
        if let Some(requirements) = self.egg_requirements.filter(|_| !has_requirements) {
            stored.add_egg_requirements(&String::from_utf8_lossy(&requirements));
        }
        // Old tools wrote versions that mean the same in other words.
        if Version::from_str(&stored.version).is_err() {
            stored.version = source.version.to_string();
        }
        Ok(Stored { basis: Basis::Guessed, ..stored })
    }
}

fn named(source: &Source) -> Stored {
    Stored {
        name: source.name.to_string(),
        version: source.version.to_string(),
        requires: Vec::new(),
        requires_python: None,
        extras: Vec::new(),
        basis: Basis::Guessed,
    }
}

fn opened<R: Read + Seek>(archive: R) -> Result<zip::ZipArchive<R>> {
    let archive = zip::ZipArchive::new(archive).map_err(|error| unreadable(error.into()))?;
    if archive.len() > MOST_MEMBERS {
        return Err(corrupt(format!("the archive has more than {MOST_MEMBERS} members")));
    }
    Ok(archive)
}

/// The members' names, without those that are no text.
fn names<R: Read + Seek>(archive: &zip::ZipArchive<R>) -> Vec<String> {
    archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect()
}

/// The name in an extended header of pax, if there is one.
fn pax_path(body: &[u8]) -> Option<Vec<u8>> {
    PaxExtensions::new(body)
        .flatten()
        .find(|record| record.key_bytes() == b"path")
        .map(|record| record.value_bytes().to_vec())
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    name
}

fn unreadable(cause: Error) -> Error {
    corrupt("the archive cannot be read".to_owned()).caused_by(cause)
}

/// The content of a member of reasonable size.
fn limited(member: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take(metadata::LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.into()))?;
    if bytes.len() as u64 > metadata::LARGEST {
        return Err(corrupt(format!("a file of metadata has more than {} bytes", metadata::LARGEST)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn tar_gz(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn source(text: &str) -> Source {
        Source::parse(text, &"a".parse().unwrap()).unwrap()
    }

    const OLD: &str = "Metadata-Version: 1.1\nName: a\nVersion: 1.0\n";

    #[test]
    fn a_wheels_own_metadata_is_found() {
        let wheel: Wheel = "A_b-1.0-py3-none-any.whl".parse().unwrap();
        let own = ("a_b-1.0.dist-info/METADATA", "Name: a-b\nVersion: 1.0\nRequires-Dist: c\n");
        let vendored = ("a_b/vendor/x-1.dist-info/METADATA", "Name: x\nVersion: 1\n");
        let bytes = zip(&[vendored, own, ("other-1.dist-info/METADATA", "")]);
        let stored = of_wheel(&wheel, Cursor::new(&bytes)).unwrap();
        assert_eq!(stored.requires, ["c"]);
        let error = of_wheel(&wheel, Cursor::new(zip(&[vendored]))).unwrap_err();
        assert!(error.to_string().contains("has 0 METADATA files"), "{error}");
        for end in 0..bytes.len() {
            assert!(of_wheel(&wheel, Cursor::new(&bytes[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn the_surest_of_what_a_source_has_counts() {
        let fixed = "Metadata-Version: 2.2\nName: a\nVersion: 1.0\nRequires-Dist: certain\n";
        let project = "[project]\nname = 'a'\nversion = '1.0'\ndependencies = ['table']\n";
        let eggs = ("a-1.0/src/a.egg-info/requires.txt", "egg\n");
        let read = |files: &[(&str, &str)]| {
            let stored = of_source(&source("a-1.0.tar.gz"), Cursor::new(tar_gz(files))).unwrap();
            let zipped = of_source(&source("a-1.0.zip"), Cursor::new(zip(files))).unwrap();
            assert_eq!(stored, zipped);
            (stored.requires.join(" "), stored.basis)
        };
        let (info, table) = ("a-1.0/PKG-INFO", "a-1.0/pyproject.toml");
        assert_eq!(read(&[(info, fixed), (table, project), eggs]), ("certain".into(), Basis::Certain));
        assert_eq!(read(&[eggs, (info, OLD), (table, project)]), ("table".into(), Basis::Certain));
        assert_eq!(read(&[(info, OLD), eggs, (table, "[build-system]\n")]), ("egg".into(), Basis::Guessed));
        let listed = format!("{OLD}Requires-Dist: listed\n");
        assert_eq!(read(&[(info, &listed), eggs]), ("listed".into(), Basis::Guessed));
        assert_eq!(read(&[("a-1.0/setup.py", "")]), (String::new(), Basis::Guessed));
        assert_eq!(read(&[("a-1.0/test/data/PKG-INFO", fixed)]), (String::new(), Basis::Guessed));
    }

    #[test]
    fn long_names_are_read_within_limits() {
        let listed = format!("{OLD}Requires-Dist: listed\n");
        let packed = |kind: tar::EntryType, size: u64, body: &[u8]| {
            let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
            for (kind, size, body) in [(kind, size, body), (EntryType::Regular, listed.len() as u64, listed.as_bytes())]
            {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(kind);
                header.set_size(size);
                header.set_mode(0o644);
                header.set_cksum();
                tar.append(&header, body).unwrap();
            }
            let packed = tar.into_inner().unwrap().finish().unwrap();
            of_source(&source("a-1.0.tar.gz"), Cursor::new(packed))
        };
        let folder = "d".repeat(120);
        for (kind, body) in [
            (EntryType::GNULongName, format!("{folder}/PKG-INFO\0")),
            (EntryType::XHeader, format!("{} path={folder}/PKG-INFO\n", 120 + 19)),
        ] {
            let stored = packed(kind, body.len() as u64, body.as_bytes()).unwrap();
            assert_eq!(stored.requires, ["listed"]);
            let huge = vec![b'x'; (metadata::LARGEST + 1) as usize];
            let error = packed(kind, huge.len() as u64, &huge).unwrap_err().to_string();
            assert!(error.contains("more than 16777216 bytes"), "{error}");
        }
    }

    #[test]
    fn damaged_sources_are_refused() {
        let bytes = tar_gz(&[("a-1.0/PKG-INFO", OLD)]);
        let whole = of_source(&source("a-1.0.tar.gz"), Cursor::new(&bytes)).unwrap();
        for end in 0..bytes.len() {
            // Once the archive has said that it is over, what follows does not matter.
            let read = of_source(&source("a-1.0.tar.gz"), Cursor::new(&bytes[..end]));
            assert!(read.map_or(end < bytes.len(), |read| read == whole && end > bytes.len() / 2), "{end}");
        }
        assert!(of_source(&source("a-1.0.zip"), Cursor::new(&bytes)).is_err());
    }
}
