//! The signals that a server obeys, as a stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_tokio::Signals;

/// What an operator asks of a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGUSR1
    MaintenanceOn,
    /// SIGUSR2
    MaintenanceOff,
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Stop,
}

/// Obeys signals from now on, for the rest of the process's life; needs a tokio runtime with I/O.
///
/// Signals that arrive together may come merged, and not in their order. Of maintenance on and off, however, the last
/// that comes is always the last that was sent.
///
/// # Errors
/// When the system refuses the handlers or the pipe behind them.
pub fn listen() -> io::Result<impl Stream<Item = Signal> + Send + Unpin> {
    // delivery goes by number, so on after off would end as off: the handlers themselves note which was the last
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
    async fn each_signal_and_the_last_of_two() {
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
