//! Counts hits by client address in fixed windows: requests in a second, unknown keys in an hour.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::limits::windows::Windows;

/// Maximum number of addresses that are counted at the same time. An address takes about 80 bytes.
const MAX_COUNTED_ADDRESSES: usize = 100_000;

/// One counter for each address.
pub(crate) struct HitCounters {
    length: Duration,
    windows: Mutex<Windows<IpAddr>>,
}

impl HitCounters {
    /// Creates counters with windows of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, windows: Mutex::new(Windows::new(MAX_COUNTED_ADDRESSES)) }
    }

    /// Counts a hit. Returns the hits in the window, including this one.
    pub(crate) fn hit(&self, address: IpAddr, now: Instant) -> u64 {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).hit(address, self.length, now)
    }

    /// Sets the hits of an address to 0.
    pub(crate) fn forget(&self, address: IpAddr) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).forget(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_address_and_window_separately() {
        let counters = HitCounters::new(Duration::from_secs(1));
        let (one, two, now) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]), Instant::now());
        assert_eq!([counters.hit(one, now), counters.hit(one, now), counters.hit(two, now)], [1, 2, 1]);
        counters.forget(one);
        assert_eq!(counters.hit(one, now), 1);
        assert_eq!(counters.hit(two, now + Duration::from_secs(1)), 1);
    }
}
