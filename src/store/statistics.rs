//! Counts what a store does, for metrics. Counting costs the committer a few additions for each
//! batch. Reading the counters takes no lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::record::Level;

/// Number of levels.
pub(crate) const LEVELS: usize = Level::ALL.len();

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Counters since the store was opened, and the present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Records stored, by level.
    pub records: [u64; LEVELS],
    /// Bytes of their lines.
    pub bytes: u64,
    /// Bytes of the lines in the current batch, which waits for the batch before it.
    pub queue: u64,
    /// Latencies of syncs. There are none when appends wait for no sync.
    pub syncs: Latencies,
    /// Bytes of all lines, uncompressed.
    pub size: u64,
    /// Lines that do not begin like a record. It is a lower bound while lines are counted.
    pub foreign: u64,
    /// Number of closed parts of the log that the engine keeps beside the one it writes.
    pub segments: u64,
    /// Bytes that the log's file system has left for this process. `None`: the disk did not answer
    /// in time, or the engine uses none.
    pub disk_free: Option<u64>,
    /// Time of the last record that was stored, microseconds since the epoch. `None`: unknown.
    pub last_record: Option<i64>,
    /// Time of the oldest record, microseconds since the epoch. `None`: unknown, or none is left.
    pub oldest_record: Option<i64>,
    /// When a write failed last, microseconds since the epoch. `None`: never since the start.
    pub last_write_failure: Option<i64>,
    /// Number of closed parts since the store was opened.
    pub rotations: u64,
    /// Number of closed parts that retention removed since the store was opened.
    pub retired: u64,
    /// How far the newest record is ahead of the system clock.
    pub clock_ahead: Duration,
    /// Number of steps of the system clock that were noticed.
    pub clock_steps: u64,
    /// False when the last attempt to save the state of the log failed.
    pub is_state_saved: bool,
}

/// A histogram of latencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BOUNDS_MICROS.len() + 1],
    sum: Duration,
}

impl Latencies {
    /// Returns the buckets, each with its upper bound in seconds and the number of latencies up to
    /// that bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut up_to = 0;
        BOUNDS_MICROS.iter().zip(&self.counts).map(move |(bound, count)| {
            up_to += count;
            (Duration::from_micros(*bound).as_secs_f64(), up_to)
        })
    }

    /// Returns the number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all latencies.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// Counts latencies.
#[derive(Debug, Default)]
pub(crate) struct LatencyRecorder {
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    nanoseconds: AtomicU64,
}

impl LatencyRecorder {
    /// Runs `work` and records how long it took.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let started_at = Instant::now();
        let outcome = work();
        self.record(started_at.elapsed());
        outcome
    }

    fn record(&self, took: Duration) {
        let bucket = BOUNDS_MICROS.partition_point(|bound| Duration::from_micros(*bound) < took);
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

/// Counts records that were stored.
#[derive(Debug)]
pub(crate) struct StoredCounters {
    records: [AtomicU64; LEVELS],
    bytes: AtomicU64,
    /// Time of the last record, microseconds since the epoch.
    pub(crate) last_record: LastTime,
}

impl Default for StoredCounters {
    fn default() -> Self {
        let records = std::array::from_fn(|_| AtomicU64::new(0));
        Self { records, bytes: AtomicU64::new(0), last_record: LastTime::default() }
    }
}

/// The time of the last event of a kind.
#[derive(Debug)]
pub(crate) struct LastTime(AtomicI64);

impl Default for LastTime {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl LastTime {
    /// Sets the time, microseconds since the epoch.
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::Relaxed);
    }

    /// Returns the time, if there was an event.
    pub(crate) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|micros| *micros != i64::MIN)
    }
}

/// Counts what the maintenance of a log does.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceCounters {
    /// Parts that were closed.
    pub(crate) rotations: AtomicU64,
    /// Closed parts that retention removed.
    pub(crate) retired: AtomicU64,
    /// Steps forward of the system clock.
    pub(crate) clock_jumps: AtomicU64,
    /// The last attempt to save the state failed.
    pub(crate) is_state_unsaved: AtomicBool,
}

impl StoredCounters {
    /// Adds a batch that was stored.
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
            recorder.record(Duration::from_micros(micros));
        }
        let latencies = recorder.read();
        let up_to = |seconds: f64| latencies.buckets().find(|(bound, _)| *bound == seconds).unwrap().1;
        assert_eq!(
            [up_to(0.0001), up_to(0.00025), up_to(0.001), up_to(0.0025), up_to(10.0)],
            [2, 3, 4, 5, 6]
        );
        assert_eq!((latencies.count(), latencies.sum()), (7, Duration::from_micros(20_002_203)));
        assert!(BOUNDS_MICROS.is_sorted());
    }
}
