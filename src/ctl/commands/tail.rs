//! `mocactl tail`: what a log has last, and what comes.
//!
//! Records come over one stream from the admin socket. When it ends, for a restart of the instance for example, the next
//! one begins after the last record that was printed, so that none is missing and none is printed twice.

use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::ValueEnum;
use http::StatusCode;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use crate::config::LogName;
use crate::ctl::client::admin_client::{AdminClient, Reply};
use crate::ctl::client::reply::Body;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::record_selection::RecordSelection;
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log; may be left out when only one is switched on
    name: Option<LogName>,
    /// How many records come first [default: 10]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u64>,
    /// Begin with this time instead: RFC 3339, a date, how long ago as in 15m or 2h, or yesterday 03:00
    #[arg(long, value_name = "TIME", conflicts_with = "lines")]
    since: Option<String>,
    #[command(flatten)]
    selection: RecordSelection,
    /// Lines as they stand in the file, or one object a line
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The same as --output ndjson
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Ndjson,
}

const ROUTE: &str = "/moca-file-log/tail";

/// Milliseconds between the end of a stream and the next one.
const RECONNECT_DELAY_MS: u16 = 100;
/// The same while nobody answers.
const UNAVAILABLE_DELAY_MS: u16 = 1000;

/// A stream is never silent for so long: it says that it lives four times as often.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest event is a line of 64 KB and a little.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

impl Args {
    fn parameters(&self) -> Value {
        let mut all = self.selection.parameters();
        let output = if self.json || self.output == Output::Ndjson { "ndjson" } else { "text" };
        all.insert("output".to_owned(), json!(output));
        match &self.since {
            Some(since) => all.insert("since".to_owned(), json!(since)),
            None => all.insert("lines".to_owned(), json!(self.lines.unwrap_or(10))),
        };
        Value::Object(all)
    }
}

/// How a stream ended.
enum End {
    /// nobody reads the output any more
    Unread,
    /// the instance ended it
    Over,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let name = LogSelection::load(directories)?.one(args.name.as_ref())?;
    let admin = AdminClient::new(directories, &name).with_patience(STREAM_TIMEOUT);
    let parameters = args.parameters().to_string();
    // After which record the next stream begins.
    let mut last: Option<String> = None;
    let mut away = false;
    loop {
        match follow(&admin, &parameters, &mut last, &mut away, printer) {
            Ok(End::Unread) => return Ok(0),
            Ok(End::Over) => {}
            Err(Followed::Cleared { oldest }) => {
                print_note(format_args!(
                    "mocactl: {name} was cleared or rotated; following what is left from its start"
                ));
                last = Some(oldest);
            }
            Err(Followed::Failed(error @ Error::Failed { exit: Exit::Unavailable | Exit::TempFail, .. }))
                if last.is_some() =>
            {
                // a restart takes a moment, and nothing is lost meanwhile
                if !away {
                    print_note(format_args!("mocactl: {error}; waiting for it"));
                }
                away = true;
            }
            Err(Followed::Failed(error)) => return Err(error),
        }
        if gone_after(if away { UNAVAILABLE_DELAY_MS } else { RECONNECT_DELAY_MS }) {
            return Ok(0);
        }
    }
}

/// Why following ended otherwise.
enum Followed {
    /// what followed the last record is gone
    Cleared {
        oldest: String,
    },
    Failed(Error),
}

impl From<Error> for Followed {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn follow(
    admin: &AdminClient,
    parameters: &str,
    last: &mut Option<String>,
    away: &mut bool,
    printer: &mut Printer,
) -> Result<End, Followed> {
    let resume: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
    let mut reply = admin.send("POST", ROUTE, &resume, Some(parameters), &[StatusCode::GONE])?;
    if reply.status == StatusCode::GONE {
        return Err(Followed::Cleared { oldest: oldest(admin, &mut reply)? });
    }
    *away = false;
    if last.is_none() {
        let start = reply.headers.get("moca-cursor").and_then(|cursor| cursor.to_str().ok());
        *last = start.map(str::to_owned);
    }
    let mut events = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if is_unread(&reply.body, printer)? {
            return Ok(End::Unread);
        }
        let count = reply.body.read(&mut buffer).map_err(|error| admin.broken(&error))?;
        if count == 0 {
            printer.flush()?;
            return Ok(End::Over);
        }
        events.extend_from_slice(&buffer[..count]);
        print(&mut events, last, printer)?;
        if events.len() > MAX_EVENT_BYTES {
            let error = io::Error::new(io::ErrorKind::InvalidData, "an event without an end");
            return Err(admin.broken(&error).into());
        }
    }
}

