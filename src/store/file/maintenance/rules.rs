//! Applies the rules of `rotate` to decide when maintenance is due. One condition is the length of
//! the active file, which costs an append one comparison, the other one is the time.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::clock_watch::ClockWatch;
use super::schedule::end_of_period;
use crate::config::{Every, Rotate};
use crate::record::now_micros;
use crate::store::file::segments::segment_set::SegmentSet;

/// Delay before a step that failed is tried again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes by which the active file may grow between two attempts to rotate it.
const MAX_GROWTH_BETWEEN_RETRIES_BYTES: u64 = 1024 * 1024;

/// Interval at which the free space is read while `min_free` is set.
const FREE_SPACE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum number of bytes appended between two reads of the free space.
const MIN_FREE_SPACE_CHECK_BYTES: u64 = 64 * 1024;

/// Interval of retention by age.
const AGE_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum time until the next maintenance, because the system clock may be set.
const MAX_MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);

/// Minimum time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Number of segments into which `max_total` is divided when there is no `max_size`.
const SEGMENTS_OF_TOTAL: u64 = 8;

/// The rules in force, and when maintenance is due.
#[derive(Debug)]
pub(crate) struct MaintenanceState {
    /// The rules.
    pub(crate) rules: Rotate,
    /// The zone of the server, in which periods end.
    zone: TimeZone,
    /// Maximum length of the active file before maintenance runs.
    pub(crate) due_at_len: u64,
    /// Time of the system clock from which a record belongs to the next period of `every`,
    /// microseconds since the epoch.
    pub(crate) period_ends_at: i64,
    /// Latest time of the next maintenance. `None`: no rule depends on time.
    pub(crate) due_at: Option<Instant>,
    /// Free bytes of the disk when they were read last.
    pub(crate) free_bytes: u64,
    /// The disk has fewer free bytes than `min_free`.
    pub(crate) is_low_on_space: bool,
    /// Compares the system clock with itself.
    pub(crate) clock: ClockWatch,
    /// Number of the newest segment to retire.
    pub(crate) retire_to: Option<u64>,
    /// All segments up to this number need no background work.
    pub(crate) checked_seq: u64,
    /// Earliest time of the next retention by age.
    pub(crate) age_due_at: Instant,
    /// Earliest time of the next attempt, after a rotation failed.
    pub(crate) rotate_again_at: Option<Instant>,
    warned_at: Option<Instant>,
    /// Delays background work after a failure.
    pub(crate) backoff: Option<Backoff>,
    /// No segment needs background work.
    pub(crate) is_idle: bool,
}

/// Delays background work that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// End of the delay.
    pub(crate) until: Instant,
    /// Number of the segment whose work failed. Work on newer segments goes on. `None`: all work
    /// waits.
    pub(crate) failed_seq: Option<u64>,
}

impl Default for MaintenanceState {
    fn default() -> Self {
        Self {
            rules: Rotate::default(),
            zone: TimeZone::system(),
            due_at_len: u64::MAX,
            period_ends_at: i64::MAX,
            due_at: None,
            free_bytes: u64::MAX,
            is_low_on_space: false,
            clock: ClockWatch::default(),
            retire_to: None,
            checked_seq: 0,
            age_due_at: Instant::now(),
            rotate_again_at: None,
            warned_at: None,
            backoff: None,
            is_idle: false,
        }
    }
}

impl MaintenanceState {
    /// Replaces the rules. Maintenance is due at once.
    pub(crate) fn set_rules(&mut self, rules: Rotate) {
        self.rules = rules;
        (self.rotate_again_at, self.backoff, self.checked_seq) = (None, None, 0);
        (self.due_at_len, self.due_at) = (0, Some(Instant::now()));
    }

    /// Returns whether retention by age is due, and plans the next one.
    pub(crate) fn take_age_turn(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.age_due_at;
        if is_due {
            self.age_due_at = now + crate::fault::time("MOCA_AGE_INTERVAL", AGE_INTERVAL);
        }
        is_due
    }

