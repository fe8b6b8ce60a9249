//! Provides crash points for tests. A crash point is a place between two steps at which a test
//! kills the process by SIGKILL.
//!
//! Crash points exist in debug builds only.

/// Kills the process if `MOCA_FAULT` is `name`, or, for `name:N`, at the Nth call.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("MOCA_FAULT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((wanted, left)) = wanted
        && wanted == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let this = nix::unistd::Pid::this();
        while nix::sys::signal::kill(this, nix::sys::signal::Signal::SIGKILL).is_ok() {}
    }
}

/// Does nothing in release builds.
#[cfg(not(debug_assertions))]
pub(crate) const fn point(_name: &str) {}
