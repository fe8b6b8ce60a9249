//! Counts hits in fixed windows. A window opens at its first hit and closes a fixed time later.
//!
//! Memory is bounded, because each new window removes a few closed ones, and beyond the capacity
//! the oldest window.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Counters by key. A key must always be used with the same window length.
pub(crate) struct Windows<K> {
    open: HashMap<K, Window>,
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

impl<K: Copy + Eq + Hash> Windows<K> {
    /// Creates counters for at most `capacity` open windows, and at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { open: HashMap::new(), queues: Vec::new(), capacity: capacity.max(1) }
    }

    /// Returns the state of a counter.
    pub(crate) fn count(&self, key: &K, length: Duration, now: Instant) -> Count {
        self.open
            .get(key)
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
        if let Some(window) = self.open.get_mut(&key)
            && now.saturating_duration_since(window.start) < length
        {
            window.count = window.count.saturating_add(hits);
            return window.count;
        }
        self.open.remove(&key);
        self.sweep(now);
        while self.open.len() >= self.capacity && self.evict_oldest() {}
        self.open.insert(key, Window { start: now, count: hits });
        match self.queues.iter_mut().find(|queue| queue.length == length) {
            Some(queue) => queue.starts.push_back((now, key)),
            None => self.queues.push(Queue { length, starts: VecDeque::from([(now, key)]) }),
        }
        hits
    }

    /// Sets a counter to a state that another party counted.
    pub(crate) fn adopt(&mut self, key: K, length: Duration, count: Count, now: Instant) {
        let known = self.count(&key, length, now);
        if known.hits == 0 || known.closes_in.abs_diff(count.closes_in) > MAX_DRIFT {
            self.open.remove(&key);
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
        if let Some(window) = self.open.get_mut(key) {
            window.count = window.count.saturating_sub(1);
        }
    }

    /// Sets the hits of `key` to 0.
    pub(crate) fn forget(&mut self, key: &K) {
        // The window stays open, so that each window keeps exactly one place in its queue.
        if let Some(window) = self.open.get_mut(key) {
            window.count = 0;
        }
    }

    fn sweep(&mut self, now: Instant) {
        for queue in &mut self.queues {
            for _ in 0..MAX_SWEPT_PER_HIT {
                let Some(&(start, key)) = queue.starts.front() else { break };
                if now.saturating_duration_since(start) < queue.length {
                    break;
                }
                queue.starts.pop_front();
                remove_if_started_at(&mut self.open, &key, start);
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
        remove_if_started_at(&mut self.open, &key, start);
        true
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.open.len(), self.queues.iter().map(|queue| queue.starts.len()).sum())
    }
}

/// Removes the window of `key` unless a newer one replaced it. The newer window has its own place
/// in the queue.
fn remove_if_started_at<K: Eq + Hash>(open: &mut HashMap<K, Window>, key: &K, start: Instant) {
    if open.get(key).is_some_and(|window| window.start == start) {
        open.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
