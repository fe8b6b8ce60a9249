//! Where the service's own messages go: to the journal with structured fields, or to stderr where there is none.
//!
//! What has a name is logged by [`event!`](crate::event), with the fields `MOCA_CLIENT` and `MOCA_KEY` where they apply,
//! everything else by the macros of `log`. `MOCA_LOG` stands in every journal entry.
//! Messages are escaped here, as in a log file, so a caller passes what a client sent as it is. Sending blocks while
//! journald is busy: never once per request.

use std::io::Write;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::record::{Escaped, escape_into};

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// journald, with fields
    Journal,
    /// stderr, as lines
    Stderr,
}

/// Something of this process logs already.
#[derive(Debug, thiserror::Error)]
#[error("messages go elsewhere already; initialise the journal once, first thing in main")]
pub struct AlreadySet(#[from] log::SetLoggerError);

/// Sends this process's messages, from `level` up, to the journal when stderr is connected to it, else to stderr.
/// `instance` is the name of the log that is served.
///
/// # Errors
/// When it was called before.
pub fn init(instance: &str, level: LevelFilter) -> Result<Sink, AlreadySet> {
    // a sandbox may hide journald's socket although stderr leads to it
    let journal = if connected_to_journal() { JournalLog::empty().ok() } else { None };
    let sink = match journal {
        Some(journal) => {
            let journal = journal
                .with_syslog_identifier("moca-file-log".to_owned())
                .with_extra_fields([("MOCA_LOG", instance)]);
            log::set_boxed_logger(Box::new(EscapingLogger(journal)))?;
            Sink::Journal
        }
        None => {
            log::set_boxed_logger(Box::new(EscapingLogger(Stderr)))?;
            Sink::Stderr
        }
    };
    set_level(level);
    Ok(sink)
}

/// Logs from `level` up from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// What `log_level` of `server.json` means: 10 debug, 20 info, 30 warning, 40 error, 50 critical (shown as errors,
/// since what ends the service must always be seen).
#[must_use]
pub fn level_filter(log_level: u8) -> LevelFilter {
    match log_level {
        0..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    }
}

/// Lets our own messages and the warnings of libraries through, escaped. What libraries say in detail may quote
/// requests, and with them keys and passwords.
struct EscapingLogger<L>(L);

impl<L: Log> Log for EscapingLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().starts_with("moca");
        // rustls warns of every client that speaks TLS badly: anybody could fill the journal.
        let of_clients = metadata.target().starts_with("rustls");
        (own || (metadata.level() <= Level::Warn && !of_clients)) && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            self.0.log(&record.to_builder().args(format_args!("{}", Escaped(&message))).build());
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // nobody is left to tell when stderr is gone
        std::io::stderr().write_all(&line(record)).ok();
    }

    fn flush(&self) {}
}

/// `LEVEL message key=value…`, in one piece so that lines of several threads do not mix.
fn line(record: &Record<'_>) -> Vec<u8> {
    let mut line = format!("{} {}", record.level(), record.args()).into_bytes();
    // the only error would be that of the visitor, which has none
    record.key_values().visit(&mut Fields(&mut line)).ok();
    line.push(b'\n');
    line
}

struct Fields<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // a number for programs that read the journal; a person at a terminal has the name
        if key.as_str() == "MESSAGE_ID" {
            return Ok(());
        }
        self.0.push(b' ');
        escape_into(self.0, key.as_str());
        self.0.push(b'=');
        escape_into(self.0, &value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::child;
    use super::*;

    #[test]
    fn levels_of_the_configuration() {
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
    #[ignore = "run by the others as a child"]
    fn in_child() {
        assert_eq!(init("sample1", LevelFilter::Info).unwrap(), Sink::Stderr);
        assert!(init("sample1", LevelFilter::Info).is_err());
        crate::event!(info, STARTED, MOCA_CLIENT = "::1\n"; "a\nb\u{1b}[0m \\");
        log::debug!("unseen");
        log::info!(target: "hyper", "unseen");
        log::warn!(target: "hyper", "seen");
        log::error!(target: "rustls::common_state", "unseen");
        set_level(LevelFilter::Debug);
        log::debug!("seen now");
    }

    #[test]
    fn lines_on_stderr() {
        let mut child = child::command("systemd::journal::tests::in_child");
        let output = child::run(child.env_remove("JOURNAL_STREAM"));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "INFO a\\nb\\u{1b}[0m \\\\ MOCA_EVENT=started MOCA_CLIENT=::1\\n\nWARN seen\nDEBUG seen now\n"
        );
    }
}
