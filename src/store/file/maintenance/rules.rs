//! What `rotate` asks for, and when somebody has to look after it: by the size of the active file, which is one
//! comparison for an append, and by time.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use nix::sys::statvfs::fstatvfs;

use super::background::Rest;
use super::retention::excess;
use super::schedule::end_of_period;
use crate::config::{Every, Rotate};
use crate::store::file::log_file::LogFile;

/// What failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// And a file that cannot be rotated may grow by so much until then.
const MORE: u64 = 1024 * 1024;

/// How often the free space is looked at, and after how many bytes at the least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AFTER: u64 = 64 * 1024;

/// The clock may be set: nothing is planned further ahead.
const HORIZON: Duration = Duration::from_secs(60);

/// One complaint in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What of the free space one that is asked for nothing but a total takes for a segment.
const SEGMENTS_OF_TOTAL: u64 = 8;

/// Rules, and what is to be done next.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) rules: Rotate,
    zone: TimeZone,
    /// no append may take the active file beyond this before somebody looked
    stop_at: u64,
    /// somebody has to look then at the latest
    visit: Option<Instant>,
    /// bytes left on the disk when they were looked at last
    free: u64,
    /// there are fewer than what is to be left
    low: bool,
    /// the rotation that is due failed, and is not tried again before
    not_before: Option<Instant>,
    complained: Option<Instant>,
    /// of the work beside the service
    pub(crate) rest: Option<Rest>,
    /// there is nothing to do beside the service
    pub(crate) idle: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            rules: Rotate::default(),
            zone: TimeZone::system(),
            stop_at: u64::MAX,
            visit: None,
            free: u64::MAX,
            low: false,
            not_before: None,
            complained: None,
            rest: None,
            idle: false,
        }
    }
}

impl Upkeep {
    /// The size at which the active file is rotated. Where only a total is given, the files must be small beside it.
    fn limit(&self) -> Option<u64> {
        let total = self.rules.max_total.map(|total| (total.get() / SEGMENTS_OF_TOTAL).max(1));
        self.rules.max_size.map(std::num::NonZeroU64::get).or(total)
    }

