//! `mocactl block`: manages the addresses and networks that running instances refuse.

use clap::Subcommand;
use http::Method;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::Outcome;
use crate::ctl::log_selection::{LogSelection, for_each_log};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Align, Cell, Printer, print_note};
use crate::guard::{BlockedAddress, NotBlockable};

/// The commands about addresses that the service or the operator blocked. The service blocks a
/// client of IPv6 by its network (/64). The addresses in ip_blacklist.json are changed in that file.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the blocked addresses: since when and why
    List {
        /// Names of logs; without a name, all that are switched on
        #[arg(value_name = "NAME")]
        names: Vec<LogName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Block an address: every request from it is refused
    Add {
        /// The IP address, or a /64 of IPv6
        #[arg(value_parser = blockable)]
        address: String,
        /// Names of logs; without a name, all that are switched on
        #[arg(value_name = "NAME")]
        names: Vec<LogName>,
    },
    /// Unblock an address
    Remove {
        /// The IP address or network, as `list` shows it
        #[arg(value_parser = blockable)]
        address: String,
        /// Names of logs; without a name, all that are switched on
        #[arg(value_name = "NAME")]
        names: Vec<LogName>,
    },
}

/// Describes a blocked address, as the instance reports it.
#[derive(Debug, Deserialize, Serialize)]
struct Blocked {
    address: BlockedAddress,
    /// Seconds since 1970-01-01 UTC.
    since: u64,
    reason: String,
}

#[derive(Serialize)]
struct BlockedIn<'a> {
    log: &'a str,
    #[serde(flatten)]
    blocked: &'a Blocked,
}

/// Holds the answer of an instance to a change.
#[derive(Deserialize)]
struct Changed {
    changed: bool,
    /// The entry that blocks the address after a removal.
    blocked_by: Option<String>,
}

/// Checks an address as the list can hold it, and returns it as it was written.
fn blockable(text: &str) -> Result<String, NotBlockable> {
    text.parse::<BlockedAddress>().map(|_| text.to_owned())
}

pub(crate) fn run(command: &Command, directories: &Directories, printer: &mut Printer) -> Outcome {
    let logs = LogSelection::load(directories)?;
    match command {
        Command::List { names, json } => list(&logs.select(names)?, *json, directories, printer),
        Command::Add { address, names } => for_each_log(&logs.select(names)?, |name| {
            let body = json!({ "address": address });
            let Changed { changed, .. } =
                AdminClient::new(directories, name)?.value_for(Method::POST, "/admin/blocked", &body)?;
            printer.line(format_args!(
                "{name}: {address} {}",
                if changed { "is blocked" } else { "was blocked already" }
            ))
        }),
        Command::Remove { address, names } => for_each_log(&logs.select(names)?, |name| {
            let target = format!("/admin/blocked?address={}", utf8_percent_encode(address, NON_ALPHANUMERIC));
            let answer: Changed = AdminClient::new(directories, name)?.value(Method::DELETE, &target)?;
            let what = match (answer.changed, answer.blocked_by) {
                (true, None) => "is let in again".to_owned(),
                (true, Some(network)) => format!("has no entry any more, but {network} is blocked"),
                (false, Some(network)) => format!("has no entry; it is blocked with {network}: remove that"),
                (false, None) => "was not blocked by the service; see ip_blacklist.json".to_owned(),
            };
            printer.line(format_args!("{name}: {address} {what}"))
        }),
    }
}

fn list(names: &[LogName], json: bool, directories: &Directories, printer: &mut Printer) -> Outcome {
    let mut all: Vec<(&LogName, Vec<Blocked>)> = Vec::new();
    let status = for_each_log(names, |name| {
        all.push((name, AdminClient::new(directories, name)?.value(Method::GET, "/admin/blocked")?));
        Ok(())
    })?;
    let entries = all.iter().flat_map(|(name, list)| list.iter().map(move |blocked| (*name, blocked)));
    if json {
        let entries: Vec<BlockedIn<'_>> =
            entries.map(|(name, blocked)| BlockedIn { log: name.as_str(), blocked }).collect();
        printer.json(&entries)?;
        return Ok(status);
    }
    let rows: Vec<Vec<Cell>> = entries
        .map(|(name, blocked)| {
            vec![
                Cell::plain(name.as_str()),
                Cell::plain(blocked.address.to_string()),
                Cell::plain(date(blocked.since)),
                Cell::plain(crate::record::Escaped(&blocked.reason).to_string()),
            ]
        })
        .collect();
    if rows.is_empty() {
        // After a failure it is not known.
        if status == 0 {
            print_note("No address is blocked.");
        }
        return Ok(status);
    }
    let heading =
        [("LOG", Align::Left), ("ADDRESS", Align::Left), ("SINCE", Align::Left), ("REASON", Align::Left)];
    printer.table(&heading, &rows)?;
    Ok(status)
}

fn date(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| seconds.to_string(), |timestamp| timestamp.strftime("%F %T UTC").to_string())
}
