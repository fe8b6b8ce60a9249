//! Counts hits in fixed windows. A window opens at its first hit and closes a fixed time later.
//!
//! Memory is bounded, because each new window removes a few closed ones, and beyond the capacity
//! the oldest window. The networks of one IPv6 site (/48) have at most an eighth of the windows.
//! Beyond that, they share one window for the whole site. So no site can evict the windows of
//! others.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The key of a counter.
pub(crate) trait WindowKey: Copy + Eq + Hash {
    /// Returns the key of the counter that the networks of one site share when there are too many of
    /// them. `None` when the key belongs to no site.
    fn of_site(&self) -> Option<Self> {
        None
    }
}

/// Counters by key. A key must always be used with the same window length.
pub(crate) struct Windows<K> {
    open: HashMap<K, Window>,
    /// Number of open windows of each site, by the key of its shared counter.
    sites: HashMap<K, usize>,
    /// One queue for each window length, so that the window that closes first is at the front.
    queues: Vec<Queue<K>>,
    capacity: usize,
}

struct Window {
    start: Instant,
    count: u64,
}

struct Queue<K> {
    length: Duration,
    starts: VecDeque<(Instant, K)>,
}

/// The state of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Hits in the open window, or 0 when no window is open.
    pub(crate) hits: u64,
    /// Time until the window closes, or the whole window length when no window is open.
    pub(crate) closes_in: Duration,
}

/// Maximum difference between two reported ends of one window. It covers the time that a report
/// takes.
const MAX_DRIFT: Duration = Duration::from_millis(200);

/// Number of closed windows of each length that a new window removes. It is more than one, so that
/// closed windows do not accumulate.
const MAX_SWEPT_PER_HIT: usize = 2;

/// Part of the capacity that the networks of one site may have.
const SITE_SHARE: usize = 8;

