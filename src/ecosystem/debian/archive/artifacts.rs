//! Where an archive's artifacts are asked for: the addresses that have shown to be the origin's, and the snapshot
//! archive. Fetching them is `fetch`'s business.

use super::{Access, CONFIRMED, Exceptions, Keys, Search, SuiteRequest, confirmed_key, is_origin, seen_key};
use crate::ecosystem::debian::release;
use crate::ecosystem::debian::sources::{Class, Place, Sources};
use crate::error::{Error, Kind, Result};
use crate::net::Request;

/// The addresses that serve an origin's artifacts: those kiln was told, or those of apt's whose signed index of
/// `suite` proves that they are this origin (asked once, then remembered in the store).
pub fn artifact_places(access: &Access<'_>, origin: &str, suite: &str, keys: &Keys) -> Result<Vec<Place>> {
    let request = SuiteRequest {
        origin: origin.to_owned(),
        suite: suite.to_owned(),
        components: Vec::new(),
        architectures: Vec::new(),
        keys: keys.clone(),
        snapshot: None,
        exceptions: Exceptions { allow_expired: true, allow_weak: true },
    };
    let search = Search {
        access,
        request: &request,
        keyring: keys.keyring()?,
        time: None,
        key: seen_key(&request, None)?,
        seen: None,
    };
    let mut places = access.sources.places(origin, access.client)?;
    places.retain(|place| place.class != Class::Apt || is_confirmed(&search, place).unwrap_or(false));
    Ok(places)
}

fn is_confirmed(search: &Search<'_>, place: &Place) -> Result<bool> {
    let store = search.access.store;
    let key = confirmed_key(&search.request.origin, place)?;
    if store.keyed::<bool>(CONFIRMED, &key).is_some() {
        return Ok(true);
    }
    if search.access.client.is_offline() {
        return Ok(false);
    }
    let (release, _) = search.verified(&search.download(place)?)?;
    let confirmed = is_origin(&search.request.origin, &release).is_ok();
    if confirmed && store.is_writable() {
        store.put_keyed(CONFIRMED, &key, &[], &true)?;
    }
    Ok(confirmed)
}

/// Where to ask for an artifact, in this order: the origin's addresses, then the snapshot archive around the
/// time of the signed index that named it.
///
/// `pool_path` is the index's `Filename`, `size` its `Size`, `date` the evidence's, in seconds since 1970.
pub fn artifact_candidates(
    sources: &Sources,
    places: &[Place],
    origin: &str,
    pool_path: &str,
    size: u64,
    date: u64,
) -> Result<Vec<Request>> {
    if !release::is_plain_path(pool_path) {
        return Err(Error::new(format!("the path `{pool_path}` leads out of the archive")).kind(Kind::Corrupt));
    }
    let mut candidates: Vec<Request> =
        places.iter().map(|place| place.request(pool_path, size)).collect::<Result<_>>()?;
    // The snapshot archive answers with the newest state before the time asked for, and takes one every six
    // hours: the state with the artifact may come to be only after the index was signed.
    for later in [8 * 3600, 0, 24 * 3600] {
        if let Some(place) = sources.snapshot(origin, date.saturating_add(later))? {
            candidates.push(place.request(pool_path, size)?);
        }
    }
    Ok(candidates)
}