    /// Returns the length at which the active file is rotated. Without `max_size`, it is a part of
    /// `max_total`, because retention removes whole segments.
    pub(crate) fn max_len(&self) -> Option<u64> {
        let part_of_total = self.rules.max_total.map(|total| (total.get() / SEGMENTS_OF_TOTAL).max(1));
        self.rules.max_size.map(NonZeroU64::get).or(part_of_total)
    }

    /// Returns the period of the rotation. Without `every` and without a maximum length, it follows
    /// from `max_age` and is shorter, because retention removes whole segments.
    fn period(&self) -> Option<Every> {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let by_age = self.rules.max_age.filter(|_| self.max_len().is_none()).map(|age| {
            if age >= days(56) {
                Every::Week
            } else if age >= days(8) {
                Every::Day
            } else {
                Every::Hour
            }
        });
        self.rules.every.or(by_age)
    }

    /// Returns when the period that `micros` lies in ends, both in microseconds since the epoch.
    pub(crate) fn end_of_period(&self, micros: i64) -> Option<i64> {
        self.period().map(|every| end_of_period(every, micros, &self.zone))
    }

    /// Decides when maintenance is due again, for an active file of `len` bytes.
    pub(crate) fn plan(&mut self, len: u64, segments: &SegmentSet) {
        let now = Instant::now();
        let is_retrying = self.rotate_again_at.is_some_and(|at| now < at);
        self.due_at_len = self.next_len(len, segments, is_retrying);
        let micros = now_micros();
        self.period_ends_at = self.end_of_period(micros).filter(|_| !is_retrying).unwrap_or(i64::MAX);
        self.due_at = self.next_time(segments, is_retrying, now, micros);
        self.is_idle = false;
    }

    fn next_len(&self, len: u64, segments: &SegmentSet, is_retrying: bool) -> u64 {
        let list = segments.list();
        let by_len = self
            .max_len()
            .map(|max_len| if is_retrying { len + MAX_GROWTH_BETWEEN_RETRIES_BYTES } else { max_len });
        let by_total = self.rules.max_total.filter(|_| !list.items().is_empty());
        let by_total =
            by_total.map(|total| total.get().saturating_sub(list.stored() + segments.retiring_bytes()));
        let by_space = self.rules.min_free.map(|min_free| {
            let left = self.free_bytes.saturating_sub(min_free) / 2;
            len.saturating_add(left.max(MIN_FREE_SPACE_CHECK_BYTES))
        });
        [by_len, by_total, by_space].into_iter().flatten().fold(u64::MAX, u64::min)
    }

    fn next_time(
        &self,
        segments: &SegmentSet,
        is_retrying: bool,
        now: Instant,
        micros: i64,
    ) -> Option<Instant> {
        let until =
            |at: i64| Duration::from_micros(u64::try_from(at.saturating_sub(micros)).unwrap_or_default());
        let by_period = self.end_of_period(micros).map(until);
        let by_age = self.rules.max_age.zip(segments.list().items().first()).map(|(age, oldest)| {
            let end = oldest.age_from().saturating_add(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
            until(end).max(self.age_due_at.saturating_duration_since(now))
        });
        let by_space = self.rules.min_free.map(|_| FREE_SPACE_CHECK_INTERVAL);
        let by_retry = (is_retrying || !segments.is_saved()).then_some(RETRY_INTERVAL);
        let by_backoff = self.backoff.and_then(|backoff| backoff.until.checked_duration_since(now));
        let wait = [by_period, by_age, by_space, by_retry, by_backoff].into_iter().flatten().min()?;
        // One millisecond more, so that the period or age has passed by then.
        let wait = wait.min(MAX_MAINTENANCE_INTERVAL) + Duration::from_millis(1);
        Some(now + if is_retrying { wait.max(FREE_SPACE_CHECK_INTERVAL) } else { wait })
    }

    /// Logs a warning about the log at `path`, at most one a minute.
    pub(crate) fn warn_rate_limited(&mut self, path: &Path, message: &str) {
        if self.warned_at.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
            self.warned_at = Some(Instant::now());
            crate::event!(warn, ROTATION_FAILED; "{} {message}", path.display());
        }
    }
}
