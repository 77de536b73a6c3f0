//! Where origins are served from on this machine, and where that was learnt.
//!
//! The order is: what kiln was told (`[origins]`, the user's configuration, `KILN_ORIGIN_<NAME>`, merged by the
//! caller), the machine's apt, and for Debian, last, the public snapshot archive. An address that comes from
//! apt counts for an origin only when its signed index says so: `archive.rs` sees to that.

use std::collections::BTreeMap;
use std::path::Path;

use super::apt::Apt;
use super::date;
use crate::ecosystem::origin::Configured;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Address, Client, Credentials, Request};

/// The public archive of everything that Debian ever published: the one address that is built in.
pub const SNAPSHOT: &str = "https://snapshot.debian.org";
/// The snapshot archive blocks those who ask it for much at once.
const SNAPSHOT_CONNECTIONS: usize = 2;

/// What an address rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somebody said that it serves this origin.
    Configured,
    /// It is one of apt's; which origin it serves, its signed index must say.
    Apt,
    /// The snapshot archive.
    Snapshot,
}

/// An address that may serve an origin.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: Address,
    pub credentials: Option<Credentials>,
    /// Where the address was learnt, for `kiln store origins`.
    pub learnt: String,
    pub class: Class,
    /// Connections at once, if few are wanted.
    gentle: Option<usize>,
}

impl Place {
    fn new(url: &str, learnt: String, class: Class) -> Result<Self> {
        let (address, credentials) = Address::parse(url)?;
        let gentle = (class == Class::Snapshot).then_some(SNAPSHOT_CONNECTIONS);
        Ok(Self { address, credentials, learnt, class, gentle })
    }

    /// A request for a file below it.
    pub fn request(&self, path: &str, maximum: u64) -> Result<Request> {
        Ok(Request {
            address: self.address.below(path)?,
            maximum,
            credentials: self.credentials.clone(),
            gentle: self.gentle,
            accept: None,
        })
    }
}

/// Everything this machine knows about where origins are.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    configured: BTreeMap<String, Configured>,
    apt: Apt,
}

impl Sources {
    /// `apt_root` is `/etc/apt`, or `None` to leave the machine's apt out of it.
    pub fn new(configured: BTreeMap<String, Configured>, apt_root: Option<&Path>) -> Self {
        Self { configured, apt: apt_root.map(Apt::read).unwrap_or_default() }
    }

    /// What was read of apt's configuration: its proxies are for the client's settings.
    pub fn apt(&self) -> &Apt {
        &self.apt
    }

    /// The addresses that may serve `origin`, best first; the snapshot archive is not among them.
    ///
    /// Addresses kiln was told exclude apt's. Fails only if an address that kiln was told is wrong.
    pub fn places(&self, origin: &str, client: &Client) -> Result<Vec<Place>> {
        if let Some(configured) = self.configured.get(origin).filter(|known| !known.addresses.is_empty()) {
            let place = |url: &String| {
                Place::new(url, configured.learnt.clone(), Class::Configured)
                    .map(|place| self.with_login(place))
                    .context(|| format!("reading the address of the origin `{origin}` ({})", configured.learnt))
            };
            return configured.addresses.iter().map(place).collect();
        }
        let mut places: Vec<Place> = Vec::new();
        for uri in &self.apt.uris {
            // A list of mirrors that cannot be had, a `cdrom:`: apt's other addresses may do.
            for url in uri.resolve(client).unwrap_or_default() {
                let Ok(place) = Place::new(&url, uri.learnt.clone(), Class::Apt) else { continue };
                if !places.iter().any(|other| other.address == place.address) {
                    places.push(self.with_login(place));
                }
            }
        }
        // Only an order in which to ask: what the answers say decides.
        let named = |place: &Place| place.address.path().contains("security") == origin.contains("security");
        places.sort_by_key(|place| !named(place));
        Ok(places)
    }

