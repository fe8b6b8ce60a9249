//! `mocactl get`: prints all records of a log, or a selection, through its running instance.

use std::num::NonZeroU64;

use clap::ValueEnum;
use http::Method;
use serde_json::{Value, json};

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::Outcome;
use crate::ctl::foreign_lines::{has_condition, note_nothing_found};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::record_selection::RecordSelection;
use crate::ctl::ui::output::Printer;

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the log; optional when only one is switched on
    name: Option<LogName>,
    /// Only the latest COUNT records, the oldest of them first
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with_all = ["limit", "order"])]
    lines: Option<u64>,
    /// First time: RFC 3339, a date, an age such as 15m or 2h, or yesterday 03:00
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End time, itself not included
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    selection: RecordSelection,
    /// Maximum number of records
    #[arg(long, value_name = "COUNT")]
    limit: Option<NonZeroU64>,
    /// Oldest records first, or newest first
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Start after the record with this cursor, in the order of the output
    #[arg(long)]
    cursor: Option<String>,
    /// Lines as in the file, one array of objects, or one object a line
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Same as --output ndjson
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Ndjson,
}

impl Args {
    /// Returns the route and the parameters of the request.
    fn request(&self) -> (&'static str, Value) {
        let mut all = self.selection.parameters();
        for (name, value) in [("since", &self.since), ("until", &self.until), ("cursor", &self.cursor)] {
            all.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        let output = match self.output {
            Output::Text if self.json => "ndjson",
            Output::Text => "text",
            Output::Json => "json",
            Output::Ndjson => "ndjson",
        };
        all.insert("output".to_owned(), json!(output));
        all.extend(self.limit.map(|limit| ("limit".to_owned(), json!(limit))));
        all.extend(self.order.map(|order| {
            let order = match order {
                Order::Asc => "asc",
                Order::Desc => "desc",
            };
            ("order".to_owned(), json!(order))
        }));
        let route = match self.lines {
            Some(count) => {
                all.insert("limit".to_owned(), json!(count));
                all.insert("order".to_owned(), json!("asc"));
                "/moca-file-log/get-latest-logs"
            }
            None => "/moca-file-log/get-logs",
        };
        (route, Value::Object(all))
    }
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let name = LogSelection::load(directories)?.one(args.name.as_ref())?;
    if args.lines == Some(0) {
        return Ok(0);
    }
    let client = AdminClient::new(directories, &name)?.without_read_timeout();
    let (route, parameters) = args.request();
    let mut reply = client.send(Method::POST, route, &[], Some(parameters.to_string()), &[])?;
    let is_text = !args.json && args.output == Output::Text;
    if !is_text {
        printer.expect_json();
    }
    let mut last = b'\n';
    // An empty array of objects has two bytes.
    let mut len = 0;
    while let Some(chunk) = reply.chunk()? {
        len += chunk.len();
        last = *chunk.last().unwrap_or(&last);
        if is_text {
            printer.log_lines(&chunk)?;
        } else {
            printer.bytes(&chunk)?;
        }
    }
    if last != b'\n' {
        printer.log_lines(b"\n")?;
    }
    if len <= 2 && args.cursor.is_none() && has_condition(&parameters) {
        printer.flush()?;
        note_nothing_found(&client, &name);
    }
    Ok(0)
}
