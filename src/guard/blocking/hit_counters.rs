//! Hits by client address in bounded, closing windows: requests a second, unknown keys an hour.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::limits::windows::Windows;

/// Addresses that are counted at once: some 80 bytes each.
const CAP: usize = 100_000;

/// A counter for each address.
pub(crate) struct HitCounters {
    length: Duration,
    windows: Mutex<Windows<IpAddr>>,
}

impl HitCounters {
    /// HitCounters in windows of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, windows: Mutex::new(Windows::new(CAP)) }
    }

    /// Counts a hit; how many there are in the window now.
    pub(crate) fn hit(&self, address: IpAddr, now: Instant) -> u64 {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).hit(address, self.length, now)
    }

    /// Forgets the hits of an address.
    pub(crate) fn forget(&self, address: IpAddr) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).forget(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_address_and_window() {
        let counters = HitCounters::new(Duration::from_secs(1));
        let (one, two, now) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]), Instant::now());
        assert_eq!([counters.hit(one, now), counters.hit(one, now), counters.hit(two, now)], [1, 2, 1]);
        counters.forget(one);
        assert_eq!(counters.hit(one, now), 1);
        assert_eq!(counters.hit(two, now + Duration::from_secs(1)), 1);
    }
}