    /// The snapshot archive's address for an origin as it was at `time`, in seconds since 1970; `None` for
    /// origins that it does not hold.
    pub fn snapshot(&self, origin: &str, time: u64) -> Result<Option<Place>> {
        if !matches!(origin, "debian" | "debian-security") {
            return Ok(None);
        }
        let (base, learnt) = match self.configured.get("snapshot") {
            Some(Configured { addresses, learnt }) if !addresses.is_empty() => (addresses[0].as_str(), learnt.clone()),
            _ => (SNAPSHOT, "built in".to_owned()),
        };
        let mut place = self.with_login(
            Place::new(base, learnt, Class::Snapshot).context(|| "reading the address of the origin `snapshot`")?,
        );
        place.address = place.address.below(&format!("archive/{origin}/{}", date::snapshot(time)))?;
        Ok(Some(place))
    }

    fn with_login(&self, mut place: Place) -> Place {
        place.credentials = place.credentials.or_else(|| self.apt.credentials(&place.address));
        place
    }

    /// The error for an origin that is served from nowhere, with all the ways to say where.
    pub fn unknown(&self, origin: &str) -> Error {
        let mut error = Error::new(format!("no address is known for the origin `{origin}`")).kind(Kind::NotFound);
        for note in &self.apt.notes {
            error = error.caused_by(Error::new(note.clone()));
        }
        error.hint(ways(origin))
    }
}

/// How to say where an origin is.
pub(super) fn ways(origin: &str) -> String {
    let variable = origin.to_ascii_uppercase().replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    format!(
        "say where it is: `{origin} = \"https://…\"` under `[origins]` in kiln.toml or in the user's configuration, \
         the variable KILN_ORIGIN_{variable}, or a source of the machine's apt"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Settings;

    fn client() -> Client {
        Client::new(&Settings { offline: true, ..Settings::default() }).unwrap()
    }

    #[test]
    fn what_kiln_was_told_goes_before_apt() {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join("mirrors.txt");
        std::fs::write(&list, "# nearest\nhttp://m1.example/debian priority:1\nhttp://m2.example/debian\n").unwrap();
        let text = format!(
            "deb http://user:pass@s.example/debian-security x main\ndeb mirror+file:{} x main\ndeb cdrom:[x]/ x main\n",
            list.display()
        );
        std::fs::write(root.path().join("sources.list"), text).unwrap();
        let told = Configured { addresses: vec!["https://told.example/".into()], learnt: "kiln.toml".into() };
        let sources = Sources::new(BTreeMap::from([("vendor".into(), told)]), Some(root.path()));
        let shown = |origin| -> Vec<String> {
            sources.places(origin, &client()).unwrap().iter().map(|place| place.address.to_string()).collect()
        };
        assert_eq!(shown("vendor"), ["https://told.example/"]);
        assert_eq!(
            shown("debian"),
            ["http://m1.example/debian", "http://m2.example/debian", "http://s.example/debian-security"]
        );
        assert_eq!(shown("debian-security")[0], "http://s.example/debian-security");
        assert!(sources.places("debian-security", &client()).unwrap()[0].credentials.is_some());
    }

    #[test]
    fn the_snapshot_archive_is_for_debian_and_can_be_elsewhere() {
        let sources = Sources::default();
        let place = sources.snapshot("debian-security", 1_789_199_741).unwrap().unwrap();
        assert_eq!(place.address.to_string(), "https://snapshot.debian.org/archive/debian-security/20260912T075541Z");
        assert!(sources.snapshot("vendor", 0).unwrap().is_none());
        let told = Configured { addresses: vec!["http://inside.example/snap/".into()], learnt: "x".into() };
        let sources = Sources::new(BTreeMap::from([("snapshot".into(), told)]), None);
        let place = sources.snapshot("debian", 0).unwrap().unwrap();
        assert_eq!(place.address.to_string(), "http://inside.example/snap/archive/debian/19700101T000000Z");
    }

    #[test]
    fn an_unknown_origin_is_an_error_with_the_ways_to_set_it() {
        let error = Sources::default().unknown("debian-security");
        assert_eq!(error.message(), "no address is known for the origin `debian-security`");
        assert!(error.hints()[0].contains("KILN_ORIGIN_DEBIAN_SECURITY"));
    }
}
