//! Maintains the active file: runs rotation and retention when the rules require them, and checks
//! the free space.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::clock_watch::Jump;
use super::retention::{excess_segments, too_old_segments};
use super::rules::RETRY_INTERVAL;
use crate::config::Rotate;
use crate::record::now_micros;
use crate::store::file::log_file::LogFile;

impl LogFile {
    /// Replaces the rules of rotation and retention.
    pub(crate) fn set_rules(&mut self, rules: Option<Rotate>) {
        self.maintenance.set_rules(rules.unwrap_or_default());
    }

    /// Returns whether `bytes` can be appended before maintenance is due.
    pub(crate) const fn can_append(&self, bytes: usize) -> bool {
        self.len + bytes as u64 <= self.maintenance.due_at_len
    }

    /// Returns the latest time of the next maintenance.
    pub(crate) const fn next_maintenance(&self) -> Option<Instant> {
        self.maintenance.due_at
    }

    /// Returns whether the disk has fewer free bytes than `min_free`. The store then refuses
    /// records.
    pub(crate) const fn is_low_on_space(&self) -> bool {
        self.maintenance.is_low_on_space
    }

    /// Verifies the files, then [maintains](Self::maintain) the log.
    pub(crate) fn verify_and_maintain(&mut self) -> io::Result<()> {
        let verified = self.verify();
        if verified.is_ok() {
            self.segments.check_files();
            self.save_segments();
            self.maintain(0);
        } else {
            self.maintenance.due_at = Some(Instant::now() + RETRY_INTERVAL);
        }
        verified
    }

    /// Applies the rules to the verified file before `incoming` bytes are appended. A step that
    /// fails is tried again later.
    pub(crate) fn maintain(&mut self, incoming: u64) {
        let now = now_micros();
        self.watch_clock();
        self.retire_too_old(now);
        // Retention first, because it frees space, which the rotation may need as well.
        self.retire_excess(incoming);
        if self.is_rotation_due(incoming, now) {
            match self.rotate() {
                Ok(()) => {
                    self.maintenance.rotate_again_at = None;
                    self.retire_excess(incoming);
                }
                Err(error) => {
                    self.maintenance.rotate_again_at = Some(Instant::now() + RETRY_INTERVAL);
                    self.warn_maintenance(&format!("can't be rotated, going on in the same file: {error}"));
                }
            }
        }
        self.check_free_space();
        self.plan();
    }

    fn is_rotation_due(&self, incoming: u64, now: i64) -> bool {
        if self.len == 0 || self.maintenance.rotate_again_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let by_len = self
            .maintenance
            .max_len()
            .is_some_and(|max_len| self.len >= max_len || self.len + incoming > max_len);
        let by_period = || {
            let first = self.first.unwrap_or(now);
            self.maintenance.end_of_period(first).is_some_and(|end| end <= now)
        };
        by_len || by_period()
    }

    /// Compares the system clock with itself. The state keeps the time only while it is trusted.
    fn watch_clock(&mut self) {
        let jump = self.maintenance.clock.observe();
        if let Some(Jump::Running(_)) = jump {
            self.counters.clock_jumps.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(jump) = jump.filter(|_| self.maintenance.rules.max_age.is_some()) {
            crate::event!(
                warn, CLOCK_JUMP;
                "{jump}: `max_age` removes nothing until the clock has agreed with itself for an hour"
            );
        }
        let is_trusted = self.maintenance.clock.is_trusted() || self.maintenance.rules.max_age.is_none();
        if let Err(error) = self.state.keep_time(is_trusted) {
            log::warn!("can't save the time in the state of {}: {error}", self.segments.home().display());
        }
    }

    fn retire_too_old(&mut self, now: i64) {
        if self.maintenance.take_age_turn() && self.maintenance.clock.is_trusted() {
            self.retire(too_old_segments(self.segments.list(), &self.maintenance.rules, now));
        }
    }

    /// Retires what exceeds `keep` and `max_total`. Room for the next bytes of the active file is made
    /// before they come, in the background. Only records that come faster wait for it.
    fn retire_excess(&mut self, incoming: u64) {
        let rules = &self.maintenance.rules;
        let active = self.len + incoming;
        let reserved = self.maintenance.max_len().map_or(active, |max_len| max_len.max(active));
        self.retire(excess_segments(self.segments.list(), rules, reserved));
        let on_disk = self.segments.list().stored() + self.segments.retiring_bytes() + active;
        if self.maintenance.rules.max_total.is_none_or(|max_total| on_disk <= max_total.get()) {
            return;
        }
        let total = Rotate { max_total: self.maintenance.rules.max_total, ..Rotate::default() };
        let count = excess_segments(self.segments.list(), &total, active);
        match self.segments.retire_now(count) {
            Ok(()) => {
                self.counters.retired.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) => self.warn_maintenance(&format!("can't remove its oldest segments: {error}")),
        }
    }

    fn check_free_space(&mut self) {
        let Some(min_free) = self.maintenance.rules.min_free else {
            self.maintenance.is_low_on_space = false;
            return;
        };
        let free = match self.free_space() {
            Ok(free) => free,
            Err(error) => {
                self.warn_maintenance(&format!("can't read how much space is left: {error}"));
                u64::MAX
            }
        };
        self.maintenance.free_bytes = free;
        let is_low = free < min_free;
        let was_low = std::mem::replace(&mut self.maintenance.is_low_on_space, is_low);
        if is_low && !was_low {
            crate::event!(
                warn, LOW_SPACE;
                "the disk of the log has {free} free bytes, fewer than the {min_free} of `min_free`: \
                 clients are answered 503"
            );
        } else if was_low && !is_low {
            crate::event!(
                info, SPACE_AGAIN;
                "the disk of the log has {free} free bytes again: records are stored"
            );
        }
    }

    /// Logs a warning about maintenance, at most one a minute.
    pub(crate) fn warn_maintenance(&mut self, message: &str) {
        self.maintenance.warn_rate_limited(self.segments.home(), message);
    }
}
