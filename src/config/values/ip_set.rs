//! Keeps sets of addresses and networks (CIDR), IPv4 and IPv6. IPv4-mapped IPv6 addresses count as
//! IPv4.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::syntax::value::{Element, List};

/// A set of addresses and networks.
///
/// A lookup takes constant time for the single addresses, and one hash lookup for each prefix
/// length in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpSet {
    single: HashSet<IpAddr>,
    /// The first address of each network, by family (4 or 6) and prefix length.
    networks: BTreeMap<(u8, u8), HashSet<IpAddr>>,
}

/// The error for a text that is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address such as 192.0.2.7 or a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotAnAddress;

impl IpSet {
    /// Creates a set from addresses and networks.
    ///
    /// # Errors
    /// Fails at the first text that is neither.
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, NotAnAddress> {
        let mut set = Self::default();
        for text in texts {
            set.insert_text(text.as_ref())?;
        }
        Ok(set)
    }

    /// Adds an address or a network.
    ///
    /// An IPv6 address may be in brackets. Bits after the prefix, as in `10.0.0.7/8`, are ignored.
    ///
    /// # Errors
    /// Fails if `text` is neither.
    pub fn insert_text(&mut self, text: &str) -> Result<(), NotAnAddress> {
        self.insert_network(parse(text)?);
        Ok(())
    }

    /// Adds an address.
    pub fn insert(&mut self, address: IpAddr) {
        self.single.insert(address.to_canonical());
    }

    /// Adds a network. A network of one address counts as that address.
    pub fn insert_network(&mut self, network: IpNet) {
        let network = unmapped(network);
        if network.prefix_len() == network.max_prefix_len() {
            self.single.insert(network.addr());
        } else {
            let of_this_length =
                self.networks.entry((family(network.addr()), network.prefix_len())).or_default();
            of_this_length.insert(network.network());
        }
    }

    /// Returns whether `address` is in the set or in one of its networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let family = family(address);
        self.single.contains(&address)
            || self.networks.range((family, 0)..=(family, u8::MAX)).any(|(&(_, prefix), firsts)| {
                IpNet::new(address, prefix).is_ok_and(|network| firsts.contains(&network.network()))
            })
    }

    /// Returns whether the set has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.networks.is_empty()
    }

    /// Returns the number of different addresses and networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.single.len() + self.networks.values().map(HashSet::len).sum::<usize>()
    }

    /// Iterates over all entries in no particular order. An address is a network with the full
    /// prefix length.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        let single = self.single.iter().map(|&address| IpNet::from(address));
        let networks = self.networks.iter().flat_map(|(&(_, prefix), firsts)| {
            firsts.iter().filter_map(move |&first| IpNet::new(first, prefix).ok())
        });
        single.chain(networks)
    }
}

impl Element for IpNet {
    const EXPECTED: &'static str = "an IP address or a network such as 10.0.0.0/8";

    fn read(text: &str) -> Option<Self> {
        parse(text).ok()
    }
}

impl FromIterator<IpNet> for IpSet {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let mut set = Self::default();
        networks.into_iter().for_each(|network| set.insert_network(network));
        set
    }
}

impl<'de> Deserialize<'de> for IpSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        List::deserialize(deserializer).map(|List(networks)| networks.into_iter().collect())
    }
}

fn parse(text: &str) -> Result<IpNet, NotAnAddress> {
    if text.contains('/') {
        return text.parse().map_err(|_| NotAnAddress);
    }
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).filter(|t| t.contains(':'));
    bare.unwrap_or(text).parse().map(|address: IpAddr| IpNet::from(address)).map_err(|_| NotAnAddress)
}

/// Converts an IPv4-mapped network, `::ffff:a.b.c.d/(96+n)`, to `a.b.c.d/n`.
fn unmapped(network: IpNet) -> IpNet {
    let address = network.addr().to_canonical();
    let prefix = match (network, address) {
        (IpNet::V6(_), IpAddr::V4(_)) => network.prefix_len().checked_sub(96),
        _ => None,
    };
    prefix.and_then(|prefix| IpNet::new(address, prefix).ok()).unwrap_or(network)
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> IpSet {
        IpSet::from_texts(texts).unwrap()
    }

    fn holds(set: &IpSet, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_of_both_families_match() {
        let set = set(&["192.0.2.7", "10.1.2.3/8", "2001:db8::/32", "[::1]", "172.16.0.0/12"]);
        for inside in ["192.0.2.7", "10.255.0.1", "2001:db8:ffff::1", "::1", "172.31.255.255"] {
            assert!(holds(&set, inside), "{inside}");
        }
        for outside in ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::2", "172.32.0.0", "::"] {
            assert!(!holds(&set, outside), "{outside}");
        }
        assert_eq!(set.len(), 5);
        assert_eq!(set.iter().count(), 5);
    }

    #[test]
    fn mapped_addresses_count_as_ipv4_on_both_sides() {
        assert!(holds(&set(&["127.0.0.1"]), "::ffff:127.0.0.1"));
        assert!(holds(&set(&["::ffff:127.0.0.1"]), "127.0.0.1"));
        assert!(holds(&set(&["10.0.0.0/8"]), "::ffff:10.9.9.9"));
        assert!(holds(&set(&["::ffff:10.0.0.0/104"]), "10.9.9.9"));
        assert!(!holds(&set(&["::ffff:10.0.0.0/104"]), "11.9.9.9"));
        assert!(holds(&set(&["::ffff:0:0/96"]), "203.0.113.1"));
    }

    #[test]
    fn network_of_a_whole_family_matches_only_that_family() {
        assert!(holds(&set(&["0.0.0.0/0"]), "8.8.8.8"));
        assert!(!holds(&set(&["0.0.0.0/0"]), "2001:db8::1"));
        assert!(holds(&set(&["::/0"]), "2001:db8::1"));
        assert!(!holds(&set(&["::/0"]), "8.8.8.8"));
    }

    #[test]
    fn empty_set_matches_no_address() {
        assert!(IpSet::default().is_empty());
        assert!(!holds(&IpSet::default(), "127.0.0.1"));
        assert!(!set(&["0.0.0.0/0"]).is_empty());
    }

    #[test]
    fn other_texts_are_rejected() {
        for wrong in [
            "",
            "*",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4/33",
            "1.2.3.4/",
            "::1/129",
            "[1.2.3.4]",
            "[::1",
        ] {
            assert_eq!(IpSet::default().insert_text(wrong), Err(NotAnAddress), "{wrong:?}");
        }
        assert_eq!(IpSet::from_texts(["10.0.0.1", "x"]), Err(NotAnAddress));
    }

    #[test]
    fn lookup_is_fast_with_many_entries() {
        let mut set = IpSet::default();
        for n in 0..100_000_u32 {
            set.insert(IpAddr::V4((0x0a00_0000 + n).into()));
            set.insert_network(IpNet::new(IpAddr::V4((0x2000_0000 + (n << 8)).into()), 24).unwrap());
        }
        let start = std::time::Instant::now();
        for n in 0..100_000_u32 {
            assert!(!set.contains(IpAddr::V4((0xc000_0000 + n).into())));
        }
        assert!(set.contains("32.0.1.99".parse().unwrap()));
        assert!(start.elapsed().as_secs() < 5, "a scan of the set would take minutes");
    }
}
