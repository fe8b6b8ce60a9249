//! Writes the access log, which has one line for each request in the Combined Log Format, to a file
//! next to the log.
//!
//! A request adds its line to a buffer and continues. A thread writes the buffer to the file every
//! 100 ms, or earlier when the buffer holds enough. The buffer is bounded. While the disk is slow
//! or full, lines that do not fit are dropped and counted, and no request waits or fails. The
//! journal reports dropped lines at most once a minute. Lines are never synced, because the access
//! log promises no durability.

pub(crate) mod file;
pub(crate) mod line;
pub(crate) mod redact;

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

pub(crate) use line::{Outcome, RequestLine};

use crate::record::Clock;
use file::LineFile;

/// Maximum number of buffered bytes. The thread may hold the same number in addition.
const MAX_BUFFERED_BYTES: usize = 1024 * 1024;
/// Number of buffered bytes that the thread writes without waiting for more.
const FLUSH_BYTES: usize = 64 * 1024;
/// Maximum time that a line waits for other lines.
const GATHER_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two attempts after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two warnings in the journal.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Writes the access log of an instance on a separate thread.
pub struct AccessLog {
    shared: Arc<Shared>,
    path: PathBuf,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes the caller that waits for the end of the thread.
    ended: Condvar,
}

struct State {
    /// Lines that the thread has not taken yet.
    lines: Vec<u8>,
    /// The clock for the time of each line.
    clock: Clock,
    /// Number of lines that were dropped since the thread last took lines.
    dropped: u64,
    thread: ThreadState,
    /// True while the access log is on. The thread closes the file when it is off.
    is_on: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadState {
    NotStarted,
    Running,
    /// The thread writes the remaining lines and ends.
    Ending,
    Ended,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// Returns an access log for `path` that is off.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let state = State {
            lines: Vec::new(),
            clock: Clock::new(TimeZone::system()),
            dropped: 0,
            thread: ThreadState::NotStarted,
            is_on: false,
        };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), ended: Condvar::new() };
        Self { shared: Arc::new(shared), path }
    }

    /// Turns the access log on or off. Requests that began before may still add their lines.
    pub fn switch(&self, on: bool) {
        let mut state = self.shared.lock();
        state.is_on = on;
        if on && state.thread == ThreadState::NotStarted {
            let (shared, file) = (Arc::clone(&self.shared), LineFile::new(self.path.clone()));
            let writer = Writer { shared, file, health: Health::default() };
            match thread::Builder::new().name("access-log".into()).spawn(move || writer.run()) {
                Ok(_) => state.thread = ThreadState::Running,
                Err(error) => {
                    crate::event!(
                        error, ACCESS_LOG_FAILING;
                        "can't start the thread of the access log: {error}"
                    );
                }
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }

    /// Adds the line of a request that has ended. Never waits for the disk.
    pub(crate) fn log_request(&self, request_line: &RequestLine, outcome: &Outcome<'_>) {
        let mut state = self.shared.lock();
        if state.thread != ThreadState::Running {
            return;
        }
        let before = state.lines.len();
        let time = state.clock.stamp();
        line::write(&mut state.lines, &time, request_line, outcome);
        let after = state.lines.len();
        if after > MAX_BUFFERED_BYTES {
            state.lines.truncate(before);
            state.dropped += 1;
        }
        drop(state);
        if before == 0 || (before < FLUSH_BYTES && after >= FLUSH_BYTES) {
            self.shared.work.notify_one();
        }
    }

    /// Writes the remaining lines and accepts no more. Blocks for at most `max_wait`.
    pub fn close(&self, max_wait: Duration) {
        let mut state = self.shared.lock();
        if state.thread != ThreadState::Running {
            return;
        }
        state.thread = ThreadState::Ending;
        self.shared.work.notify_one();
        let ended =
            self.shared.ended.wait_timeout_while(state, max_wait, |state| state.thread != ThreadState::Ended);
        drop(ended);
    }
}

struct Writer {
    shared: Arc<Shared>,
    file: LineFile,
    health: Health,
}

impl Writer {
    fn run(mut self) {
        // Holds the whole lines that are being written.
        let mut batch = Vec::new();
        loop {
            let state = self.gather(!batch.is_empty());
            let (dropped, ending, on) = (state.dropped, state.thread == ThreadState::Ending, state.is_on);
            self.take(state, &mut batch);
            let outcome = if batch.is_empty() { Ok(()) } else { self.file.append(&mut batch) };
            let waiting = if ending { lines_in(&self.shared.lock().lines) } else { 0 };
            let is_last = ending && (outcome.is_err() || waiting == 0);
            let left = if is_last { lines_in(&batch) + waiting } else { 0 };
            self.health.report(&outcome, dropped + left, &self.file);
            if is_last {
                self.shared.lock().thread = ThreadState::Ended;
                self.shared.ended.notify_all();
                return;
            }
            if !on && batch.is_empty() {
                self.file.close();
            }
        }
    }

    /// Waits until there are lines to write, until the file must be closed, or until the access log
    /// ends. After the first line it waits up to [`GATHER_INTERVAL`] for more lines.
    fn gather(&self, failed: bool) -> MutexGuard<'_, State> {
        let work = &self.shared.work;
        let mut state = self.shared.lock();
        if !failed {
            let idle = |state: &mut State| {
                state.lines.is_empty()
                    && state.thread == ThreadState::Running
                    && (state.is_on || !self.file.is_open())
            };
            state = work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        }
        let (max_wait, enough) =
            if failed { (RETRY_INTERVAL, usize::MAX) } else { (GATHER_INTERVAL, FLUSH_BYTES) };
        let more = |state: &mut State| state.thread == ThreadState::Running && state.lines.len() < enough;
        work.wait_timeout_while(state, max_wait, more).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes the buffered lines, unless the lines of the last attempt are still unwritten.
    fn take(&self, mut state: MutexGuard<'_, State>, batch: &mut Vec<u8>) {
        state.dropped = 0;
        if batch.is_empty() {
            mem::swap(&mut state.lines, batch);
            drop(state);
        }
    }
}

fn lines_in(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Remembers what was reported to the journal about the access log.
#[derive(Default)]
struct Health {
    /// True when the last write failed.
    is_failing: bool,
    /// True when the journal holds a warning about the failure.
    is_reported: bool,
    /// The time of the last warning.
    warned: Option<Instant>,
    /// Number of dropped lines that were not reported yet.
    dropped: u64,
}

impl Health {
    fn report(&mut self, outcome: &io::Result<()>, newly_dropped: u64, file: &LineFile) {
        self.dropped += newly_dropped;
        let path = file.path().display();
        let may_warn = self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL);
        match outcome {
            Err(error) => {
                self.is_failing = true;
                if may_warn {
                    self.warned = Some(Instant::now());
                    self.is_reported = true;
                    let dropped = mem::take(&mut self.dropped);
                    crate::event!(
                        warn, ACCESS_LOG_FAILING;
                        "can't write {path}: {error}; {dropped} lines were dropped so far, requests continue"
                    );
                }
            }
            Ok(()) if self.is_failing && self.is_reported => {
                (self.is_failing, self.is_reported) = (false, false);
                let dropped = mem::take(&mut self.dropped);
                crate::event!(
                    info, ACCESS_LOG_RECOVERED;
                    "{path} is written again; {dropped} more lines were dropped"
                );
            }
            Ok(()) => {
                self.is_failing = false;
                if self.dropped > 0 && may_warn {
                    self.warned = Some(Instant::now());
                    let dropped = mem::take(&mut self.dropped);
                    crate::event!(
                        warn, ACCESS_LOG_FAILING;
                        "{dropped} lines of {path} were dropped: they came faster than the disk takes them"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::guard::ClientAddr;

    fn note(log: &AccessLog, count: usize) {
        let client = ClientAddr::from("203.0.113.7".parse::<IpAddr>().unwrap());
        let outcome = Outcome { client: &client, user: None, status: 200, bytes: 1 };
        (0..count).for_each(|_| log.log_request(&RequestLine::unparsed(), &outcome));
    }

    #[test]
    fn lines_are_dropped_while_off_and_while_the_buffer_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.access.log");
        let log = AccessLog::new(path.clone());
        note(&log, 3);
        log.close(Duration::from_secs(5));
        assert!(!path.exists());
        // A folder in place of the file makes every write fail.
        std::fs::create_dir(&path).unwrap();
        log.switch(true);
        note(&log, 60_000);
        {
            let state = log.shared.lock();
            assert!(state.lines.len() <= MAX_BUFFERED_BYTES, "{}", state.lines.len());
        }
        std::fs::remove_dir(&path).unwrap();
        log.close(Duration::from_secs(5));
        assert!(log.shared.lock().thread == ThreadState::Ended);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.len() > MAX_BUFFERED_BYTES / 2 && text.len() <= 3 * MAX_BUFFERED_BYTES,
            "{}",
            text.len()
        );
        let whole =
            |line: &str| line.starts_with("203.0.113.7 - - [") && line.ends_with("\"-\" 200 1 \"-\" \"-\"");
        assert!(text.ends_with('\n') && text.lines().all(whole));
        note(&log, 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn file_is_closed_when_the_log_is_switched_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.access.log");
        let log = AccessLog::new(path.clone());
        let is_open = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| target == path)
        };
        let within = |condition: &dyn Fn() -> bool| {
            let until = Instant::now() + Duration::from_secs(5);
            while !condition() {
                assert!(Instant::now() < until);
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        for count in 1..3 {
            log.switch(true);
            note(&log, 1);
            within(&|| is_open() && std::fs::read_to_string(&path).unwrap().lines().count() == count);
            log.switch(false);
            within(&|| !is_open());
        }
    }
}