impl<K: WindowKey> Windows<K> {
    /// Creates counters for at most `capacity` open windows, and at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { open: HashMap::new(), sites: HashMap::new(), queues: Vec::new(), capacity: capacity.max(1) }
    }

    /// Returns the key of the counter that counts for `key`: its own, or that of its site.
    fn counter_of(&self, key: K) -> K {
        let max_of_site = (self.capacity / SITE_SHARE).max(1);
        match key.of_site() {
            Some(site)
                if self.sites.get(&site).is_some_and(|windows| *windows >= max_of_site)
                    && !self.open.contains_key(&key) =>
            {
                site
            }
            _ => key,
        }
    }

    fn insert(&mut self, key: K, window: Window) {
        if self.open.insert(key, window).is_none()
            && let Some(site) = key.of_site()
        {
            *self.sites.entry(site).or_default() += 1;
        }
    }

    fn remove(&mut self, key: &K) {
        if self.open.remove(key).is_some()
            && let Some(site) = key.of_site()
            && let Some(windows) = self.sites.get_mut(&site)
        {
            *windows -= 1;
            if *windows == 0 {
                self.sites.remove(&site);
            }
        }
    }

    /// Removes the window of `key` unless a newer one replaced it. The newer window has its own
    /// place in the queue.
    fn remove_if_started_at(&mut self, key: &K, start: Instant) {
        if self.open.get(key).is_some_and(|window| window.start == start) {
            self.remove(key);
        }
    }

    /// Returns the state of a counter.
    pub(crate) fn count(&self, key: &K, length: Duration, now: Instant) -> Count {
        self.open
            .get(&self.counter_of(*key))
            .and_then(|window| {
                // A thread reads `now` before it waits for the lock, so `now` may be before the
                // start.
                let closes_in = length.checked_sub(now.saturating_duration_since(window.start))?;
                (!closes_in.is_zero()).then_some(Count { hits: window.count, closes_in })
            })
            .unwrap_or(Count { hits: 0, closes_in: length })
    }

    /// Counts a hit. Returns the hits in the window, including this one.
    pub(crate) fn hit(&mut self, key: K, length: Duration, now: Instant) -> u64 {
        self.add(key, length, 1, now)
    }

    /// Counts several hits. Returns the hits in the window, including these.
    pub(crate) fn add(&mut self, key: K, length: Duration, hits: u64, now: Instant) -> u64 {
        let key = self.counter_of(key);
        if let Some(window) = self.open.get_mut(&key)
            && now.saturating_duration_since(window.start) < length
        {
            window.count = window.count.saturating_add(hits);
            return window.count;
        }
        self.remove(&key);
        self.sweep(now);
        while self.open.len() >= self.capacity && self.evict_oldest() {}
        self.insert(key, Window { start: now, count: hits });
        match self.queues.iter_mut().find(|queue| queue.length == length) {
            Some(queue) => queue.starts.push_back((now, key)),
            None => self.queues.push(Queue { length, starts: VecDeque::from([(now, key)]) }),
        }
        hits
    }

    /// Counts a hit and opens the window again, so that it closes `length` after the last hit. Returns
    /// the hits in the window, including this one.
    pub(crate) fn prolong(&mut self, key: K, length: Duration, now: Instant) -> u64 {
        let hits = self.count(&key, length, now).hits.saturating_add(1);
        self.remove(&self.counter_of(key));
        self.add(key, length, hits, now)
    }

    /// Sets a counter to a state that another party counted.
    pub(crate) fn adopt(&mut self, key: K, length: Duration, count: Count, now: Instant) {
        let key = self.counter_of(key);
        let known = self.count(&key, length, now);
        if known.hits == 0 || known.closes_in.abs_diff(count.closes_in) > MAX_DRIFT {
            self.remove(&key);
            if count.hits == 0 {
                return;
            }
            let began = now.checked_sub(length.saturating_sub(count.closes_in)).unwrap_or(now);
            self.hit(key, length, began);
        }
        if let Some(window) = self.open.get_mut(&key) {
            window.count = count.hits;
        }
    }

    /// Subtracts one hit.
    pub(crate) fn undo_hit(&mut self, key: &K) {
        let key = self.counter_of(*key);
        if let Some(window) = self.open.get_mut(&key) {
            window.count = window.count.saturating_sub(1);
        }
    }

    /// Sets the hits of `key` to 0.
    pub(crate) fn forget(&mut self, key: &K) {
        let key = self.counter_of(*key);
        // The window stays open, so that each window keeps exactly one place in its queue.
        if let Some(window) = self.open.get_mut(&key) {
            window.count = 0;
        }
    }

    fn sweep(&mut self, now: Instant) {
        for index in 0..self.queues.len() {
            for _ in 0..MAX_SWEPT_PER_HIT {
                let Some(queue) = self.queues.get_mut(index) else { break };
                let Some(&(start, key)) = queue.starts.front() else { break };
                if now.saturating_duration_since(start) < queue.length {
                    break;
                }
                queue.starts.pop_front();
                self.remove_if_started_at(&key, start);
            }
        }
        // Each reload may bring new window lengths, so empty queues would add up.
        self.queues.retain(|queue| !queue.starts.is_empty());
    }

    /// Removes the oldest window. Returns false when there is none.
    fn evict_oldest(&mut self) -> bool {
        let fronts = self.queues.iter_mut().filter(|queue| !queue.starts.is_empty());
        let oldest = fronts.min_by_key(|queue| queue.starts.front().map(|&(start, _)| start));
        let Some((start, key)) = oldest.and_then(|queue| queue.starts.pop_front()) else { return false };
        self.remove_if_started_at(&key, start);
        true
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.open.len(), self.queues.iter().map(|queue| queue.starts.len()).sum())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl WindowKey for i32 {}
    impl WindowKey for u8 {}
    impl WindowKey for u16 {}
    impl WindowKey for u32 {}
    impl WindowKey for u64 {}

    /// A network of a site, or the site itself.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct InSite(u8, Option<u32>);

    impl WindowKey for InSite {
        fn of_site(&self) -> Option<Self> {
            self.1.map(|_| Self(self.0, None))
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_window_lasts_from_its_first_hit() {
        let mut windows = Windows::new(10);
        let start = Instant::now();
        assert_eq!(windows.count(&1, SECOND, start), Count { hits: 0, closes_in: SECOND });
        assert_eq!(windows.hit(1, SECOND, start), 1);
        assert_eq!(windows.hit(1, SECOND, start + SECOND / 2), 2);
        let count = windows.count(&1, SECOND, start + SECOND * 3 / 4);
        assert_eq!(count, Count { hits: 2, closes_in: SECOND / 4 });
        assert_eq!(windows.count(&1, SECOND, start + SECOND), Count { hits: 0, closes_in: SECOND });
        assert_eq!(windows.hit(1, SECOND, start + SECOND), 1);
        assert_eq!(windows.hit(2, SECOND, start + SECOND), 1, "each key has its own window");
        assert_eq!(windows.hit(1, SECOND, start), 2, "a clock that was read earlier");
    }

    #[test]
    fn undo_hit_and_forget_reduce_the_count() {
        let mut windows = Windows::new(10);
        let now = Instant::now();
        windows.hit(1, HOUR, now);
        windows.hit(1, HOUR, now);
        windows.undo_hit(&1);
        assert_eq!(windows.hit(1, HOUR, now), 2);
        windows.forget(&1);
        assert_eq!(windows.hit(1, HOUR, now), 1);
        windows.undo_hit(&2);
        windows.forget(&2);
        assert_eq!(windows.count(&2, HOUR, now).hits, 0);
    }

    #[test]
    fn counting_continues_from_an_adopted_state() {
        let mut windows = Windows::new(10);
        let now = Instant::now() + HOUR;
        let count = |hits, closes_in| Count { hits, closes_in };
        windows.adopt(1, HOUR, count(7, HOUR / 4), now);
        assert_eq!(windows.count(&1, HOUR, now), count(7, HOUR / 4));
        windows.hit(1, HOUR, now);
        assert_eq!(windows.count(&1, HOUR, now + HOUR / 4 - SECOND), count(8, SECOND));
        assert_eq!(windows.count(&1, HOUR, now + HOUR / 4).hits, 0);
        // A small difference does not move the end of the window, however often it is reported.
        for late in 0..1_000 {
            windows.adopt(1, HOUR, count(9 + late, HOUR / 4 + MAX_DRIFT / 2), now);
        }
        assert_eq!(windows.count(&1, HOUR, now), count(1_008, HOUR / 4));
        assert_eq!(windows.sizes(), (1, 1));
        windows.adopt(1, HOUR, count(2, HOUR), now);
        assert_eq!(windows.count(&1, HOUR, now), count(2, HOUR), "a new window there opens one here");
        windows.adopt(1, HOUR, count(0, HOUR), now);
        windows.adopt(2, HOUR, count(0, HOUR), now);
        assert_eq!([1, 2].map(|key| windows.count(&key, HOUR, now).hits), [0, 0]);
        assert_eq!(windows.sizes().0, 1, "a count of 0 opens no window");
    }

    #[test]
    fn the_oldest_window_is_evicted_beyond_the_capacity() {
        let mut windows = Windows::new(3);
        let start = Instant::now();
        for key in 0..5_u64 {
            windows.hit(key, if key % 2 == 0 { HOUR } else { 2 * HOUR }, start + SECOND * (key as u32));
        }
        let now = start + SECOND * 9;
        let hits: Vec<_> = (0..5)
            .map(|key| windows.count(&key, if key % 2 == 0 { HOUR } else { 2 * HOUR }, now).hits)
            .collect();
        assert_eq!(hits, [0, 0, 1, 1, 1]);
        assert_eq!(windows.sizes(), (3, 3));
    }

    #[test]
    fn closed_windows_are_removed_before_open_ones() {
        let mut windows = Windows::new(4);
        let start = Instant::now();
        windows.hit(0, HOUR, start);
        for key in 1..100 {
            windows.hit(key, SECOND, start + SECOND * key);
        }
        assert_eq!(windows.count(&0, HOUR, start + SECOND * 100).hits, 1);
        assert!(windows.sizes().0 <= 3);
    }

    #[test]
    fn one_site_evicts_no_other_window() {
        let mut windows = Windows::new(80);
        let start = Instant::now();
        for other in 0..70 {
            windows.hit(InSite(other, Some(0)), HOUR, start);
        }
        let mut last = 0;
        for network in 0..100_000 {
            last = windows.hit(InSite(200, Some(network)), HOUR, start + SECOND);
        }
        assert_eq!(last, 99_990, "all but the first ten share a counter");
        assert_eq!(windows.count(&InSite(200, Some(3)), HOUR, start + SECOND).hits, 1);
        for other in 1..70 {
            let count = windows.count(&InSite(other, Some(0)), HOUR, start + SECOND);
            assert_eq!(count.hits, 1, "the window of {other} was evicted");
        }
        assert!(windows.sizes().0 <= 80);
        // The part of the site is free again when its windows have closed.
        let later = start + SECOND + HOUR;
        for other in 100..200 {
            windows.hit(InSite(other, Some(0)), SECOND, later);
        }
        windows.hit(InSite(200, Some(77)), HOUR, later);
        let own = [77, 78].map(|network| windows.count(&InSite(200, Some(network)), HOUR, later).hits);
        assert_eq!(own, [1, 0]);
    }

    proptest! {
        #[test]
        fn counts_like_a_simple_model_in_bounded_memory(
            hits in prop::collection::vec((0_u8..6, 0_u64..2_000), 0..300), capacity in 6_usize..9,
        ) {
            let length = |key: u8| Duration::from_millis(500 + 700 * u64::from(key % 3));
            let mut windows = Windows::new(capacity);
            let mut model: HashMap<u8, (Instant, u64)> = HashMap::new();
            let mut now = Instant::now();
            for (key, pause) in hits {
                now += Duration::from_millis(pause);
                let (start, count) = model.entry(key).or_insert((now, 0));
                if now >= *start + length(key) {
                    (*start, *count) = (now, 0);
                }
                *count += 1;
                prop_assert_eq!(windows.hit(key, length(key), now), *count);
                let (open, queued) = windows.sizes();
                prop_assert!(open <= capacity && queued <= 2 * capacity + 2, "{open} {queued}");
            }
        }

        #[test]
        fn the_windows_of_each_site_are_known(
            hits in prop::collection::vec((0_u8..3, prop::option::of(0_u32..40), 0_u64..80), 0..500),
        ) {
            let mut windows = Windows::new(40);
            let mut now = Instant::now();
            for (site, network, pause) in hits {
                now += Duration::from_millis(pause);
                windows.hit(InSite(site, network), Duration::from_millis(300), now);
                for site in 0..3 {
                    let open = windows.open.keys().filter(|key| key.0 == site && key.1.is_some()).count();
                    prop_assert_eq!(windows.sites.get(&InSite(site, None)).copied().unwrap_or(0), open);
                    prop_assert!(open <= 5, "{open}");
                }
            }
        }

        #[test]
        fn the_capacity_holds_for_any_keys(hits in prop::collection::vec((any::<u16>(), 0_u64..50), 0..500)) {
            let mut windows = Windows::new(7);
            let mut now = Instant::now();
            for (key, pause) in hits {
                now += Duration::from_millis(pause);
                windows.hit(key, Duration::from_millis(100 + u64::from(key % 5) * 400), now);
                let (open, queued) = windows.sizes();
                prop_assert!(open <= 7 && queued <= 40, "{open} {queued}");
            }
        }
    }
}
