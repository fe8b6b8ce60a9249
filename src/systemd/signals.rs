//! Delivers the signals to a server as a stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_tokio::Signals;

/// A command to a running server, sent as a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Begin maintenance: SIGUSR1.
    MaintenanceOn,
    /// End maintenance: SIGUSR2.
    MaintenanceOff,
    /// Reload the configuration: SIGHUP.
    Reload,
    /// Stop: SIGTERM or SIGINT.
    Stop,
}

/// Installs signal handlers for the rest of the process's life and returns the signals as a stream.
///
/// Needs a Tokio runtime with I/O. Signals that arrive together may be merged or reordered. The
/// last maintenance signal in the stream is nevertheless always the last one that was sent.
///
/// # Errors
/// Fails if the system refuses the handlers or the pipe behind them.
pub fn listen() -> io::Result<impl Stream<Item = Signal> + Send + Unpin> {
    // `Signals` returns pending signals in the order of their numbers. If SIGUSR1 followed SIGUSR2,
    // maintenance would therefore end instead of begin. So the handlers store which came last.
    let maintenance = Arc::new(AtomicUsize::new(OFF));
    signal_hook::flag::register_usize(SIGUSR1, Arc::clone(&maintenance), ON)?;
    signal_hook::flag::register_usize(SIGUSR2, Arc::clone(&maintenance), OFF)?;
    let signals = Signals::new([SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT])?;
    Ok(signals.map(move |number| match number {
        SIGUSR1 | SIGUSR2 if maintenance.load(Ordering::SeqCst) == ON => Signal::MaintenanceOn,
        SIGUSR1 | SIGUSR2 => Signal::MaintenanceOff,
        SIGHUP => Signal::Reload,
        _ => Signal::Stop,
    }))
}

const OFF: usize = 0;
const ON: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal as Number, raise};

    /// One test, because signals reach the whole process.
    #[tokio::test]
    async fn signals_are_mapped_and_the_last_maintenance_signal_counts() {
        let mut signals = listen().unwrap();
        for (number, signal) in [
            (Number::SIGUSR1, Signal::MaintenanceOn),
            (Number::SIGUSR2, Signal::MaintenanceOff),
            (Number::SIGHUP, Signal::Reload),
            (Number::SIGTERM, Signal::Stop),
            (Number::SIGINT, Signal::Stop),
        ] {
            raise(number).unwrap();
            assert_eq!(signals.next().await, Some(signal));
        }
        for (first, second, last) in [
            (Number::SIGUSR1, Number::SIGUSR2, Signal::MaintenanceOff),
            (Number::SIGUSR2, Number::SIGUSR1, Signal::MaintenanceOn),
        ] {
            raise(first).unwrap();
            raise(second).unwrap();
            assert_eq!([signals.next().await, signals.next().await], [Some(last); 2]);
        }
    }
}
