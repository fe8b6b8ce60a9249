//! What a store counts for those who watch it. Counting costs the writer a few additions a batch, and taking the
//! numbers disturbs nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::record::Level;

/// How many levels there are.
pub(crate) const LEVELS: usize = Level::ALL.len();

/// Upper bounds of the buckets in which latencies are counted, in microseconds.
const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Counts since the store was opened, and how it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// records stored, by level
    pub records: [u64; LEVELS],
    /// bytes of their lines
    pub bytes: u64,
    /// bytes of lines that wait for the batch before them
    pub queue: u64,
    /// how long syncs took; none where `durability` is `os`
    pub syncs: Latencies,
    /// bytes of all lines, uncompressed
    pub size: u64,
    /// rotated segments
    pub segments: u64,
    /// bytes that the file system of the log has left for this process; `None` when the disk does not tell at once
    pub disk_free: Option<u64>,
}

/// Counted latencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Latencies {
    /// The buckets, each with its upper bound in seconds and the number of latencies up to it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut up_to = 0;
        BOUNDS.iter().zip(&self.counts).map(move |(bound, count)| {
            up_to += count;
            (Duration::from_micros(*bound).as_secs_f64(), up_to)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// Counts latencies.
#[derive(Debug, Default)]
pub(crate) struct LatencyRecorder {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl LatencyRecorder {
    /// Does the work and notes how long it took.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let outcome = work();
        self.note(begun.elapsed());
        outcome
    }

    fn note(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Latencies {
        Latencies {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

/// Counts what was stored.
#[derive(Debug, Default)]
pub(crate) struct StoredCounters {
    records: [AtomicU64; LEVELS],
    bytes: AtomicU64,
}

impl StoredCounters {
    /// A batch was stored.
    pub(crate) fn add(&self, levels: &[u64; LEVELS], bytes: u64) {
        for (counter, count) in self.records.iter().zip(levels) {
            if *count > 0 {
                counter.fetch_add(*count, Ordering::Relaxed);
            }
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn records(&self) -> [u64; LEVELS] {
        std::array::from_fn(|level| self.records[level].load(Ordering::Relaxed))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_first_bucket_that_holds_it() {
        let recorder = LatencyRecorder::default();
        for micros in [0, 100, 101, 1_000, 1_001, 10_000_000, 10_000_001] {
            recorder.note(Duration::from_micros(micros));
        }
        let latencies = recorder.read();
        let up_to = |seconds: f64| latencies.buckets().find(|(bound, _)| *bound == seconds).unwrap().1;
        assert_eq!(
            [up_to(0.0001), up_to(0.00025), up_to(0.001), up_to(0.0025), up_to(10.0)],
            [2, 3, 4, 5, 6]
        );
        assert_eq!((latencies.count(), latencies.sum()), (7, Duration::from_micros(20_002_203)));
        assert!(BOUNDS.is_sorted());
    }
}
