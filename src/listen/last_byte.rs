//! Tells how long a connection has been silent, so that it can make room for another one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::net::deadline::{Millis, now};
use crate::net::open_connection::Silence;

/// The time of the last byte of a connection.
#[derive(Debug)]
pub(super) struct LastByte {
    at: AtomicU64,
    /// True while records wait to be stored.
    is_busy: AtomicBool,
}

impl LastByte {
    pub(super) fn new() -> Self {
        Self { at: AtomicU64::new(now()), is_busy: false.into() }
    }

    /// Notes that bytes have come.
    pub(super) fn note(&self) {
        self.at.store(now(), Ordering::Relaxed);
    }

    /// Notes whether records wait to be stored. Such a connection is not closed for another one.
    pub(super) fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }
}

impl Silence for LastByte {
    fn silent_since(&self) -> Option<Millis> {
        (!self.is_busy.load(Ordering::Relaxed)).then(|| self.at.load(Ordering::Relaxed))
    }
}
