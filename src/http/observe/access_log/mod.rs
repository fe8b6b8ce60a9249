//! The access log: one line for each request, in the Combined Log Format, beside the log.
//!
//! A request puts its line into a buffer and goes on; a thread of its own brings the buffer to the file, every 100 ms or
//! when there is enough. The buffer is bounded: while the disk is slow or full, what does not fit is dropped and
//! counted, the journal says so once a minute, and no request waits or fails for it. Lines are never synced: the
//! access log is a record of what happened, not of what was promised.

pub(crate) mod file;
pub(crate) mod line;
pub(crate) mod redact;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

pub(crate) use line::{Outcome, RequestLine};

use crate::record::Clock;
use file::LineFile;

/// Lines that wait for the thread, in bytes; it may hold as many again.
const ROOM: usize = 1024 * 1024;
/// So many bytes are written without waiting for more.
const ENOUGH: usize = 64 * 1024;
/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(100);
/// How long a disk that refused is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How often the journal is told of the same trouble.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub struct AccessLog {
    shared: Arc<Shared>,
    path: PathBuf,
}

struct Shared {
    state: Mutex<State>,
    /// wakes the thread
    work: Condvar,
    /// wakes who waits for its end
    ended: Condvar,
}

struct State {
    lines: Vec<u8>,
    clock: Clock,
    /// lines that found no room since the thread looked last
    dropped: u64,
    thread: Thread,
    /// what is switched off is closed when it is written
    on: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    NotStarted,
    Runs,
    /// it writes what there is and ends
    Ending,
    Ended,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// Written to `path`; switched off.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let state = State {
            lines: Vec::new(),
            clock: Clock::new(TimeZone::system()),
            dropped: 0,
            thread: Thread::NotStarted,
            on: false,
        };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), ended: Condvar::new() };
        Self { shared: Arc::new(shared), path }
    }

    /// Switches it. Lines of requests that began before may still come.
    pub fn switch(&self, on: bool) {
        let mut state = self.shared.lock();
        state.on = on;
        if on && state.thread == Thread::NotStarted {
            let (shared, file) = (Arc::clone(&self.shared), LineFile::new(self.path.clone()));
            let writer = Writer { shared, file, health: Health::default() };
            match std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run()) {
                Ok(_) => state.thread = Thread::Runs,
                Err(error) => {
                    crate::event!(error, ACCESS_LOG_FAILING; "no thread to write the access log: {error}");
                }
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }

    /// Puts down a request that has ended. Never waits for a disk.
    pub(crate) fn note(&self, asked: &RequestLine, outcome: &Outcome<'_>) {
        let mut state = self.shared.lock();
        if state.thread != Thread::Runs {
            return;
        }
        let before = state.lines.len();
        let time = state.clock.stamp();
        line::write(&mut state.lines, &time, asked, outcome);
        let after = state.lines.len();
        if after > ROOM {
            state.lines.truncate(before);
            state.dropped += 1;
        }
        drop(state);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.shared.work.notify_one();
        }
    }

    /// Writes what there is and takes no more. Blocks, for at most `patience`.
    pub fn close(&self, patience: Duration) {
        let mut state = self.shared.lock();
        if state.thread != Thread::Runs {
            return;
        }
        state.thread = Thread::Ending;
        self.shared.work.notify_one();
        let ended =
            self.shared.ended.wait_timeout_while(state, patience, |state| state.thread != Thread::Ended);
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
        // whole lines on their way to the file
        let mut batch = Vec::new();
        loop {
            let state = self.gather(!batch.is_empty());
            let (dropped, ending, on) = (state.dropped, state.thread == Thread::Ending, state.on);
            self.take(state, &mut batch);
            let outcome = if batch.is_empty() { Ok(()) } else { self.file.append(&mut batch) };
            let waiting = if ending { lines_in(&self.shared.lock().lines) } else { 0 };
            let over = ending && (outcome.is_err() || waiting == 0);
            let left = if over { lines_in(&batch) + waiting } else { 0 };
            self.health.told(&outcome, dropped + left, &self.file);
            if over {
                self.shared.lock().thread = Thread::Ended;
                self.shared.ended.notify_all();
                return;
            }
            if !on && batch.is_empty() {
                self.file.close();
            }
        }
    }

    /// Waits until there is something to do: lines, and for a while more of them; a file to close; the end.
    fn gather(&self, failed: bool) -> MutexGuard<'_, State> {
        let work = &self.shared.work;
        let mut state = self.shared.lock();
        if !failed {
            let idle = |state: &mut State| {
                state.lines.is_empty() && state.thread == Thread::Runs && (state.on || !self.file.is_open())
            };
            state = work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        }
        let (patience, enough) = if failed { (RETRY, usize::MAX) } else { (GATHER, ENOUGH) };
        let more = |state: &mut State| state.thread == Thread::Runs && state.lines.len() < enough;
        work.wait_timeout_while(state, patience, more).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes the lines, unless those of last time are still there.
    fn take(&self, mut state: MutexGuard<'_, State>, batch: &mut Vec<u8>) {
        state.dropped = 0;
        if batch.is_empty() {
            std::mem::swap(&mut state.lines, batch);
            drop(state);
        }
    }
}

