//! Logs the messages of the service to the journal, with structured fields, or to stderr if there
//! is no journal.
//!
//! Callers log events with a name by [`event!`](crate::event), with the fields `MOCA_CLIENT` and
//! `MOCA_KEY` where they apply, and other messages by the macros of `log`. Every journal entry has
//! the field `MOCA_LOG`. This module escapes messages, so callers pass the texts
//! of clients unchanged. Logging blocks while journald is busy, so no caller logs once per request.

use std::io::Write;
use std::time::Instant;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::log_limit::LogLimit;
use crate::record::{Escaped, escape_shown_into};

/// The destination of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// The journal, with structured fields.
    Journal,
    /// Standard error, as lines.
    Stderr,
}

/// The error if this process already has a logger.
#[derive(Debug, thiserror::Error)]
#[error("the process has a logger already; initialise the journal once, at the start of main")]
pub struct AlreadySet(#[from] log::SetLoggerError);

/// Sets up logging for this process, from `level` up: to the journal if stderr is connected to it,
/// otherwise to stderr. `instance` is the name of the served log.
///
/// # Errors
/// Fails if the process already has a logger.
pub fn init(instance: &str, level: LevelFilter) -> Result<Sink, AlreadySet> {
    // A sandbox may hide the socket of journald although stderr is connected to it.
    let journal = if connected_to_journal() { JournalLog::empty().ok() } else { None };
    let sink = match journal {
        Some(journal) => {
            let journal = journal
                .with_syslog_identifier("moca-file-log".to_owned())
                .with_extra_fields([("MOCA_LOG", instance)]);
            log::set_boxed_logger(Box::new(EscapingLogger::new(journal)))?;
            Sink::Journal
        }
        None => {
            log::set_boxed_logger(Box::new(EscapingLogger::new(Stderr)))?;
            Sink::Stderr
        }
    };
    set_level(level);
    Ok(sink)
}

/// Sets the lowest level that is logged.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Converts `log_level` of `server.json`: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
///
/// 50 logs errors too, since the reason why the service ends must always be visible.
#[must_use]
pub fn level_filter(log_level: u8) -> LevelFilter {
    match log_level {
        0..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    }
}

/// Libraries that warn about what clients send, without the address of the client. Their warnings are
/// dropped, since any client could fill the journal. The service logs such events itself.
const PROTOCOL_LIBRARIES: &[&str] =
    &["h2", "hyper", "hyper_util", "multer", "rustls", "tokio_rustls", "tungstenite", "warp"];

/// Passes on messages of this crate and a few warnings of libraries, escaped.
///
/// More detailed messages of libraries are dropped, since they may quote requests with keys and
/// passwords.
struct EscapingLogger<L> {
    inner: L,
    /// Limits the warnings of libraries.
    library_limit: LogLimit,
}

impl<L> EscapingLogger<L> {
    fn new(inner: L) -> Self {
        Self { inner, library_limit: LogLimit::default() }
    }
}

/// Reports whether a message with this target comes from this crate.
fn is_own(target: &str) -> bool {
    target.starts_with("moca")
}

impl<L: Log> Log for EscapingLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let library = metadata.target().split("::").next().unwrap_or_default();
        let may_warn = metadata.level() <= Level::Warn && !PROTOCOL_LIBRARIES.contains(&library);
        (is_own(library) || may_warn) && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = record.args().to_string();
        if !is_own(record.target()) {
            match self.library_limit.admit(Instant::now()) {
                None => return,
                Some(0) => {}
                Some(more) => {
                    message.push_str(&format!(" ({more} more messages of libraries were not logged)"));
                }
            }
        }
        self.inner.log(&record.to_builder().args(format_args!("{}", Escaped(&message))).build());
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Without stderr there is no place to report the error.
        std::io::stderr().write_all(&line(record)).ok();
    }

    fn flush(&self) {}
}

/// Formats `LEVEL message key=value…`. The caller writes it at once, so that lines of several
/// threads do not mix.
fn line(record: &Record<'_>) -> Vec<u8> {
    let mut line = format!("{} {}", record.level(), record.args()).into_bytes();
    // The visitor never fails.
    record.key_values().visit(&mut Fields(&mut line)).ok();
    line.push(b'\n');
    line
}

struct Fields<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // The ID is for programs that read the journal; MOCA_EVENT has the name for people.
        if key.as_str() == "MESSAGE_ID" {
            return Ok(());
        }
        self.0.push(b' ');
        escape_shown_into(self.0, key.as_str());
        self.0.push(b'=');
        escape_shown_into(self.0, &value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::child;
    use super::*;

    #[test]
    fn configured_levels_are_converted() {
        assert_eq!(
            [10, 20, 30, 40, 50].map(level_filter),
            [
                LevelFilter::Debug,
                LevelFilter::Info,
                LevelFilter::Warn,
                LevelFilter::Error,
                LevelFilter::Error
            ]
        );
    }

    #[test]
    #[ignore = "runs in a child process of the other tests"]
    fn in_child() {
        assert_eq!(init("sample1", LevelFilter::Info).unwrap(), Sink::Stderr);
        assert!(init("sample1", LevelFilter::Info).is_err());
        crate::event!(info, STARTED, MOCA_CLIENT = "::1\n"; "a\nb\u{1b}[0m \\");
        log::debug!("unseen");
        log::info!(target: "hyper", "unseen");
        for library in PROTOCOL_LIBRARIES {
            log::warn!(target: library, "unseen");
        }
        log::error!(target: "rustls::common_state", "unseen");
        for n in 0..1000 {
            log::warn!(target: "redis::client", "seen {n}");
        }
        set_level(LevelFilter::Debug);
        log::debug!("seen now");
    }

    #[test]
    fn messages_are_lines_on_stderr_without_a_journal() {
        let mut child = child::command("systemd::journal::tests::in_child");
        let output = child::run(child.env_remove("JOURNAL_STREAM"));
        let warnings: String = (0..10).map(|n| format!("WARN seen {n}\n")).collect();
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!(
                "INFO a\\nb\\u{{1b}}[0m \\\\ MOCA_EVENT=started MOCA_CLIENT=::1\\n\n{warnings}DEBUG seen now\n"
            )
        );
    }
}