/// Prints the whole events, and takes them away.
fn print(events: &mut Vec<u8>, last: &mut Option<String>, printer: &mut Printer) -> Result<(), Error> {
    let mut begin = 0;
    let mut id: Option<&[u8]> = None;
    for end in memchr::memmem::find_iter(events, b"\n\n") {
        for line in events[begin..end].split(|byte| *byte == b'\n') {
            if let Some(value) = line.strip_prefix(b"id: ") {
                id = Some(value);
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                printer.bytes(data)?;
                printer.bytes(b"\n")?;
            }
        }
        begin = end + 2;
    }
    if let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) {
        *last = Some(id.to_owned());
    }
    events.drain(..begin);
    Ok(())
}

fn oldest(admin: &AdminClient, reply: &mut Reply) -> Result<String, Error> {
    let mut text = Vec::new();
    reply.body.by_ref().take(64 * 1024).read_to_end(&mut text).map_err(|error| admin.broken(&error))?;
    let problem: Option<Value> = serde_json::from_slice(&text).ok();
    let oldest = problem.as_ref().and_then(|problem| problem.get("oldest")?.as_str());
    oldest.map(str::to_owned).ok_or_else(|| {
        admin.broken(&io::Error::new(io::ErrorKind::InvalidData, "it does not say what is left"))
    })
}

/// Waits until there is more to read, with everything before printed; true when nobody reads the output any more.
fn is_unread(body: &Body<BufReader<UnixStream>>, printer: &mut Printer) -> Result<bool, Error> {
    /// The end of a chunk, which came with it.
    const CHUNK_END: usize = 2;
    let reader = body.reader();
    if reader.buffer().len() > CHUNK_END {
        return Ok(false);
    }
    printer.flush()?;
    let stdout = io::stdout();
    let mut descriptors = [
        PollFd::new(stdout.as_fd(), PollFlags::empty()),
        PollFd::new(reader.get_ref().as_fd(), PollFlags::POLLIN),
    ];
    let silence = u16::try_from(STREAM_TIMEOUT.as_millis()).unwrap_or(u16::MAX);
    // What is wrong with the stream shows when it is read.
    while poll(&mut descriptors, silence) == Err(Errno::EINTR) {}
    let [stdout, _] = &descriptors;
    Ok(stdout.revents().is_some_and(|events| events.intersects(PollFlags::POLLERR)))
}

/// Waits; true when nobody reads the output any more.
fn gone_after(milliseconds: u16) -> bool {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let polled = poll(&mut descriptors, milliseconds);
    let [descriptor] = &descriptors;
    let gone = descriptor.revents().is_some_and(|events| events.intersects(PollFlags::POLLERR));
    if polled.is_err() {
        // a signal that does not end the program
        std::thread::sleep(Duration::from_millis(u64::from(milliseconds)));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_are_printed_whole_however_they_are_cut(cuts in prop::collection::vec(1_usize..40, 0..20)) {
            let text = b"retry: 1000\n\nid: A\ndata: one\n\n:\n\nid: B\ndata: two\n\nid: C\ndata: half";
            let (mut events, mut last, mut printer) = (Vec::new(), None, Printer::plain());
            let mut rest = &text[..];
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                events.extend_from_slice(piece);
                print(&mut events, &mut last, &mut printer).unwrap();
                rest = behind;
            }
            events.extend_from_slice(rest);
            print(&mut events, &mut last, &mut printer).unwrap();
            prop_assert_eq!(last.as_deref(), Some("B"), "not before its event is whole");
            prop_assert_eq!(&events[..], b"id: C\ndata: half");
        }
    }
}
