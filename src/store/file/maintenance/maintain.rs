//! Maintains the active file: runs rotation and retention when the rules require them, and checks
//! the free space.

use std::io;
use std::time::Instant;

use super::retention::expired_segments;
use super::rules::{RETRY_INTERVAL, now_micros};
use crate::config::Rotate;
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
        // Retention first, because it frees space, which the rotation may need as well.
        self.retire_expired(incoming, now);
        if self.is_rotation_due(incoming, now) {
            match self.rotate() {
                Ok(()) => {
                    self.maintenance.rotate_again_at = None;
                    self.retire_expired(incoming, now);
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

    fn retire_expired(&mut self, incoming: u64, now: i64) {
        let segments = self.segments.list();
        let count = expired_segments(segments, &self.maintenance.rules, self.len + incoming, now);
        let Some(last) = count.checked_sub(1).and_then(|last| segments.items().get(last)) else { return };
        let last = last.path.display().to_string();
        match self.segments.retire(count) {
            Ok(()) => {
                crate::event!(info, RETIRED; "removed the oldest {count} segments, up to {last}");
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
