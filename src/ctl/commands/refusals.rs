//! `mocactl refusals`: prints the latest refused requests of a log, and why they were refused.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Align, Cell, Colour, Printer, output_closed, print_note};
use crate::exit::Exit;

/// Arguments of `refusals`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the log; optional when only one is switched on
    #[arg(value_name = "NAME")]
    name: Option<LogName>,
    /// Go on with the requests that are refused from now on
    #[arg(short, long)]
    follow: bool,
    /// Print JSON: an array, or with --follow one object a line
    #[arg(long)]
    json: bool,
}

/// Time between two requests while following.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Time until the next request while the instance cannot be reached.
const UNAVAILABLE_DELAY: Duration = Duration::from_secs(1);

/// Maximum size of the answer. Each of its 200 entries has a few hundred characters.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// One refused request, as the instance reports it.
#[derive(Debug, Deserialize, Serialize)]
struct Refused {
    time: String,
    client: String,
    /// The name of the key, if the request presented a known one.
    key: Option<String>,
    /// `None` when the bytes were no request.
    method: Option<String>,
    route: Option<String>,
    status: u16,
    reason: String,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let name = LogSelection::load(directories)?.one(args.name.as_ref())?;
    let client = AdminClient::new(directories, &name)?;
    let (latest, cursor) = latest(&client, None)?;
    if args.follow {
        return follow(args, &client, &latest, cursor, printer);
    }
    if args.json {
        printer.json(&latest)?;
    } else if latest.is_empty() {
        print_note("No request was refused since the start of the service.");
    } else {
        let rows: Vec<Vec<Cell>> = latest.iter().map(cells).collect();
        printer.table(&HEADING, &rows)?;
    }
    Ok(0)
}

/// Prints `latest`, and then later refusals, until the reader of the output closes it.
fn follow(
    args: &Args,
    client: &AdminClient,
    latest: &[Refused],
    mut cursor: String,
    printer: &mut Printer,
) -> Outcome {
    let mut output_closed = output_closed();
    let mut is_unavailable = false;
    let mut widths = HEADING.map(|(title, _)| title.len());
    if args.json {
        printer.expect_json();
    }
    print_new(args, latest, &mut widths, true, printer)?;
    loop {
        printer.flush()?;
        let delay = if is_unavailable { UNAVAILABLE_DELAY } else { POLL_INTERVAL };
        if client.block_on(async { tokio::time::timeout(delay, &mut output_closed).await }).is_ok() {
            return Ok(0);
        }
        match self::latest(client, Some(&cursor)) {
            Ok((new, end)) => {
                print_new(args, &new, &mut widths, false, printer)?;
                (cursor, is_unavailable) = (end, false);
            }
            Err(error @ Error::Failed { exit: Exit::Unavailable | Exit::TempFail, .. }) => {
                // A restart is short. The note is printed once.
                if !is_unavailable {
                    print_note(format_args!("mocactl: {error}; waiting for it"));
                }
                is_unavailable = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the refused requests behind the cursor, and the cursor behind them.
fn latest(client: &AdminClient, after: Option<&str>) -> Result<(Vec<Refused>, String), Error> {
    let target = after.map_or_else(|| "/refusals".to_owned(), |after| format!("/refusals?after={after}"));
    let mut reply = client.send(Method::GET, &target, &[], None, &[])?;
    let cursor = reply.headers.get("moca-cursor").and_then(|cursor| cursor.to_str().ok());
    let cursor = cursor.unwrap_or_default().to_owned();
    let body = reply.bytes(MAX_ANSWER_BYTES)?;
    let all = serde_json::from_slice(&body).map_err(|error| client.broken(error))?;
    Ok((all, cursor))
}

const HEADING: [(&str, Align); 7] = [
    ("TIME", Align::Left),
    ("CLIENT", Align::Left),
    ("KEY", Align::Left),
    ("METHOD", Align::Left),
    ("ROUTE", Align::Left),
    ("STATUS", Align::Right),
    ("REASON", Align::Left),
];

fn cells(refused: &Refused) -> Vec<Cell> {
    let Refused { time, client, key, method, route, status, reason } = refused;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let colour = if *status < 500 { Colour::Yellow } else { Colour::Red };
    vec![
        Cell::plain(time),
        Cell::plain(client),
        Cell::plain(known(key)),
        Cell::plain(known(method)),
        Cell::plain(known(route)),
        Cell::painted(colour, status.to_string()),
        Cell::plain(reason),
    ]
}

/// Prints requests while following. The columns are as wide as the longest cell so far.
fn print_new(
    args: &Args,
    new: &[Refused],
    widths: &mut [usize; HEADING.len()],
    is_first: bool,
    printer: &mut Printer,
) -> Result<(), Error> {
    if args.json {
        for refused in new {
            let line = serde_json::to_value(refused).unwrap_or(Value::Null).to_string();
            printer.bytes(format!("{line}\n").as_bytes())?;
        }
        return Ok(());
    }
    // A row of blanks keeps the widths of the columns.
    let blank = widths.map(|width| Cell::plain(" ".repeat(width))).to_vec();
    let rows: Vec<Vec<Cell>> = std::iter::once(blank).chain(new.iter().map(cells)).collect();
    for (width, column) in widths.iter_mut().zip(0..) {
        let texts = rows.iter().filter_map(|row| row.get(column));
        *width = texts.map(|cell| cell.text.chars().count()).max().unwrap_or(*width).min(MAX_COLUMN_WIDTH);
    }
    let lines = printer.lines_of_table(&HEADING, &rows, "  ", None);
    if is_first {
        lines.iter().take(1).try_for_each(|heading| printer.styled_line(heading))?;
    }
    lines.iter().skip(2).try_for_each(|line| printer.styled_line(line))
}

/// Maximum width that a column keeps for later rows.
const MAX_COLUMN_WIDTH: usize = 40;
