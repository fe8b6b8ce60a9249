//! Delays new connections of a network whose connections were closed because of floods.
//!
//! A client that is closed for a flood may connect again at once, and each connection costs more than
//! the flood itself. So its new connections wait, longer after each flood. Connections that are open
//! are not touched, and none is refused, because other clients may share the network.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client_addr::{ClientAddr, CountedClient};
use super::limits::windows::Windows;
use crate::event;
use crate::log_limit::LogLimit;

/// Time without a flood after which the floods of a network are forgotten.
const CALM: Duration = Duration::from_secs(10);

/// Delay after the first flood. Each further flood doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Maximum delay of a connection.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Interval in which the floods of one network are logged once.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of networks that are counted at the same time.
const MAX_COUNTED_CLIENTS: usize = 10_000;

/// Counts the floods of each network.
pub(crate) struct Floods {
    counters: Mutex<Counters>,
    log: LogLimit,
    ended: AtomicU64,
    delayed: AtomicU64,
}

struct Counters {
    /// Floods since the network was calm.
    recent: Windows<CountedClient>,
    /// Floods in an interval of the log.
    logged: Windows<CountedClient>,
}

impl Floods {
    pub(crate) fn new() -> Self {
        let [recent, logged] = [(); 2].map(|()| Windows::new(MAX_COUNTED_CLIENTS));
        Self {
            counters: Mutex::new(Counters { recent, logged }),
            log: LogLimit::default(),
            ended: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }

    /// Notes that a connection of `client` was closed because of a flood. Logs the first flood of a
    /// network in a minute, and no more than a few of all networks.
    pub(crate) fn note(&self, client: ClientAddr, now: Instant) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        let counted = client.counted();
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.recent.prolong(counted, CALM, now);
        let is_first = counters.logged.hit(counted, LOG_INTERVAL, now) == 1;
        drop(counters);
        if !is_first {
            return;
        }
        match self.log.admit(now) {
            None => {}
            Some(0) => event!(warn, FRAME_FLOOD, MOCA_CLIENT:% = client;
                "closed an HTTP/2 connection of {client}, which sent a flood of frames; \
                 new connections of {counted} wait"),
            Some(more) => event!(warn, FRAME_FLOOD, MOCA_CLIENT:% = client;
                "closed an HTTP/2 connection of {client}, which sent a flood of frames; \
                 new connections of {counted} wait; floods of {more} more networks were not logged"),
        }
    }

    /// Returns the time for which a new connection of `client` waits before it is served, and counts
    /// a connection that waits. The operator on this machine never waits.
    pub(crate) fn delay(&self, client: ClientAddr, now: Instant) -> Option<Duration> {
        if client == ClientAddr::Local || self.ended.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let floods = counters.recent.count(&client.counted(), CALM, now).hits;
        drop(counters);
        let doublings = u32::try_from(floods.checked_sub(1)?).unwrap_or(u32::MAX);
        self.delayed.fetch_add(1, Ordering::Relaxed);
        Some(FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_DELAY))
    }

    /// Returns the number of connections that were closed because of a flood.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that waited.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientAddr {
        ClientAddr::Ip(text.parse().unwrap())
    }

    #[test]
    fn delay_doubles_with_each_flood_of_a_network_and_is_forgotten() {
        let (floods, start) = (Floods::new(), Instant::now());
        let [flooder, neighbour, other] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(client);
        assert_eq!(floods.delay(flooder, start), None);
        for (n, millis) in [100, 200, 400, 800, 1600, 2000, 2000].into_iter().enumerate() {
            let now = start + n as u32 * (CALM - Duration::from_millis(1));
            floods.note(flooder, now);
            let delay = Some(Duration::from_millis(millis));
            assert_eq!([floods.delay(flooder, now), floods.delay(neighbour, now)], [delay, delay]);
            assert_eq!([floods.delay(other, now), floods.delay(ClientAddr::Local, now)], [None, None]);
        }
        let calm = start + 6 * (CALM - Duration::from_millis(1)) + CALM;
        assert!(floods.delay(flooder, calm - Duration::from_millis(1)).is_some());
        assert_eq!(floods.delay(flooder, calm), None);
        floods.note(flooder, calm);
        assert_eq!(floods.delay(flooder, calm), Some(FIRST_DELAY));
        assert_eq!((floods.ended(), floods.delayed()), (8, 16));
    }

    #[test]
    fn a_long_series_of_floods_is_bounded_in_delay_and_memory() {
        let (floods, now) = (Floods::new(), Instant::now());
        for n in 0..50_000 {
            floods.note(client("192.0.2.1"), now + n * Duration::from_millis(10));
        }
        let end = now + Duration::from_secs(500);
        assert_eq!(floods.delay(client("192.0.2.1"), end), Some(MAX_DELAY));
        let (open, queued) = floods.counters.lock().unwrap().recent.sizes();
        assert_eq!(open, 1);
        assert!(queued <= 1002, "{queued} places of floods in ten seconds");
    }

    #[test]
    fn one_site_washes_no_other_network_out_of_the_table() {
        let (floods, now) = (Floods::new(), Instant::now());
        floods.note(client("2001:db8:ffff::1"), now);
        for n in 0..2 * MAX_COUNTED_CLIENTS {
            floods.note(client(&format!("2001:db8:1:{n:x}::1")), now);
        }
        assert_eq!(floods.delay(client("2001:db8:ffff::1"), now), Some(FIRST_DELAY));
    }
}
