//! Counters in fixed windows: a window opens at the first hit and closes a fixed time later, whatever happens in it.
//!
//! Memory is bounded: closed windows are swept a few at a time whenever one opens, and past the cap the oldest leaves.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Counters by `K`. One `K` always has the same length of window.
pub(crate) struct Windows<K> {
    open: HashMap<K, Window>,
    /// by length of the window, so that what closes first is always at the front
    queues: Vec<Queue<K>>,
    cap: usize,
}

struct Window {
    start: Instant,
    count: u64,
}

struct Queue<K> {
    length: Duration,
    starts: VecDeque<(Instant, K)>,
}

/// Where a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// hits in the open window; 0 when none is open
    pub(crate) hits: u64,
    /// until the window closes; the whole length when none is open
    pub(crate) closes_in: Duration,
}

/// A window that was learned to close so little earlier or later is the same one: the news took its time.
const DRIFT: Duration = Duration::from_millis(200);

/// How many closed windows of each length leave when one opens: more than one, so that the closed ones run out.
const SWEPT_AT_ONCE: usize = 2;

impl<K: Copy + Eq + Hash> Windows<K> {
    /// At most `cap` open windows (at least one).
    pub(crate) fn new(cap: usize) -> Self {
        Self { open: HashMap::new(), queues: Vec::new(), cap: cap.max(1) }
    }

    /// The counter as it stands.
    pub(crate) fn count(&self, key: &K, length: Duration, now: Instant) -> Count {
        self.open
            .get(key)
            .and_then(|window| {
                // Threads take their time before the lock: `now` may be a little before the start.
                let closes_in = length.checked_sub(now.saturating_duration_since(window.start))?;
                (!closes_in.is_zero()).then_some(Count { hits: window.count, closes_in })
            })
            .unwrap_or(Count { hits: 0, closes_in: length })
    }

    /// Counts a hit; how many there are in the window now, this one included.
    pub(crate) fn hit(&mut self, key: K, length: Duration, now: Instant) -> u64 {
        if let Some(window) = self.open.get_mut(&key)
            && now.saturating_duration_since(window.start) < length
        {
            window.count = window.count.saturating_add(1);
            return window.count;
        }
        self.open.remove(&key);
        self.sweep(now);
        while self.open.len() >= self.cap && self.evict_oldest() {}
        self.open.insert(key, Window { start: now, count: 1 });
        match self.queues.iter_mut().find(|queue| queue.length == length) {
            Some(queue) => queue.starts.push_back((now, key)),
            None => self.queues.push(Queue { length, starts: VecDeque::from([(now, key)]) }),
        }
        1
    }

    /// Takes over where the counter stands elsewhere.
    pub(crate) fn learn(&mut self, key: K, length: Duration, count: Count, now: Instant) {
        let known = self.count(&key, length, now);
        if known.hits == 0 || known.closes_in.abs_diff(count.closes_in) > DRIFT {
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

    /// Takes one hit back.
    pub(crate) fn take_back(&mut self, key: &K) {
        if let Some(window) = self.open.get_mut(key) {
            window.count = window.count.saturating_sub(1);
        }
    }

    /// Forgets the hits of `key`.
    pub(crate) fn forget(&mut self, key: &K) {
        // The window stays until it closes, so that every window has exactly one place in its queue.
        if let Some(window) = self.open.get_mut(key) {
            window.count = 0;
        }
    }

    fn sweep(&mut self, now: Instant) {
        for queue in &mut self.queues {
            for _ in 0..SWEPT_AT_ONCE {
                let Some(&(start, key)) = queue.starts.front() else { break };
                if now.saturating_duration_since(start) < queue.length {
                    break;
                }
                queue.starts.pop_front();
                remove_if_started_at(&mut self.open, &key, start);
            }
        }
        // Lengths come from the configuration, which may change any number of times.
        self.queues.retain(|queue| !queue.starts.is_empty());
    }

    /// False when nothing is left to leave.
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

/// A key that was counted anew since has another window now, with a place of its own in the queue.
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
        assert_eq!(windows.hit(2, SECOND, start + SECOND), 1, "each key has its own");
        assert_eq!(windows.hit(1, SECOND, start), 2, "a clock read a little earlier");
    }

    #[test]
    fn hits_taken_back_and_forgotten() {
        let mut windows = Windows::new(10);
        let now = Instant::now();
        windows.hit(1, HOUR, now);
        windows.hit(1, HOUR, now);
        windows.take_back(&1);
        assert_eq!(windows.hit(1, HOUR, now), 2);
        windows.forget(&1);
        assert_eq!(windows.hit(1, HOUR, now), 1);
        windows.take_back(&2);
        windows.forget(&2);
        assert_eq!(windows.count(&2, HOUR, now).hits, 0);
    }

    #[test]
    fn what_is_learned_goes_on_here() {
        let mut windows = Windows::new(10);
        let now = Instant::now() + HOUR;
        let count = |hits, closes_in| Count { hits, closes_in };
        windows.learn(1, HOUR, count(7, HOUR / 4), now);
        assert_eq!(windows.count(&1, HOUR, now), count(7, HOUR / 4));
        windows.hit(1, HOUR, now);
        assert_eq!(windows.count(&1, HOUR, now + HOUR / 4 - SECOND), count(8, SECOND));
        assert_eq!(windows.count(&1, HOUR, now + HOUR / 4).hits, 0);
        // news that took its time leaves the end where it was, however often it comes
        for late in 0..1_000 {
            windows.learn(1, HOUR, count(9 + late, HOUR / 4 + DRIFT / 2), now);
        }
        assert_eq!(windows.count(&1, HOUR, now), count(1_008, HOUR / 4));
        assert_eq!(windows.sizes(), (1, 1));
        windows.learn(1, HOUR, count(2, HOUR), now);
        assert_eq!(windows.count(&1, HOUR, now), count(2, HOUR), "begun anew elsewhere");
        windows.learn(1, HOUR, count(0, HOUR), now);
        windows.learn(2, HOUR, count(0, HOUR), now);
        assert_eq!([1, 2].map(|key| windows.count(&key, HOUR, now).hits), [0, 0]);
        assert_eq!(windows.sizes().0, 1, "of what was never counted nothing is kept");
    }

    #[test]
    fn past_the_cap_the_oldest_leaves() {
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
    fn closed_windows_leave_before_open_ones() {
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
        fn counts_like_a_list_of_hits_and_stays_small(
            hits in prop::collection::vec((0_u8..6, 0_u64..2_000), 0..300), cap in 6_usize..9,
        ) {
            let length = |key: u8| Duration::from_millis(500 + 700 * u64::from(key % 3));
            let mut windows = Windows::new(cap);
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
                prop_assert!(open <= cap && queued <= 2 * cap + 2, "{open} {queued}");
            }
        }

        #[test]
        fn the_cap_holds_for_any_keys(hits in prop::collection::vec((any::<u16>(), 0_u64..50), 0..500)) {
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
