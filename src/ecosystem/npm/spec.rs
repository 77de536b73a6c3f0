//! What a dependency asks for: a version, a range or a tag of a package in a registry, under its own name or
//! another (`npm:other@1`). Specifiers of other kinds (git, addresses, files) are told apart and no more.

use super::range::Range;
use super::semver::Version;
use crate::error::{Error, Result};

/// The longest name of a package (npm's documentation, package.json, "name").
const LONGEST_NAME: usize = 214;

/// What is asked of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The package's name in the registry.
    pub name: String,
    pub wanted: Wanted,
}

/// Which of a package's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Version(Version),
    /// `None` for any version at all, prereleases too.
    Range(Option<Range>),
    /// A distribution tag, such as `latest`.
    Tag(String),
}

impl Spec {
    /// Reads the specifier `text` of a dependency that is called `name`.
    ///
    /// Fails on names that no package has, and on what no registry serves.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        check_name(name)?;
        let text = text.trim();
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("npm:")) {
            let (name, text) = split(&text[4..]);
            check_name(name)?;
            return Ok(Self { name: name.to_owned(), wanted: Wanted::parse(name, text)? });
        }
        Ok(Self { name: name.to_owned(), wanted: Wanted::parse(name, text)? })
    }
}

impl Wanted {
    fn parse(name: &str, text: &str) -> Result<Self> {
        if let Some(kind) = elsewhere(text) {
            return Err(Error::no(format!("`{name}` is wanted from {kind}, `{text}`, and not from a registry"))
                .hint("only packages of a registry can be locked: ask for a version of it that a registry has, if need be with an override"));
        }
        if let Some(version) = Version::parse(text) {
            return Ok(Self::Version(version));
        }
        if matches!(text, "" | "*") {
            return Ok(Self::Range(None));
        }
        if let Some(range) = Range::parse(text) {
            return Ok(Self::Range(Some(range)));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(Error::no(format!(
                "`{text}` is neither a version of `{name}`, nor a range of them, nor a tag"
            ))
            .hint("as in `1.2.3`, `^1.2`, `>=1 <3`, `latest`"));
        }
        Ok(Self::Tag(text.to_owned()))
    }

    /// Whether a version that is installed does.
    pub fn accepts(&self, version: &Version) -> bool {
        match self {
            Self::Version(wanted) => wanted == version,
            Self::Range(None) | Self::Tag(_) => true,
            Self::Range(Some(range)) => range.contains(version),
        }
    }
}

/// `name@rest`, where the name may begin with an `@` of its own.
pub fn split(text: &str) -> (&str, &str) {
    match text.char_indices().skip(1).find(|(_, character)| *character == '@') {
        Some((at, _)) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    }
}

/// Where a specifier leads that is none of a registry.
fn elsewhere(text: &str) -> Option<&'static str> {
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("file:") || text.starts_with(['.', '/']) || text.starts_with("~/") || drive {
        return Some("a file");
    }
    if lower.starts_with("workspace:") {
        return Some("a workspace");
    }
    if lower.starts_with("git") || lower.starts_with("gist:") || lower.starts_with("bitbucket:") {
        return text.contains([':', '/']).then_some("a git repository");
    }
    if lower.starts_with("http:") || lower.starts_with("https:") {
        return Some("an address");
    }
    if text.contains(':') {
        return Some("elsewhere");
    }
    if [".tgz", ".tar.gz", ".tar"].iter().any(|end| lower.ends_with(end)) {
        return Some("a file");
    }
    text.contains('/').then_some("a git repository")
}

/// Refuses what no package of a registry is called, and what as a path would lead anywhere.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte))
    };
    let good = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| plain(scope) && plain(name)),
        None => plain(name) && !name.starts_with('_') && !matches!(name, "node_modules" | "favicon.ico"),
    };
    if good && name.len() <= LONGEST_NAME {
        return Ok(());
    }
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    Err(Error::no(format!("{shown:?} is not the name of an npm package"))
        .hint("names are like `express` or `@scope/name`: see npm's documentation of package.json"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn registries_are_told_from_everything_else() {
        let wanted = |text| Spec::parse("a", text).unwrap().wanted;
        assert_eq!(wanted("v1.2.3"), Wanted::Version(Version::parse("1.2.3").unwrap()));
        assert_eq!(wanted(" "), Wanted::Range(None));
        assert_eq!(wanted("^1 || ~2"), Wanted::Range(Range::parse("^1 || ~2")));
        assert_eq!(wanted("next"), Wanted::Tag("next".into()));
        let alias = Spec::parse("a", "npm:@scope/b@^2").unwrap();
        assert_eq!((alias.name.as_str(), alias.wanted), ("@scope/b", Wanted::Range(Range::parse("^2"))));
        assert_eq!(Spec::parse("a", "npm:b").unwrap().wanted, Wanted::Range(None));
        for (text, kind) in [
            ("file:../x", "a file"),
            ("../x", "a file"),
            ("~/x", "a file"),
            ("./x.tgz", "a file"),
            ("workspace:*", "a workspace"),
            ("user/repository#main", "a git repository"),
            ("git+ssh://git@host/x.git", "a git repository"),
            ("github:user/repository", "a git repository"),
            ("https://host/x.tgz", "an address"),
        ] {
            let error = Spec::parse("a", text).unwrap_err().to_string();
            assert!(error.contains(kind), "{text}: {error}");
        }
        assert!(Spec::parse("a", "not a tag!?").is_err());
    }

    #[test]
    fn names_cannot_be_paths() {
        for good in ["a", "JSONStream", "@scope/name", "lodash.merge", "socket.io", "3d-view"] {
            check_name(good).unwrap();
        }
        for wrong in
            ["", ".", "..", "../x", "a/b", "@/x", "@x/", "@x/../y", "node_modules", ".bin", "a b", "a\0", "_x", "a\\b"]
        {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert!(check_name(&"a".repeat(215)).is_err());
    }

    proptest! {
        #[test]
        fn any_specifier_is_read_or_refused(name in ".{0,20}", text in ".{0,40}") {
            let _ = Spec::parse(&name, &text);
        }
    }
}
