//! What a built wheel says of its needs, against what was locked before it was built: a source distribution may have
//! said something else of itself (PEP 643 lets it say that it may).

use std::collections::BTreeMap;

use super::metadata::Stored;
use super::name::Name;
use super::requirement::Wanted;
use super::target::Target;
use crate::error::{Context, Result};

/// The requirements in a METADATA file that `locked`, names to versions, does not satisfy on `target`: each with the
/// version that is locked, if one is.
pub fn unmet(
    metadata: &[u8],
    target: &Target,
    locked: &BTreeMap<Name, pep440_rs::Version>,
) -> Result<Vec<(String, Option<String>)>> {
    let metadata = Stored::parse(metadata)?.0.read().context(|| "reading what a built wheel says of itself")?;
    let mut unmet = Vec::new();
    for requirement in metadata.requires.iter().filter(|requirement| requirement.applies(target, &[])) {
        let version = locked.get(&requirement.name);
        let met = version.is_some_and(|version| match &requirement.wanted {
            Wanted::Versions(specifiers, _) => specifiers.contains(version),
            // Which bytes it means is for the lock to say.
            Wanted::Url(_) => true,
        });
        if !met {
            unmet.push((requirement.text().to_owned(), version.map(ToString::to_string)));
        }
    }
    Ok(unmet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_locked_is_found() {
        let target = Target::new("3.13.5", "amd64", (2, 41)).unwrap();
        let metadata = b"Metadata-Version: 2.1\nName: a\nVersion: 1\nRequires-Dist: b>=2\nRequires-Dist: C_d\n\
            Requires-Dist: e; python_version < '3'\nRequires-Dist: f; extra == 'x'\nProvides-Extra: x\n\n";
        let locked = |pins: &[(&str, &str)]| -> BTreeMap<Name, pep440_rs::Version> {
            pins.iter().map(|(name, version)| (name.parse().unwrap(), version.parse().unwrap())).collect()
        };
        let found = |pins: &[(&str, &str)]| unmet(metadata, &target, &locked(pins)).unwrap();
        assert_eq!(found(&[("b", "2.1"), ("c-d", "1")]), []);
        assert_eq!(found(&[("b", "1"), ("c-d", "1")]), [("b>=2".to_owned(), Some("1".to_owned()))]);
        assert_eq!(found(&[("b", "2")]), [("C_d".to_owned(), None)]);
    }
}
