//! What a registry wants as proof: nothing, a password, or a token from somebody else (Docker's token authentication
//! specification; RFC 6750 for how the token is sent).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::answer::{LARGEST, refused};
use super::credentials::{Login, Logins};
use super::reference::Reference;
use crate::error::{Context, Error, Result};
use crate::net::{Address, Client, Credentials, Outbound, Outgoing, Reply};

/// What kiln calls itself where tokens are given out.
const CLIENT: &str = "kiln";

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Pull,
    Push,
}

/// Asks the registry that has `address` what it wants, and gets it.
pub(super) fn obtain(
    client: &Client,
    logins: &Logins,
    reference: &Reference,
    access: Access,
    address: &Address,
) -> Result<Option<Credentials>> {
    // The registry's root says how to log in, whatever is asked afterwards.
    let root = address.redirected("/v2/")?;
    let reply = client.send(&Outgoing::new("GET", root.clone(), LARGEST))?;
    if reply.status != 401 {
        return Ok(None);
    }
    let login = logins.find(&reference.registry, &reference.repository)?.map(|(login, _)| login);
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
        "bearer" => {
            let asked = Asked { root: &root, fields: &fields, login };
            let (realm, reply) = ask(client, reference, access, asked)?;
            let answer = checked(logins, reference, reply).and_then(|reply| token(&reply));
            answer.context(|| format!("asking {realm} for a token")).map(Some)
        }
        _ => Err(Error::new(format!("the registry wants to be asked in a way that is not known: {header:?}"))),
    }
}

/// What a registry said of its tokens, and who asks for one.
struct Asked<'a> {
    root: &'a Address,
    fields: &'a BTreeMap<String, String>,
    login: Option<Login>,
}

/// Asks for a token where the registry says; where that is, and the answer.
fn ask(client: &Client, reference: &Reference, access: Access, asked: Asked<'_>) -> Result<(Address, Reply)> {
    let realm = asked.fields.get("realm").context(|| "the registry does not say where its tokens are")?;
    let (realm, _) = Address::parse(realm)?;
    // A realm on an unencrypted server gets no password that the registry itself would have got encrypted.
    if asked.root.scheme() == "https" && realm.scheme() != "https" {
        return Err(Error::new(format!("its tokens are given out by {realm}, which is not encrypted")));
    }
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    let scope = format!("repository:{}:{actions}", reference.repository);
    let service = asked.fields.get("service").map(String::as_str).unwrap_or_default();
    let mut outgoing = match asked.login {
        Some(Login::Identity(token)) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", CLIENT),
                ("scope", &scope),
                ("refresh_token", &token),
            ];
            let encoded = realm.with_query(&form).as_str().split_once('?').map(|(_, query)| query.to_owned());
            let mut outgoing = Outgoing::new("POST", realm.clone(), LARGEST);
            outgoing.headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            outgoing.content = Outbound::Bytes(encoded.unwrap_or_default().into_bytes());
            outgoing
        }
        login => {
            let address = realm.with_query(&[("service", service), ("scope", &scope), ("client_id", CLIENT)]);
            let mut outgoing = Outgoing::new("GET", address, LARGEST);
            if let Some(Login::Basic { user, password }) = login {
                outgoing.credentials = Some(Credentials::Basic { user, password });
            }
            outgoing
        }
    };
    outgoing.headers.push(("accept", "application/json".to_owned()));
    let reply = client.send(&outgoing).context(|| format!("asking {realm} for a token"))?;
    Ok((realm, reply))
}

/// The token in an answer.
fn token(reply: &Reply) -> Result<Credentials> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    if !reply.is_success() {
        return Err(refused(reply));
    }
    // The answer holds the token: no part of it is repeated.
    let answer: Option<Answer> = serde_json::from_slice(&reply.content).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
    token.map(Credentials::Bearer).context(|| "the answer holds no token")
}

/// An answer, unless it says that who asks may not: then an error that says which login was used.
pub(super) fn checked(logins: &Logins, reference: &Reference, reply: Reply) -> Result<Reply> {
    if !matches!(reply.status, 401 | 403) {
        return Ok(reply);
    }
    let hint = match logins.find(&reference.registry, &reference.repository)? {
        Some((_, place)) => format!("the login for {} is from {place}", reference.registry),
        None => {
            format!("no login for {} was found: `docker login {0}` or `podman login {0}` makes one", reference.registry)
        }
    };
    Err(refused(&reply).hint(hint))
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
