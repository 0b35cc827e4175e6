//! Which address a client has, when proxies stand before the gateway.

use std::net::IpAddr;

use shared::config::Value;

/// A range of addresses: those that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, all: u32| self.bits == 0 || (one ^ other) >> (all - self.bits) == 0;
        match (self.first, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl Value for Network {
    const FORM: &'static str = "an address or a range of them, like 10.0.0.7, 10.0.0.0/8 or fd00::/8";

    fn parse(text: &str) -> Option<Self> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().ok()?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok()).filter(|bits| *bits <= all)?;
        Some(Self { first, bits })
    }

    fn show(&self) -> String {
        format!("{}/{}", self.first, self.bits)
    }
}

/// The address of a client whose connection comes from `peer`: what `X-Forwarded-For` says, read from its end for as long as
/// those are `trusted` who say it. A stranger may say what they like.
pub(crate) fn client(peer: IpAddr, forwarded_for: Option<&str>, trusted: &[Network]) -> IpAddr {
    let mut client = peer.to_canonical();
    for said in forwarded_for.unwrap_or_default().rsplit(',') {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        let Ok(address) = said.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, said: &str) -> String {
        let trusted = ["10.0.0.0/8", "fd00::1"].map(|text| Network::parse(text).expect("a network"));
        client(peer.parse().expect("an address"), Some(said), &trusted).to_string()
    }

    #[test]
    fn what_a_stranger_says_of_an_address_is_not_believed() {
        assert_eq!(client_of("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(client_of("fd00::2", "198.51.100.7"), "fd00::2");
        assert_eq!(client("10.0.0.1".parse().expect("an address"), Some("198.51.100.7"), &[]).to_string(), "10.0.0.1");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_and_nothing_before_it() {
        assert_eq!(client_of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(client_of("::ffff:10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(client_of("fd00::1", "forged, 203.0.113.9, 198.51.100.7, 10.2.3.4"), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", "garbled"), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert_eq!(Network::parse(text).map(|network| network.show()).as_deref(), Some(text));
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.1/"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        let everywhere = Network::parse("0.0.0.0/0").expect("a network");
        assert!(everywhere.contains(IpAddr::from([192, 0, 2, 1])) && !everywhere.contains("::1".parse().expect("one")));
    }
}
