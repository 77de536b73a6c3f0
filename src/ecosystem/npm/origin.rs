//! Where npm packages are served from on this machine, and where that was learnt.

use std::collections::BTreeMap;

use super::npmrc::{Settings, netrc};
use crate::ecosystem::origin::{Configured, Machine, Place};
use crate::error::{Context, Error, Kind, Result};
use crate::net::Address;

/// The registries of this machine.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// For all packages without a registry of their own, in the order in which they are asked.
    pub general: Vec<Place>,
    /// For the packages of a scope, by its name with the `@`.
    pub scopes: BTreeMap<String, Place>,
}

impl Registries {
    /// Finds the registries: what kiln was told, else the machine's npm. Scopes are npm's in any case, unless
    /// kiln was told an address: then that one serves everything.
    ///
    /// Fails if an address is wrong, or nothing says where packages are.
    pub fn find(configured: Option<&Configured>, machine: &Machine) -> Result<Self> {
        let settings = Settings::of(machine);
        if let Some(configured) = configured.filter(|configured| !configured.addresses.is_empty()) {
            let place = |url: &String| place(url, &configured.learnt, &settings, machine);
            return Ok(Self {
                general: configured.addresses.iter().map(place).collect::<Result<_>>()?,
                scopes: BTreeMap::new(),
            });
        }
        let scopes = settings
            .scopes()
            .map(|(scope, url, learnt)| Ok((scope.to_owned(), place(url, learnt, &settings, machine)?)));
        let scopes = scopes.collect::<Result<_>>()?;
        let mut general = match settings.get("registry") {
            Some((url, learnt)) => place(url, learnt, &settings, machine)?,
            None => {
                let answer = (machine.ask)(&["npm", "config", "get", "registry"]);
                let answer = answer.as_deref().map(str::trim).filter(|answer| answer.starts_with("http"));
                let url = answer.ok_or_else(unknown)?;
                place(url, "`npm config get registry`", &settings, machine)?
            }
        };
        general.credentials = general.credentials.or_else(|| settings.old_credentials());
        Ok(Self { general: vec![general], scopes })
    }

    /// Where a package is asked for, in this order.
    pub fn of(&self, name: &str) -> Vec<&Place> {
        let scope = name.starts_with('@').then(|| name.split_once('/')).flatten();
        match scope.and_then(|(scope, _)| self.scopes.get(scope)) {
            Some(place) => vec![place],
            None => self.general.iter().collect(),
        }
    }

    /// All places.
    pub fn all(&self) -> impl Iterator<Item = &Place> {
        self.general.iter().chain(self.scopes.values())
    }
}

/// The places of the origin `npm`, for `kiln store origins`: those of scopes come last.
pub fn places(configured: Option<&Configured>, machine: &Machine) -> Result<Vec<Place>> {
    Ok(Registries::find(configured, machine)?.all().cloned().collect())
}

fn place(url: &str, learnt: &str, settings: &Settings, machine: &Machine) -> Result<Place> {
    let (address, credentials) =
        Address::parse(url).context(|| format!("reading the address of the origin `npm` ({learnt})"))?;
    let file = || {
        let file = machine.variable("NETRC").map(Into::into).or_else(|| Some(machine.home.as_ref()?.join(".netrc")))?;
        netrc(&Machine::file(&file)?, address.host())
    };
    let credentials = credentials.or_else(|| settings.credentials(&address)).or_else(file);
    Ok(Place { address, credentials, learnt: learnt.to_owned() })
}

fn unknown() -> Error {
    Error::new("no address is known for the origin `npm`").kind(Kind::NotFound).hint(
        "say where it is: `npm = \"https://…\"` under `[origins]` in kiln.toml or in the user's configuration, the \
         variable KILN_ORIGIN_NPM, `registry=` in ~/.npmrc, the variable npm_config_registry, or an npm that knows",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Credentials;

    fn machine(ask: fn(&[&str]) -> Option<String>) -> (tempfile::TempDir, Machine) {
        let home = tempfile::tempdir().unwrap();
        let variables = BTreeMap::from([("npm_config_globalconfig".into(), "/nowhere".into())]);
        let machine = Machine { variables, home: Some(home.path().to_owned()), ask };
        (home, machine)
    }

    #[test]
    fn told_then_set_then_asked() {
        let (home, mut machine) = machine(|words| {
            assert_eq!(words, ["npm", "config", "get", "registry"]);
            Some("http://asked.example/\n".into())
        });
        let first = |machine: &Machine| places(None, machine).unwrap()[0].clone();
        assert_eq!(first(&machine).learnt, "`npm config get registry`");
        std::fs::write(
            home.path().join(".npmrc"),
            "registry=http://file.example/npm/\n//file.example/npm/:_authToken=t\n@corp:registry=http://corp.example/\n",
        )
        .unwrap();
        std::fs::write(home.path().join(".netrc"), "machine corp.example login me password pw\n").unwrap();
        let registries = Registries::find(None, &machine).unwrap();
        assert_eq!(registries.of("a")[0].address.to_string(), "http://file.example/npm/");
        assert_eq!(registries.of("a")[0].credentials, Some(Credentials::Bearer("t".into())));
        assert_eq!(registries.of("@corp/a")[0].address.to_string(), "http://corp.example/");
        assert!(matches!(registries.of("@corp/a")[0].credentials, Some(Credentials::Basic { .. })));
        assert_eq!(registries.of("@other/a")[0].address.to_string(), "http://file.example/npm/");
        machine.variables.insert("npm_config_registry".into(), "http://variable.example/".into());
        assert_eq!(first(&machine).address.to_string(), "http://variable.example/");
        let told = Configured { addresses: vec!["http://u:p@told.example/".into()], learnt: "kiln.toml".into() };
        let told = places(Some(&told), &machine).unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].address.to_string(), told[0].learnt.as_str()),
            ("http://told.example/".into(), "kiln.toml")
        );
        assert!(told[0].credentials.is_some());
    }

    #[test]
    fn nowhere_is_an_error_with_the_ways() {
        let (_home, machine) = machine(|_| None);
        let error = places(None, &machine).unwrap_err();
        assert_eq!(error.what(), Kind::NotFound);
        assert!(error.hints()[0].contains("KILN_ORIGIN_NPM") && error.hints()[0].contains(".npmrc"));
        let told = Configured { addresses: vec!["nonsense".into()], learnt: "kiln.toml".into() };
        assert!(places(Some(&told), &machine).unwrap_err().to_string().contains("kiln.toml"));
    }
}
