//! Counts hits by client network in fixed windows: requests in a second, unknown keys in an hour.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::limits::windows::{WindowKey, Windows};
use crate::net::client_network::ClientNetwork;

/// Maximum number of networks that are counted at the same time. A network takes about 80 bytes.
const MAX_COUNTED_NETWORKS: usize = 100_000;

impl WindowKey for ClientNetwork {
    fn of_site(&self) -> Option<Self> {
        self.site()
    }
}

/// One counter for each network.
pub(crate) struct HitCounters {
    length: Duration,
    windows: Mutex<Windows<ClientNetwork>>,
}

impl HitCounters {
    /// Creates counters with windows of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, windows: Mutex::new(Windows::new(MAX_COUNTED_NETWORKS)) }
    }

    /// Counts a hit. Returns the hits in the window, including this one.
    pub(crate) fn hit(&self, network: ClientNetwork, now: Instant) -> u64 {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).hit(network, self.length, now)
    }

    /// Sets the hits of a network to 0.
    pub(crate) fn forget(&self, network: ClientNetwork) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).forget(&network);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn counts_each_network_and_window_separately() {
        let counters = HitCounters::new(Duration::from_secs(1));
        let [one, two] = [1, 2].map(|n| ClientNetwork::of(IpAddr::from([192, 0, 2, n])));
        let now = Instant::now();
        assert_eq!([counters.hit(one, now), counters.hit(one, now), counters.hit(two, now)], [1, 2, 1]);
        counters.forget(one);
        assert_eq!(counters.hit(one, now), 1);
        assert_eq!(counters.hit(two, now + Duration::from_secs(1)), 1);
    }
}
