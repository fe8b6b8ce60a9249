//! Who is kept out by address: the operator's list, addresses that were blocked for flooding or for trying keys.
//!
//! Loopback and the admin socket are never counted and never blocked automatically, but an operator may list loopback.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block_list::BlockList;
use super::hit_counters::HitCounters;
use crate::guard::client_addr::ClientAddr;
use crate::guard::refusal::Refusal;
use crate::guard::rules::Rules;

/// The window of `dos_detect`.
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// How long unknown keys are remembered, from the first one.
const UNKNOWN_KEY_WINDOW: Duration = Duration::from_secs(3600);

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

    /// The block lists, then `dos_detect`: the request that exceeds it is refused, and so is all that follows.
    pub(crate) fn check(&self, rules: &Rules, client: &ClientAddr, now: Instant) -> Result<(), Refusal> {
        let ClientAddr::Ip(address) = *client else { return Ok(()) };
        if self.is_listed(rules, client) {
            return Err(Refusal::Blocked);
        }
        let address = address.to_canonical();
        let Some(limit) = rules.system.dos_detect else { return Ok(()) };
        if client.is_loopback() || self.requests.hit(address, now) <= limit.get() {
            return Ok(());
        }
        self.block_automatically(address, &format!("more than {limit} requests in a second (dos_detect)"));
        Err(Refusal::Blocked)
    }

    /// The block lists.
    pub(crate) fn is_listed(&self, rules: &Rules, client: &ClientAddr) -> bool {
        let ClientAddr::Ip(address) = *client else { return false };
        // Both lists know IPv4 addresses as such, also when the peer of a dual-stack socket was passed as it came.
        let address = address.to_canonical();
        let listed = !rules.blacklist.is_empty() && rules.blacklist.contains(address);
        listed || self.blocked.contains(address)
    }

    /// Counts an unknown key; more of them than `block_ip_when_received_invalid_system_auth` within an hour block the
    /// address from the next request on.
    pub(crate) fn unknown_key(&self, rules: &Rules, client: &ClientAddr, now: Instant) {
        let ClientAddr::Ip(address) = *client else { return };
        let address = address.to_canonical();
        let count = self.unknown_keys.hit(address, now);
        if count == 1 {
            // Once an hour and address: trying keys must not be a way to flood the journal.
            crate::event!(warn, UNKNOWN_KEY, MOCA_CLIENT:% = client; "unknown key from {client}");
        }
        let limit = rules.system.block_ip_when_received_invalid_system_auth;
        if let Some(limit) = limit.filter(|limit| count > limit.get() && !client.is_loopback()) {
            self.block_automatically(
                address,
                &format!(
                    "more than {limit} unknown keys in an hour (block_ip_when_received_invalid_system_auth)"
                ),
            );
        }
    }

    fn block_automatically(&self, address: IpAddr, reason: &str) {
        if self.blocked.block(address, reason) {
            crate::event!(warn, ADDRESS_BLOCKED, MOCA_CLIENT:% = address; "{address} is blocked: {reason}");
        }
    }

    pub(crate) fn block(&self, address: IpAddr, reason: &str) -> bool {
        let address = address.to_canonical();
        let new = self.blocked.block(address, reason);
        if new {
            crate::event!(
                info, ADDRESS_BLOCKED, MOCA_CLIENT:% = address;
                "{address} is blocked by the operator"
            );
        }
        new
    }

    pub(crate) fn unblock(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        // Counted anew: else the next unknown key would block the address again.
        self.requests.forget(address);
        self.unknown_keys.forget(address);
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

    fn client(text: &str) -> ClientAddr {
        ClientAddr::from(ip(text))
    }

    fn addresses() -> (tempfile::TempDir, AddressFilter) {
        let dir = tempfile::tempdir().unwrap();
        let addresses = AddressFilter::open(dir.path().join("a.blocked.json"));
        (dir, addresses)
    }

    #[test]
    fn both_lists() {
        let ((_dir, addresses), now) = (addresses(), Instant::now());
        let rules = rules(0, 0, &["192.0.2.0/25", "127.0.0.1"]);
        for (text, expected) in [
            ("192.0.2.1", Err(Refusal::Blocked)),
            ("192.0.2.200", Ok(())),
            ("127.0.0.1", Err(Refusal::Blocked)),
            ("127.0.0.2", Ok(())),
        ] {
            assert_eq!(addresses.check(&rules, &client(text), now), expected, "{text}");
        }
        assert_eq!(addresses.check(&rules, &ClientAddr::Local, now), Ok(()));
        assert!(addresses.block(ip("::ffff:192.0.2.200"), "by hand"));
        assert_eq!(addresses.check(&rules, &client("192.0.2.200"), now), Err(Refusal::Blocked));
        let mapped = ClientAddr::Ip(ip("::ffff:192.0.2.200"));
        assert_eq!(addresses.check(&rules, &mapped, now), Err(Refusal::Blocked));
        assert!(addresses.unblock(ip("192.0.2.200")));
        assert_eq!(addresses.check(&rules, &client("192.0.2.200"), now), Ok(()));
    }

    #[test]
    fn a_flood_blocks_for_good() {
        let ((_dir, addresses), start) = (addresses(), Instant::now());
        let rules = rules(5, 0, &[]);
        let (flooder, other) = (client("192.0.2.1"), client("192.0.2.2"));
        for second in 0..3 {
            for n in 0..5 {
                let now = start + Duration::from_millis(1_000 * second + 199 * n);
                assert_eq!(addresses.check(&rules, &flooder, now), Ok(()), "{second} {n}");
            }
        }
        let now = start + Duration::from_secs(10);
        let outcomes: Vec<_> = (0..7).map(|_| addresses.check(&rules, &flooder, now).is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, true, true, false, false]);
        let later = now + Duration::from_secs(86_400);
        assert_eq!(addresses.check(&rules, &flooder, later), Err(Refusal::Blocked));
        assert_eq!(addresses.check(&rules, &other, later), Ok(()));
        let entry = addresses.blocked.entries().remove(0);
        assert_eq!(entry.reason, "more than 5 requests in a second (dos_detect)");
        addresses.unblock(entry.address);
        assert_eq!(addresses.check(&rules, &flooder, now), Ok(()), "counted anew");
    }

    #[test]
    fn loopback_never_floods() {
        let ((_dir, addresses), now) = (addresses(), Instant::now());
        let rules = rules(1, 1, &[]);
        for own in [client("127.0.0.1"), client("::1"), client("127.9.9.9"), ClientAddr::Local] {
            for _ in 0..10 {
                assert_eq!(addresses.check(&rules, &own, now), Ok(()));
                addresses.unknown_key(&rules, &own, now);
            }
            assert_eq!(addresses.check(&rules, &own, now), Ok(()));
        }
    }

    #[test]
    fn unknown_keys_block_only_when_configured() {
        let ((_dir, addresses), start) = (addresses(), Instant::now());
        let (off, on) = (rules(0, 0, &[]), rules(0, 3, &[]));
        let trier = client("192.0.2.1");
        for _ in 0..100 {
            addresses.unknown_key(&off, &trier, start);
        }
        assert_eq!(addresses.check(&off, &trier, start), Ok(()));
        let start = start + Duration::from_secs(3600);
        for n in 0..3 {
            addresses.unknown_key(&on, &trier, start);
            assert_eq!(addresses.check(&on, &trier, start), Ok(()), "{n}");
        }
        let later = start + Duration::from_secs(3600);
        addresses.unknown_key(&on, &trier, later);
        assert_eq!(addresses.check(&on, &trier, later), Ok(()), "the first three are forgotten");
        for _ in 0..3 {
            addresses.unknown_key(&on, &trier, later);
        }
        assert_eq!(addresses.check(&on, &trier, later), Err(Refusal::Blocked));
        addresses.unblock(ip("192.0.2.1"));
        addresses.unknown_key(&on, &trier, later);
        assert_eq!(addresses.check(&on, &trier, later), Ok(()), "counted anew");
    }
}
