//! Refuses clients by address: by `ip_blacklist.json`, the block list, floods (`dos_detect`) and
//! unknown keys.
//!
//! Networks are counted and blocked automatically as [`ClientNetwork`] defines them. An address that
//! the operator blocks is compared exactly.
//!
//! Loopback and the admin socket are never counted and never blocked automatically. An operator may
//! block loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block_list::BlockList;
use super::blocked_address::BlockedAddress;
use super::hit_counters::HitCounters;
use crate::guard::client_addr::ClientAddr;
use crate::guard::refusal::Refusal;
use crate::guard::rules::Rules;
use crate::net::client_network::ClientNetwork;

/// The window of `dos_detect`.
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// The window of `block_ip_when_received_invalid_system_auth`, from the first unknown key.
const UNKNOWN_KEY_WINDOW: Duration = Duration::from_secs(3600);

/// The block list, and the counters that extend it.
pub(crate) struct AddressFilter {
    pub(crate) blocked: Arc<BlockList>,
    requests: HitCounters,
    unknown_keys: HitCounters,
}

impl AddressFilter {
    pub(crate) fn open(block_list: PathBuf) -> Self {
        Self {
            blocked: Arc::new(BlockList::open(block_list)),
            requests: HitCounters::new(FLOOD_WINDOW),
            unknown_keys: HitCounters::new(UNKNOWN_KEY_WINDOW),
        }
    }

    /// Checks `ip_blacklist.json` and the block list.
    ///
    /// # Errors
    /// [`Refusal::Blocked`].
    pub(crate) fn check_lists(&self, rules: &Rules, client: &ClientAddr) -> Result<(), Refusal> {
        let ClientAddr::Ip(address) = *client else { return Ok(()) };
        // Both lists contain IPv4 addresses as such. A dual-stack socket reports them as
        // IPv4-mapped IPv6 addresses.
        let address = address.to_canonical();
        let is_listed = !rules.blacklist.is_empty() && rules.blacklist.contains(address);
        if is_listed || self.blocked.contains(address) { Err(Refusal::Blocked) } else { Ok(()) }
    }

    /// Counts the request for `dos_detect`. The request that exceeds it blocks its network.
    ///
    /// # Errors
    /// [`Refusal::Blocked`].
    pub(crate) fn check_flood(
        &self,
        rules: &Rules,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let ClientAddr::Ip(address) = *client else { return Ok(()) };
        let Some(limit) = rules.system.dos_detect else { return Ok(()) };
        let network = ClientNetwork::of(address);
        if client.is_loopback() || self.requests.hit(network, now) <= limit.get() {
            return Ok(());
        }
        self.block_automatically(network, &format!("more than {limit} requests in a second (dos_detect)"));
        Err(Refusal::Blocked)
    }

    /// Counts an unknown key. More than `block_ip_when_received_invalid_system_auth` of them in an
    /// hour block the network from its next request on.
    pub(crate) fn count_unknown_key(&self, rules: &Rules, client: &ClientAddr, now: Instant) {
        let ClientAddr::Ip(address) = *client else { return };
        let network = ClientNetwork::of(address);
        let count = self.unknown_keys.hit(network, now);
        if count == 1 {
            // Once an hour and network, so that a client cannot flood the journal with unknown
            // keys.
            crate::event!(warn, UNKNOWN_KEY, MOCA_CLIENT:% = client; "unknown key from {client}");
        }
        let limit = rules.system.block_ip_when_received_invalid_system_auth;
        if let Some(limit) = limit.filter(|limit| count > limit.get() && !client.is_loopback()) {
            self.block_automatically(
                network,
                &format!(
                    "more than {limit} unknown keys in an hour (block_ip_when_received_invalid_system_auth)"
                ),
            );
        }
    }

    fn block_automatically(&self, network: ClientNetwork, reason: &str) {
        if self.blocked.block_automatically(network, reason) {
            crate::event!(warn, ADDRESS_BLOCKED, MOCA_CLIENT:% = network; "{network} is blocked: {reason}");
        }
    }

