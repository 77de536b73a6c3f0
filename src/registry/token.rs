//! What a registry wants as proof: nothing, a password, or a token from somebody else (Docker's token authentication
//! specification; RFC 6750 for how the token is sent).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Access, LARGEST_ANSWER, Login, Reference, Registry, refused};
use crate::error::{Context, Error, Result};
use crate::net::{Address, Credentials, Outbound, Outgoing};

/// What kiln calls itself where tokens are given out.
const CLIENT: &str = "kiln";

/// Asks the registry what it wants, and gets it.
pub(super) fn obtain(registry: &Registry<'_>, reference: &Reference, access: Access) -> Result<Option<Credentials>> {
    // The registry's root says how to log in, whatever is asked afterwards.
    let root = registry.address(reference, "x")?.redirected("/v2/")?;
    let reply = registry.client.send(&Outgoing::new("GET", root.clone(), LARGEST_ANSWER))?;
    if reply.status != 401 {
        return Ok(None);
    }
    let login = registry.logins.find(&reference.registry, &reference.repository)?.map(|(login, _)| login);
    let header = reply.header("www-authenticate").unwrap_or_default();
    let (scheme, fields) = challenge(header);
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Ok(match login {
            Some(Login::Basic { user, password }) => Some(Credentials::Basic { user, password }),
            Some(Login::Identity(_)) => {
                return Err(Error::new("the registry wants a password, and the login is a token"));
            }
            None => None,
        }),
        "bearer" => bearer(registry, reference, access, &root, &fields, login).map(Some),
        _ => Err(Error::new(format!("the registry wants to be asked in a way that is not known: {header:?}"))),
    }
}

fn bearer(
    registry: &Registry<'_>,
    reference: &Reference,
    access: Access,
    root: &Address,
    fields: &BTreeMap<String, String>,
    login: Option<Login>,
) -> Result<Credentials> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let realm = fields.get("realm").context(|| "the registry does not say where its tokens are")?;
    // A realm on an unencrypted server gets no password that the registry itself would have got encrypted.
    let (realm, _) = Address::parse(realm)?;
    if root.scheme() == "https" && realm.scheme() != "https" {
        return Err(Error::new(format!("its tokens are given out by {realm}, which is not encrypted")));
    }
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    let scope = format!("repository:{}:{actions}", reference.repository);
    let service = fields.get("service").map(String::as_str).unwrap_or_default();
    let mut outgoing = match login {
        Some(Login::Identity(token)) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", CLIENT),
                ("scope", &scope),
                ("refresh_token", &token),
            ];
            let encoded = realm.with_query(&form).as_str().split_once('?').map(|(_, query)| query.to_owned());
            let mut outgoing = Outgoing::new("POST", realm.clone(), LARGEST_ANSWER);
            outgoing.headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            outgoing.content = Outbound::Bytes(encoded.unwrap_or_default().into_bytes());
            outgoing
        }
        login => {
            let address = realm.with_query(&[("service", service), ("scope", &scope), ("client_id", CLIENT)]);
            let mut outgoing = Outgoing::new("GET", address, LARGEST_ANSWER);
            if let Some(Login::Basic { user, password }) = login {
                outgoing.credentials = Some(Credentials::Basic { user, password });
            }
            outgoing
        }
    };
    outgoing.headers.push(("accept", "application/json".to_owned()));
    let what = || format!("asking {realm} for a token");
    let reply = registry.client.send(&outgoing).context(what)?;
    if !reply.is_success() {
        return Err(registry.checked(reference, reply.clone()).err().unwrap_or_else(|| refused(&reply))).context(what);
    }
    // The answer holds the token: no part of it is repeated.
    let answer: Option<Answer> = serde_json::from_slice(&reply.content).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
    token.map(Credentials::Bearer).context(|| "the answer holds no token").context(what)
}

/// The first challenge of a `WWW-Authenticate` (RFC 9110, 11.6.1): its scheme and its fields, names in lower case.
pub fn challenge(text: &str) -> (String, BTreeMap<String, String>) {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut fields = BTreeMap::new();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').map_or((after, ""), |(value, _)| (value, &after[value.len()..])),
        };
        fields.insert(name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned());
        rest = after;
    }
    (scheme.to_owned(), fields)
}

#[cfg(test)]
mod tests {
    use super::challenge;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example.org/token?x=1",service="a, b",scope=pull"#;
        let (scheme, fields) = challenge(text);
        assert_eq!(scheme, "Bearer");
        assert_eq!(fields["realm"], "https://auth.example.org/token?x=1");
        assert_eq!((fields["service"].as_str(), fields["scope"].as_str()), ("a, b", "pull"));
        for odd in ["", "Basic", "Basic ", "Bearer realm=", "Bearer realm=\"x", "a=b", "=,=\"", "Bearer =x"] {
            challenge(odd);
        }
    }
}
