//! Defines what an entry of the block list blocks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::client_network::ClientNetwork;

/// An address, or a network of IPv6 that limits count as one client (/64).
///
/// An IPv4 address is always an [`BlockedAddress::Address`], so that each client has one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BlockedAddress {
    /// An address, never an IPv4-mapped IPv6 address. It is compared exactly.
    Address(IpAddr),
    /// All addresses of a /64 of IPv6.
    Network(ClientNetwork),
}

/// The error for a text that the block list cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an IP address or a /64 of IPv6 such as 2001:db8::/64; ip_blacklist.json holds other networks"
)]
pub struct NotBlockable;

impl BlockedAddress {
    /// Returns the site (/48) of the address, `None` for IPv4.
    pub(super) const fn site(self) -> Option<ClientNetwork> {
        self.network().site()
    }

    /// Returns the network whose counters belong to the address.
    pub(super) const fn network(self) -> ClientNetwork {
        match self {
            Self::Address(address) => ClientNetwork::of(address),
            Self::Network(network) => network,
        }
    }
}

impl From<IpAddr> for BlockedAddress {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl From<ClientNetwork> for BlockedAddress {
    fn from(network: ClientNetwork) -> Self {
        if network.first().is_ipv4() { Self::Address(network.first()) } else { Self::Network(network) }
    }
}

impl FromStr for BlockedAddress {
    type Err = NotBlockable;

    fn from_str(text: &str) -> Result<Self, NotBlockable> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        match text.parse::<IpNet>().map_err(|_| NotBlockable)? {
            net if net.prefix_len() == net.max_prefix_len() => Ok(net.addr().into()),
            IpNet::V6(net) if net.prefix_len() == 64 => Ok(ClientNetwork::of(net.addr().into()).into()),
            _ => Err(NotBlockable),
        }
    }
}

impl TryFrom<String> for BlockedAddress {
    type Error = NotBlockable;

    fn try_from(text: String) -> Result<Self, NotBlockable> {
        text.parse()
    }
}

impl From<BlockedAddress> for String {
    fn from(address: BlockedAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for BlockedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_64s_are_parsed() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("2001:db8::1/64", "2001:db8::/64"),
        ] {
            assert_eq!(text.parse::<BlockedAddress>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "x", "192.0.2.0/24", "2001:db8::/48", "2001:db8::/65", "192.0.2.7/64", "::/129"] {
            assert_eq!(text.parse::<BlockedAddress>(), Err(NotBlockable), "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_parsed_back(address: IpAddr, as_network: bool) {
            let blocked: BlockedAddress =
                if as_network { ClientNetwork::of(address).into() } else { address.into() };
            prop_assert_eq!(blocked.to_string().parse::<BlockedAddress>(), Ok(blocked));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "[0-9a-f:./]{0,30}") {
            let _outcome = text.parse::<BlockedAddress>();
        }
    }
}
