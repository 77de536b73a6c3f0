//! Zip archives.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::{Unpack, limit};
use crate::error::{Context, Error, Result};

/// The longest target of a symbolic link, in bytes.
const LIMIT_TARGET: u64 = 4096;

/// Places everything that is wanted of the zip archive `file` of `size` bytes.
pub(super) fn unpack(file: File, size: u64, unpack: &mut Unpack<'_>) -> Result<()> {
    let mut archive = zip::ZipArchive::new(BufReader::with_capacity(1 << 18, file))
        .context(|| "it is no zip archive")
        .map_err(|error| {
            error
                .hint("its name says that it is one: look at what the address serves, or keep it with `unpack = false`")
        })?;
    let mut left = limit(size);
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).context(|| format!("its member {index}"))?;
        let name = member.name().context(|| format!("the name of its member {index}"))?.into_owned();
        left = left
            .checked_sub(member.size())
            .ok_or_else(|| Error::new("the archive grows beyond every measure as it is decompressed"))?;
        place(unpack, &name, &mut member)
            .context(|| format!("its member {:?}", name.chars().take(200).collect::<String>()))?;
    }
    Ok(())
}

fn place(unpack: &mut Unpack<'_>, name: &str, member: &mut zip::read::ZipFile<'_, BufReader<File>>) -> Result<()> {
    if name.contains('\\') {
        return Err(Error::new("there is a backslash in its name"));
    }
    let Some(relative) = unpack.wanted(name)? else { return Ok(()) };
    let own = crate::layer::entry::normalize(name)?;
    let mtime = modified(member);
    // Without permissions of Unix, it was made elsewhere.
    let mode = member.unix_mode();
    if member.is_dir() {
        unpack.options.placing.directory(&mut unpack.builder, &relative, 0o755)?;
    } else if mode.is_some_and(|mode| mode & 0o170_000 == 0o120_000) {
        let mut target = String::new();
        member.by_ref().take(LIMIT_TARGET).read_to_string(&mut target).context(|| "reading where the link leads")?;
        unpack.symlink(&relative, &target, mtime)?;
    } else {
        let permissions = mode.map(|mode| mode & 0o777).filter(|mode| *mode != 0).unwrap_or(0o644);
        let size = member.size();
        unpack.file(&relative, permissions, mtime, size, member)?;
    }
    unpack.placed.insert(own);
    Ok(())
}

/// When a member was modified, its local time taken for UTC: zip knows no zones. The checksum of its content is the
/// library's to check.
pub fn modified<R: Read>(member: &zip::read::ZipFile<'_, R>) -> u64 {
    let Some(time) = member.last_modified() else { return 0 };
    let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
    // Days since 1970 in the proleptic Gregorian calendar, years beginning in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    u64::try_from(days * 86_400 + seconds).unwrap_or(0)
}

/// How many members the zip archive of `size` bytes says that it has: the library keeps one of several with the same
/// name, and says nothing (APPNOTE, 4.3.14 and 4.3.16).
pub fn entry_count<R: Read + Seek>(reader: &mut R, size: u64) -> Result<u64> {
    const RECORD: usize = 22;
    const LONGEST_COMMENT: u64 = 0xffff;
    let length = size.min(LONGEST_COMMENT + RECORD as u64 + 20);
    reader.seek(SeekFrom::Start(size - length))?;
    let mut end = Vec::new();
    reader.take(length).read_to_end(&mut end)?;
    reader.seek(SeekFrom::Start(0))?;
    let no_archive = || {
        Error::new("it is no zip archive: it has no central directory")
            .hint("it was cut off on its way, or the address serves something else under this name")
    };
    let last = end.len().checked_sub(RECORD).ok_or_else(no_archive)?;
    let at = (0..=last).rev().find(|at| end[*at..].starts_with(b"PK\x05\x06")).ok_or_else(no_archive)?;
    let count = u16::from_le_bytes([end[at + 10], end[at + 11]]);
    if count != u16::MAX {
        return Ok(u64::from(count));
    }
    // More than fit into the field: the larger record is where the locator before it says.
    let field =
        |bytes: &[u8], at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
    let locator = at.checked_sub(20).filter(|at| end[*at..].starts_with(b"PK\x06\x07"));
    let Some(place) = locator.and_then(|at| field(&end, at + 8)) else { return Ok(u64::from(count)) };
    reader.seek(SeekFrom::Start(place))?;
    let mut record = [0; 56];
    reader.read_exact(&mut record).map_err(|_| no_archive())?;
    reader.seek(SeekFrom::Start(0))?;
    field(&record, 32).filter(|_| record.starts_with(b"PK\x06\x06")).ok_or_else(no_archive)
}
