//! Ports, as images expose them and as places publish them. Nothing here knows which program listens.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name behind a port's number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port that a service listens on (OCI image specification, `ExposedPorts`): `80/tcp`, or `80` for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exposed {
    /// Never 0.
    pub number: u16,
    pub protocol: Protocol,
}

impl FromStr for Exposed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (digits, name) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
        match (number(digits), protocol) {
            (Some(number), Some(protocol)) => Ok(Self { number, protocol }),
            _ => Err(Error::new(format!("`{text}` is not a port")).hint("ports are written as `80/tcp` or `53/udp`")),
        }
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol.name())
    }
}

/// A port of a machine that leads to one of a service (Compose specification, `ports`, short syntax):
/// `[ADDRESS:]PUBLISHED:EXPOSED[/PROTOCOL]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The machine's address that it is published on; all of them unless given.
    pub address: Option<IpAddr>,
    /// The machine's port; never 0.
    pub number: u16,
    /// The service's port.
    pub exposed: Exposed,
}

impl From<Exposed> for Published {
    /// The port under its own number.
    fn from(exposed: Exposed) -> Self {
        Self { address: None, number: exposed.number, exposed }
    }
}

impl FromStr for Published {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_published(text).ok_or_else(|| {
            Error::new(format!("`{text}` does not say which port leads to which")).hint(
                "ports of a target are written as `15000:5000/tcp`, the machine's first, or `127.0.0.1:15000:5000/tcp`",
            )
        })
    }
}

fn parse_published(text: &str) -> Option<Published> {
    let (rest, exposed) = text.rsplit_once(':')?;
    let (address, published) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((address, published)) => (Some(address), published),
    };
    let address = address.map(|address| {
        let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
        // An address of version 6 has colons of its own, so it stands in brackets.
        bare.map_or_else(|| address.parse().map(IpAddr::V4), |address| address.parse().map(IpAddr::V6)).ok()
    });
    let address = match address {
        None => None,
        Some(address) => Some(address?),
    };
    Some(Published { address, number: number(published)?, exposed: exposed.parse().ok()? })
}

impl fmt::Display for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(formatter, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(formatter, "{address}:")?,
            None => {}
        }
        write!(formatter, "{}:{}", self.number, self.exposed)
    }
}

/// 1 to 65535, in digits alone: no sign, no leading zero.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::{Exposed, Published};

    #[test]
    fn ports_are_read_and_written() {
        for text in ["80/tcp", "53/udp", "65535/sctp"] {
            assert_eq!(text.parse::<Exposed>().unwrap().to_string(), text);
        }
        assert_eq!("80".parse::<Exposed>().unwrap().to_string(), "80/tcp");
        for text in ["1:80/tcp", "127.0.0.1:1:80/udp", "[::1]:65535:1/tcp"] {
            assert_eq!(text.parse::<Published>().unwrap().to_string(), text);
        }
        assert_eq!("15000:5000".parse::<Published>().unwrap().to_string(), "15000:5000/tcp");
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["", "0", "080", "+80", "65536", "80/ip", "80/", "a", "80/tcp/tcp"] {
            assert!(text.parse::<Exposed>().is_err(), "{text}");
        }
        for text in ["80", ":80", "80:", "0:80", "1:2:3", "::1:1:80", "[127.0.0.1]:1:80", "1-3:1-3", "${PORT}:80"] {
            assert!(text.parse::<Published>().is_err(), "{text}");
        }
    }
}
