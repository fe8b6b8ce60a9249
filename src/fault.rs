//! Provides switches for tests, which environment variables set. A crash point is a place between two
//! steps at which SIGKILL ends the process. A step can be made to fail, an interval shorter. The log
//! can have another engine.
//!
//! The switches exist in debug builds only.

use std::io;

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

/// Makes a step fail if `MOCA_FAIL` names it, alone or in a list with commas.
///
/// # Errors
/// Fails when the step is named.
#[cfg(debug_assertions)]
pub(crate) fn step(name: &str) -> io::Result<()> {
    static WANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("MOCA_FAIL").unwrap_or_default());
    if wanted.split(',').any(|wanted| wanted == name) {
        return Err(io::Error::other(format!("{name} fails, as MOCA_FAIL asks")));
    }
    Ok(())
}

/// Does nothing in release builds.
///
/// # Errors
/// Never fails.
#[cfg(not(debug_assertions))]
pub(crate) const fn step(_name: &str) -> io::Result<()> {
    Ok(())
}

/// Returns the number that the environment variable `name` holds, or `usual`.
#[cfg(debug_assertions)]
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Returns `usual` in release builds.
#[cfg(not(debug_assertions))]
pub(crate) const fn number(_name: &str, usual: u64) -> u64 {
    usual
}

/// Returns the time that the environment variable `name` holds, in milliseconds, or `usual`.
#[cfg(debug_assertions)]
pub(crate) fn time(name: &str, usual: std::time::Duration) -> std::time::Duration {
    let wanted = std::env::var(name).ok().and_then(|text| text.parse().ok());
    wanted.map_or(usual, std::time::Duration::from_millis)
}

/// Returns `usual` in release builds.
#[cfg(not(debug_assertions))]
pub(crate) const fn time(_name: &str, usual: std::time::Duration) -> std::time::Duration {
    usual
}

/// Returns whether `MOCA_ENGINE` names the engine `name`.
#[cfg(any(test, debug_assertions))]
pub(crate) fn wants_engine(name: &str) -> bool {
    std::env::var_os("MOCA_ENGINE").is_some_and(|wanted| wanted == name)
}
