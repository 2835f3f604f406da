//! Addresses as brokers advertise them, and what their look tells.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A host and a port, not resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address; one of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where a host seems to be, by its name or number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `0.0.0.0` or `::`, which is nowhere.
    Unspecified,
    /// The machine that asks, whichever that is.
    Loopback,
    /// An address that networks use inside (RFC 1918, RFC 4193, link-local, RFC 6598).
    Private,
    /// A name without a dot: of a container, a service of Docker Compose, or a neighbour.
    Short,
    /// A name inside a Kubernetes cluster.
    Kubernetes,
    /// A name inside the network of a cloud.
    Cloud,
    /// Anything else.
    Elsewhere,
}

impl Address {
    /// Where it seems to be.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => place_of(ip),
            Err(_name) => place_of_name(&self.host.to_ascii_lowercase()),
        }
    }
}

/// Where an address is.
#[must_use]
pub fn place_of(ip: IpAddr) -> Place {
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        Place::Unspecified
    } else if ip.is_loopback() {
        Place::Loopback
    } else if is_private(ip) {
        Place::Private
    } else {
        Place::Elsewhere
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            ip.is_private() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn place_of_name(name: &str) -> Place {
    let name = name.trim_end_matches('.');
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if name == "localhost" || ends(&[".localhost", ".localdomain"]) {
        Place::Loopback
    } else if ends(&[".svc", ".cluster.local", ".pod"]) {
        Place::Kubernetes
    } else if ends(&[".internal"]) {
        Place::Cloud
    } else if name.contains('.') {
        Place::Elsewhere
    } else {
        Place::Short
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port")]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    /// Takes also what librdkafka takes: a protocol before it, and a host alone, on port 9092.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.to_owned());
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest).trim();
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']').ok_or_else(wrong)?;
                (host, port.strip_prefix(':'))
            }
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse);
        let port = port.map_err(|_not_a_number| wrong())?;
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Kafka's usual port.
const DEFAULT_PORT: u16 = 9092;

#[cfg(test)]
mod tests {
    use super::{Address, Place};

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in ["", ":9092", "a:", "a:0", "a:70000", "[::1", "a:b"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_read_as_librdkafka_reads_them() {
        let cases = [
            ("a:1", "a:1"),
            ("a", "a:9092"),
            ("SSL://a:1", "a:1"),
            ("[::1]:5", "[::1]:5"),
            ("[::1]", "[::1]:9092"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn the_look_of_a_host_tells_where_it_is() {
        let cases = [
            ("0.0.0.0", Place::Unspecified),
            ("localhost", Place::Loopback),
            ("127.3.4.5", Place::Loopback),
            ("[::1]", Place::Loopback),
            ("[::ffff:127.0.0.1]", Place::Loopback),
            ("172.31.18.160", Place::Private),
            ("100.100.0.1", Place::Private),
            ("[fd00::1]", Place::Private),
            ("54.191.84.122", Place::Elsewhere),
            ("kafka0", Place::Short),
            ("3f4e5d6c7b8a", Place::Short),
            ("kafka-0.kafka.prod.svc.cluster.local", Place::Kubernetes),
            ("ip-172-31-18-160.us-west-2.compute.internal", Place::Cloud),
            ("kafka.example.org", Place::Elsewhere),
        ];
        for (host, place) in cases {
            let address: Address = format!("{host}:9092").parse().unwrap();
            assert_eq!(address.place(), place, "{host}");
        }
    }
}