    /// Blocks an address for the operator. Returns false when it was already blocked.
    pub(crate) fn block(&self, address: BlockedAddress, reason: &str) -> bool {
        let is_new = self.blocked.block_by_hand(address, reason);
        if is_new {
            crate::event!(
                info, ADDRESS_BLOCKED, MOCA_CLIENT:% = address;
                "{address} is blocked by the operator"
            );
        }
        is_new
    }

    /// Removes an entry and forgets the counts of its network. Returns false when there was none.
    pub(crate) fn unblock(&self, address: BlockedAddress) -> bool {
        // Otherwise the next unknown key would block the network again.
        self.requests.forget(address.network());
        self.unknown_keys.forget(address.network());
        let was_blocked = self.blocked.unblock(address);
        if was_blocked {
            crate::event!(
                info, ADDRESS_UNBLOCKED, MOCA_CLIENT:% = address;
                "{address} is no longer blocked"
            );
        }
        was_blocked
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU64;

    use super::*;
    use crate::config::{Files, IpSet, System};
    use crate::guard::testing;

    fn rules(dos: u64, unknown: u64, blacklist: &[&str]) -> Rules {
        let system = System {
            dos_detect: NonZeroU64::new(dos),
            block_ip_when_received_invalid_system_auth: NonZeroU64::new(unknown),
            maintenance_mode_whitelist: IpSet::from_texts(["192.0.2.1"]).unwrap(),
            ..testing::system()
        };
        Rules::new(&Files { system, blacklist: IpSet::from_texts(blacklist).unwrap(), ..testing::files() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn blocked(text: &str) -> BlockedAddress {
        text.parse().unwrap()
    }

    fn client(text: &str) -> ClientAddr {
        ClientAddr::from(ip(text))
    }

    fn filter() -> (tempfile::TempDir, AddressFilter) {
        let dir = tempfile::tempdir().unwrap();
        let filter = AddressFilter::open(dir.path().join("a.blocked.json"));
        (dir, filter)
    }

    fn check(
        filter: &AddressFilter,
        rules: &Rules,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        filter.check_lists(rules, client)?;
        filter.check_flood(rules, client, now)
    }

    #[test]
    fn both_block_lists_refuse() {
        let ((_dir, filter), now) = (filter(), Instant::now());
        let rules = rules(0, 0, &["192.0.2.0/25", "127.0.0.1"]);
        for (text, expected) in [
            ("192.0.2.1", Err(Refusal::Blocked)),
            ("192.0.2.200", Ok(())),
            ("127.0.0.1", Err(Refusal::Blocked)),
            ("127.0.0.2", Ok(())),
        ] {
            assert_eq!(check(&filter, &rules, &client(text), now), expected, "{text}");
        }
        assert_eq!(check(&filter, &rules, &ClientAddr::Local, now), Ok(()));
        assert!(filter.block(blocked("::ffff:192.0.2.200"), "by hand"));
        assert_eq!(check(&filter, &rules, &client("192.0.2.200"), now), Err(Refusal::Blocked));
        let mapped = ClientAddr::Ip(ip("::ffff:192.0.2.200"));
        assert_eq!(check(&filter, &rules, &mapped, now), Err(Refusal::Blocked));
        assert!(filter.unblock(blocked("192.0.2.200")));
        assert_eq!(check(&filter, &rules, &client("192.0.2.200"), now), Ok(()));
    }

    #[test]
    fn a_flood_blocks_its_address_permanently() {
        let ((_dir, filter), start) = (filter(), Instant::now());
        let rules = rules(5, 0, &[]);
        let (flooder, other) = (client("192.0.2.1"), client("192.0.2.2"));
        for second in 0..3 {
            for n in 0..5 {
                let now = start + Duration::from_millis(1_000 * second + 199 * n);
                assert_eq!(check(&filter, &rules, &flooder, now), Ok(()), "{second} {n}");
            }
        }
        let now = start + Duration::from_secs(10);
        let outcomes: Vec<_> = (0..7).map(|_| check(&filter, &rules, &flooder, now).is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, true, true, false, false]);
        let later = now + Duration::from_secs(86_400);
        assert_eq!(check(&filter, &rules, &flooder, later), Err(Refusal::Blocked));
        assert_eq!(check(&filter, &rules, &other, later), Ok(()));
        let entry = filter.blocked.entries().remove(0);
        assert_eq!(entry.reason, "more than 5 requests in a second (dos_detect)");
        filter.unblock(entry.address);
        assert_eq!(check(&filter, &rules, &flooder, now), Ok(()), "the count starts at 0 again");
    }

    #[test]
    fn a_network_of_ipv6_is_counted_and_blocked_as_one() {
        let ((_dir, filter), now) = (filter(), Instant::now());
        let rules = rules(5, 3, &[]);
        let nth = |n: u16| client(&format!("2001:db8:0:1::{n:x}"));
        let outcomes: Vec<_> = (0..7).map(|n| check(&filter, &rules, &nth(n), now).is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, true, true, false, false]);
        assert_eq!(filter.blocked.entries()[0].address, blocked("2001:db8:0:1::/64"));
        assert_eq!(check(&filter, &rules, &nth(0xffff), now), Err(Refusal::Blocked));
        assert_eq!(check(&filter, &rules, &client("2001:db8:0:2::1"), now), Ok(()), "another network");
        assert!(!filter.unblock(blocked("2001:db8:0:1::6")), "the entry is the network");
        assert!(filter.unblock(blocked("2001:db8:0:1::/64")));
        let later = now + Duration::from_secs(60);
        for n in 0..4 {
            filter.count_unknown_key(&rules, &nth(n), later);
        }
        assert_eq!(check(&filter, &rules, &nth(9), later), Err(Refusal::Blocked));
        assert!(filter.unblock(blocked("2001:db8:0:1::/64")));
        assert!(filter.block(blocked("2001:db8:0:1::1"), "by hand"));
        assert_eq!(check(&filter, &rules, &nth(1), later), Err(Refusal::Blocked));
        assert_eq!(check(&filter, &rules, &nth(2), later), Ok(()), "an address by hand is exact");
    }

    #[test]
    fn loopback_is_never_blocked_automatically() {
        let ((_dir, filter), now) = (filter(), Instant::now());
        let rules = rules(1, 1, &[]);
        for local in [client("127.0.0.1"), client("::1"), client("127.9.9.9"), ClientAddr::Local] {
            for _ in 0..10 {
                assert_eq!(check(&filter, &rules, &local, now), Ok(()));
                filter.count_unknown_key(&rules, &local, now);
            }
            assert_eq!(check(&filter, &rules, &local, now), Ok(()));
        }
    }

    #[test]
    fn unknown_keys_block_only_when_configured() {
        let ((_dir, filter), start) = (filter(), Instant::now());
        let (off, on) = (rules(0, 0, &[]), rules(0, 3, &[]));
        let client = client("192.0.2.1");
        for _ in 0..100 {
            filter.count_unknown_key(&off, &client, start);
        }
        assert_eq!(check(&filter, &off, &client, start), Ok(()));
        let start = start + Duration::from_secs(3600);
        for n in 0..3 {
            filter.count_unknown_key(&on, &client, start);
            assert_eq!(check(&filter, &on, &client, start), Ok(()), "{n}");
        }
        let later = start + Duration::from_secs(3600);
        filter.count_unknown_key(&on, &client, later);
        assert_eq!(check(&filter, &on, &client, later), Ok(()), "the first three are forgotten");
        for _ in 0..3 {
            filter.count_unknown_key(&on, &client, later);
        }
        assert_eq!(check(&filter, &on, &client, later), Err(Refusal::Blocked));
        filter.unblock(blocked("192.0.2.1"));
        filter.count_unknown_key(&on, &client, later);
        assert_eq!(check(&filter, &on, &client, later), Ok(()), "the count starts at 0 again");
    }
}
