//! Defines the network that an address counts as in limits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Length of the prefix of IPv6 addresses that one customer of a provider has at least, so that
/// another address in it costs nothing.
const IPV6_NETWORK_PREFIX: u8 = 64;
/// Length of the prefix that a site with several networks usually has.
const IPV6_SITE_PREFIX: u8 = 48;

/// The network that limits count: an IPv4 address by itself, or all addresses of a /64 of IPv6.
///
/// Rules that name an address compare the address itself and never this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork {
    /// The first address, never an IPv4-mapped IPv6 address.
    first: IpAddr,
    prefix: u8,
}

impl ClientNetwork {
    /// Returns the network of an address. An IPv4-mapped IPv6 address counts as its IPv4 address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self { first: address.to_canonical(), prefix: 32 },
            IpAddr::V6(address) => Self::of_ipv6(address, IPV6_NETWORK_PREFIX),
        }
    }

    const fn of_ipv6(address: Ipv6Addr, prefix: u8) -> Self {
        let bits = address.to_bits() >> (128 - prefix) << (128 - prefix);
        Self { first: IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix }
    }

    /// Returns the first address of the network.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// Returns the /48 around a /64. A table that counts networks bounds the part of one site.
    /// `None` for an IPv4 address and for a /48.
    #[must_use]
    pub const fn site(self) -> Option<Self> {
        match self.first {
            IpAddr::V6(first) if self.prefix == IPV6_NETWORK_PREFIX => {
                Some(Self::of_ipv6(first, IPV6_SITE_PREFIX))
            }
            _ => None,
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::of(text.parse().unwrap())
    }

    #[test]
    fn ipv4_counts_by_address_and_ipv6_by_64() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"),
        ] {
            assert_eq!(network(address).to_string(), expected);
        }
        assert_eq!(network("2001:db8:1:2::1").site().unwrap().to_string(), "2001:db8:1::/48");
        assert_eq!(network("2001:db8:1:2::1").site().unwrap().site(), None);
        assert_eq!(network("192.0.2.7").site(), None);
    }

    proptest! {
        #[test]
        fn networks_are_equal_when_the_first_64_bits_are(one: u128, other: u128, same: bool) {
            let other = if same { one >> 64 << 64 | other & u128::from(u64::MAX) } else { other };
            let [a, b] = [one, other].map(|bits| ClientNetwork::of(IpAddr::V6(Ipv6Addr::from_bits(bits))));
            prop_assume!(a.first().is_ipv6() && b.first().is_ipv6());
            prop_assert_eq!(a == b, one >> 64 == other >> 64);
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
        }
    }
}
