//! `mocactl tail`: prints the latest records of a log and follows the new ones.
//!
//! Records come over one stream from the admin socket. When the stream ends, for example at a
//! restart of the instance, the next stream begins after the last printed record. So no record is
//! missing and none is printed twice.

use std::time::Duration;

use clap::ValueEnum;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot::Receiver;

use crate::config::LogName;
use crate::ctl::client::admin_client::{AdminClient, Reply};
use crate::ctl::error::{Error, Outcome};
use crate::ctl::foreign_lines::{foreign_lines, has_condition, note_nothing_found};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::record_selection::RecordSelection;
use crate::ctl::ui::output::{Printer, output_closed, print_note};
use crate::exit::Exit;
use crate::record::MAX_LINE_BYTES;

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the log; optional when only one is switched on
    name: Option<LogName>,
    /// Number of records that are already stored and come first [default: 10]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u64>,
    /// First time, instead of a number of records: RFC 3339, a date, an age such as 15m or 2h, or
    /// yesterday 03:00
    #[arg(long, value_name = "TIME", conflicts_with = "lines")]
    since: Option<String>,
    #[command(flatten)]
    selection: RecordSelection,
    /// Lines as in the file, or one object a line
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Same as --output ndjson
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Ndjson,
}

const ROUTE: &str = "/moca-file-log/tail";

/// Time between the end of a stream and the next request.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// Time until the next request while the instance cannot be reached.
const UNAVAILABLE_DELAY: Duration = Duration::from_secs(1);

/// Maximum time without a byte of the stream. The instance sends a heartbeat four times as often.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of one event, which holds a line or its object.
const MAX_EVENT_BYTES: usize = 2 * MAX_LINE_BYTES;

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

/// Says how a stream ended without an error.
enum StreamEnd {
    /// The reader of the output has closed it.
    OutputClosed,
    /// The instance ended the stream.
    Ended,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let name = LogSelection::load(directories)?.one(args.name.as_ref())?;
    let client = AdminClient::new(directories, &name)?.with_read_timeout(STREAM_TIMEOUT);
    if args.json || args.output == Output::Ndjson {
        printer.expect_json();
    }
    let parameters = args.parameters();
    if has_condition(&parameters) && foreign_lines(&client) > 0 && finds_nothing(&client, &parameters) {
        note_nothing_found(&client, &name);
    }
    let parameters = parameters.to_string();
    // The cursor of the last printed record, after which the next stream begins.
    let mut last: Option<String> = None;
    let mut is_unavailable = false;
    let mut output_closed = output_closed();
    loop {
        match follow(&client, &parameters, &mut last, &mut is_unavailable, &mut output_closed, printer) {
            Ok(StreamEnd::OutputClosed) => return Ok(0),
            Ok(StreamEnd::Ended) => {}
            Err(StreamError::Cleared { oldest }) => {
                print_note(format_args!(
                    "mocactl: {name} was cleared or rotated; following what is left from its start"
                ));
                last = Some(oldest);
            }
            Err(StreamError::Failed(
                error @ Error::Failed { exit: Exit::Unavailable | Exit::TempFail, .. },
            )) if last.is_some() => {
                // A restart is short, and no record is lost meanwhile. The note is printed once.
                if !is_unavailable {
                    print_note(format_args!("mocactl: {error}; waiting for it"));
                }
                is_unavailable = true;
            }
            Err(StreamError::Failed(error)) => return Err(error),
        }
        let delay = if is_unavailable { UNAVAILABLE_DELAY } else { RECONNECT_DELAY };
        if client.block_on(async { tokio::time::timeout(delay, &mut output_closed).await }).is_ok() {
            return Ok(0);
        }
    }
}

/// Returns whether no stored record is selected. Returns false if the instance does not answer.
fn finds_nothing(client: &AdminClient, parameters: &Value) -> bool {
    let mut query = parameters.clone();
    if let Some(query) = query.as_object_mut() {
        query.remove("lines");
        query.extend([("limit".to_owned(), json!(1)), ("output".to_owned(), json!("text"))]);
    }
    let body = Some(query.to_string());
    let reply = client.send(Method::POST, "/moca-file-log/get-latest-logs", &[], body, &[]);
    reply.and_then(|mut reply| reply.chunk()).is_ok_and(|chunk| chunk.is_none())
}

/// Says why a stream failed.
enum StreamError {
    /// Records after the last printed one were removed. `oldest` is the cursor of the oldest that
    /// is left.
    Cleared {
        oldest: String,
    },
    Failed(Error),
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn follow(
    client: &AdminClient,
    parameters: &str,
    last: &mut Option<String>,
    is_unavailable: &mut bool,
    output_closed: &mut Receiver<()>,
    printer: &mut Printer,
) -> Result<StreamEnd, StreamError> {
    let resume: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
    let body = Some(parameters.to_owned());
    let mut reply = client.send(Method::POST, ROUTE, &resume, body, &[StatusCode::GONE])?;
    if reply.status == StatusCode::GONE {
        return Err(StreamError::Cleared { oldest: oldest(client, &mut reply)? });
    }
    *is_unavailable = false;
    if last.is_none() {
        let start = reply.headers.get("moca-cursor").and_then(|cursor| cursor.to_str().ok());
        *last = start.map(str::to_owned);
    }
    let mut events = Vec::new();
    loop {
        // Flushes the output before the next wait.
        printer.flush()?;
        match reply.chunk_or(&mut *output_closed)? {
            Err(_) => return Ok(StreamEnd::OutputClosed),
            Ok(None) => return Ok(StreamEnd::Ended),
            Ok(Some(chunk)) => events.extend_from_slice(&chunk),
        }
        print_events(&mut events, last, printer)?;
        if events.len() > MAX_EVENT_BYTES {
            return Err(client.broken("an event without an end").into());
        }
    }
}

/// Prints the complete events and removes them from the buffer.
fn print_events(events: &mut Vec<u8>, last: &mut Option<String>, printer: &mut Printer) -> Result<(), Error> {
    let mut begin = 0;
    let mut id: Option<&[u8]> = None;
    for end in memchr::memmem::find_iter(events, b"\n\n") {
        for line in events[begin..end].split(|byte| *byte == b'\n') {
            if let Some(value) = line.strip_prefix(b"id: ") {
                id = Some(value);
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                printer.log_lines(data)?;
                printer.log_lines(b"\n")?;
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

/// Reads the cursor of the oldest remaining record from a problem document.
fn oldest(client: &AdminClient, reply: &mut Reply<'_>) -> Result<String, Error> {
    let problem = reply.problem();
    let oldest = problem.get("oldest").and_then(Value::as_str);
    oldest.map(str::to_owned).ok_or_else(|| client.broken("the reply does not say which records are left"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_are_printed_complete_however_the_stream_is_cut(cuts in prop::collection::vec(1_usize..40, 0..20)) {
            let text = b"retry: 1000\n\nid: A\ndata: one\n\n:\n\nid: B\ndata: two\n\nid: C\ndata: half";
            let (mut events, mut last, mut printer) = (Vec::new(), None, Printer::plain());
            let mut rest = &text[..];
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                events.extend_from_slice(piece);
                print_events(&mut events, &mut last, &mut printer).unwrap();
                rest = behind;
            }
            events.extend_from_slice(rest);
            print_events(&mut events, &mut last, &mut printer).unwrap();
            prop_assert_eq!(last.as_deref(), Some("B"), "not before its event is whole");
            prop_assert_eq!(&events[..], b"id: C\ndata: half");
        }
    }
}