    /// The rhythm. Where only an age is given, the files must be short beside it.
    fn every(&self) -> Option<Every> {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let by_age = self.rules.max_age.filter(|_| self.limit().is_none()).map(|age| {
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
}

impl LogFile {
    /// Puts other rules into force.
    pub(crate) fn set_rules(&mut self, rules: Option<Rotate>) {
        self.upkeep.rules = rules.unwrap_or_default();
        (self.upkeep.not_before, self.upkeep.rest) = (None, None);
        // Somebody has to look at once.
        (self.upkeep.stop_at, self.upkeep.visit) = (0, Some(Instant::now()));
    }

    /// Whether so many bytes can be appended before somebody has to look.
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        self.len + bytes as u64 <= self.upkeep.stop_at
    }

    /// When somebody has to look at the latest.
    pub(crate) const fn visit(&self) -> Option<Instant> {
        self.upkeep.visit
    }

    /// The disk has fewer bytes left than it should have: nothing is to be appended.
    pub(crate) const fn is_low(&self) -> bool {
        self.upkeep.low
    }

    /// As [`Self::tend`] when the time has come.
    pub(crate) fn visited(&mut self) -> io::Result<()> {
        let verified = self.verify();
        if verified.is_ok() {
            self.archive.look();
            self.settle_archive();
            self.tend(0);
        } else {
            self.upkeep.visit = Some(Instant::now() + AGAIN);
        }
        verified
    }

    /// Does what the rules ask for before `incoming` bytes are appended to the file, which was verified. What cannot
    /// be done is done later.
    pub(crate) fn tend(&mut self, incoming: u64) {
        let now = now();
        // First: it makes room, also for the rotation.
        self.retire_excess(incoming, now);
        if self.is_due(incoming, now) {
            match self.rotate() {
                Ok(()) => {
                    self.upkeep.not_before = None;
                    self.retire_excess(incoming, now);
                }
                Err(error) => {
                    self.upkeep.not_before = Some(Instant::now() + AGAIN);
                    self.complain(&format!("can't be rotated, going on in the same file: {error}"));
                }
            }
        }
        self.look_at_space();
        self.plan();
    }

    fn is_due(&self, incoming: u64, now: i64) -> bool {
        if self.len == 0 || self.upkeep.not_before.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let by_size =
            self.upkeep.limit().is_some_and(|limit| self.len >= limit || self.len + incoming > limit);
        let by_time = || {
            let first = self.first.unwrap_or(now);
            self.upkeep.every().is_some_and(|every| end_of_period(every, first, &self.upkeep.zone) <= now)
        };
        by_size || by_time()
    }

    fn retire_excess(&mut self, incoming: u64, now: i64) {
        let segments = self.archive.segments();
        let count = excess(segments, &self.upkeep.rules, self.len + incoming, now);
        let Some(last) = count.checked_sub(1).and_then(|last| segments.items().get(last)) else { return };
        let last = last.path.display().to_string();
        match self.archive.retire(count) {
            Ok(()) => {
                crate::event!(info, RETIRED; "removed the oldest {count} segments, up to {last}");
            }
            Err(error) => self.complain(&format!("can't let its oldest segments go: {error}")),
        }
    }

    fn look_at_space(&mut self) {
        let Some(least) = self.upkeep.rules.min_free else {
            self.upkeep.low = false;
            return;
        };
        let free = match self.free_space() {
            Ok(free) => free,
            Err(error) => {
                self.complain(&format!("can't tell how much space is left: {error}"));
                u64::MAX
            }
        };
        self.upkeep.free = free;
        let was_low = std::mem::replace(&mut self.upkeep.low, free < least);
        if self.upkeep.low && !was_low {
            crate::event!(warn, LOW_SPACE; "{free} bytes are left for the log, {least} should be: clients are told to come back");
        } else if was_low && !self.upkeep.low {
            crate::event!(info, SPACE_AGAIN; "{free} bytes are left for the log: records are stored again");
        }
    }

    /// Bytes that can be written to the disk of the log.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        let disk = fstatvfs(&*self.file)?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Decides when somebody has to look again.
    pub(crate) fn plan(&mut self) {
        let upkeep = &self.upkeep;
        let (rules, now, instant) = (&upkeep.rules, now(), Instant::now());
        let segments = self.archive.segments();
        let oldest = segments.items().first();
        let waits = upkeep.not_before.is_some_and(|at| instant < at);
        let in_micros =
            |at: i64| Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or_default());

        let by_size = upkeep.limit().map(|limit| if waits { self.len + MORE } else { limit });
        let by_total = rules.max_total.filter(|_| oldest.is_some());
        let by_total = by_total.map(|total| total.get().saturating_sub(segments.stored()));
        let by_space = rules.min_free.map(|least| {
            let left = upkeep.free.saturating_sub(least) / 2;
            self.len.saturating_add(left.max(LOOK_AFTER))
        });
        let stop_at = [by_size, by_total, by_space].into_iter().flatten().fold(u64::MAX, u64::min);

        let by_time = upkeep.every().map(|every| in_micros(end_of_period(every, now, &upkeep.zone)));
        let by_age = rules.max_age.zip(oldest).map(|(age, oldest)| {
            in_micros(oldest.newest.saturating_add(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
        });
        let by_space = rules.min_free.map(|_| LOOK_EVERY);
        let again = (waits || !self.archive.is_settled()).then_some(AGAIN);
        let rest = upkeep.rest.and_then(|rest| rest.until.checked_duration_since(instant));
        let soonest = [by_time, by_age, by_space, again, rest].into_iter().flatten().min();
        // Not before the moment, nor in a hurry when what was due failed.
        let soonest = soonest.map(|wait| wait.min(HORIZON) + Duration::from_millis(1));
        let visit = soonest.map(|wait| instant + if waits { wait.max(LOOK_EVERY) } else { wait });

        (self.upkeep.stop_at, self.upkeep.visit, self.upkeep.idle) = (stop_at, visit, false);
    }

    pub(crate) fn complain(&mut self, what: &str) {
        if self.upkeep.complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
            self.upkeep.complained = Some(Instant::now());
            crate::event!(warn, ROTATION_FAILED; "{} {what}", self.archive.home().display());
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