fn lines_in(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// What the journal knows of the access log.
#[derive(Default)]
struct Health {
    failing: bool,
    /// the journal was told so
    told: bool,
    warned: Option<Instant>,
    /// lines that the journal was not told of
    missing: u64,
}

impl Health {
    fn told(&mut self, outcome: &io::Result<()>, dropped: u64, file: &LineFile) {
        self.missing += dropped;
        let path = file.path().display();
        let may_warn = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        match outcome {
            Err(error) => {
                self.failing = true;
                if may_warn {
                    self.warned = Some(Instant::now());
                    self.told = true;
                    let missing = std::mem::take(&mut self.missing);
                    crate::event!(
                        warn, ACCESS_LOG_FAILING;
                        "can't write {path}: {error}; {missing} lines of it were dropped so far, requests go on"
                    );
                }
            }
            Ok(()) if self.failing && self.told => {
                (self.failing, self.told) = (false, false);
                let missing = std::mem::take(&mut self.missing);
                crate::event!(info, ACCESS_LOG_RECOVERED; "{path} is written again; {missing} more lines are missing");
            }
            Ok(()) => {
                self.failing = false;
                if self.missing > 0 && may_warn {
                    self.warned = Some(Instant::now());
                    let missing = std::mem::take(&mut self.missing);
                    crate::event!(
                        warn, ACCESS_LOG_FAILING;
                        "{missing} lines of {path} were dropped: they came faster than the disk takes them"
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
        (0..count).for_each(|_| log.note(&RequestLine::nothing(), &outcome));
    }

    #[test]
    fn what_is_off_costs_nothing_and_what_does_not_fit_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.access.log");
        let log = AccessLog::new(path.clone());
        note(&log, 3);
        log.close(Duration::from_secs(5));
        assert!(!path.exists());
        // a folder in its place: nothing can be written
        std::fs::create_dir(&path).unwrap();
        log.switch(true);
        note(&log, 60_000);
        {
            let state = log.shared.lock();
            assert!(state.lines.len() <= ROOM, "{}", state.lines.len());
        }
        std::fs::remove_dir(&path).unwrap();
        log.close(Duration::from_secs(5));
        assert!(log.shared.lock().thread == Thread::Ended);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() > ROOM / 2 && text.len() <= 3 * ROOM, "{}", text.len());
        let whole =
            |line: &str| line.starts_with("203.0.113.7 - - [") && line.ends_with("\"-\" 200 1 \"-\" \"-\"");
        assert!(text.ends_with('\n') && text.lines().all(whole));
        note(&log, 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn switched_off_it_lets_go_of_the_file() {
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
        for round in 1..3 {
            log.switch(true);
            note(&log, 1);
            within(&|| is_open() && std::fs::read_to_string(&path).unwrap().lines().count() == round);
            log.switch(false);
            within(&|| !is_open());
        }
    }
}
