//! `mocactl status`: prints the state of every log.

use std::time::{Duration, Instant};

use http::Method;
use serde::{Deserialize, Serialize};

use crate::config::{Files, LogEntry, LogName, Sources};
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::system::instance_state::{RUNNING, State, StateReader};
use crate::ctl::system::systemctl;
use crate::ctl::system::units::Units;
use crate::ctl::ui::output::{Align, Cell, Colour, Printer, human_count, human_size, print_note};
use crate::exit::Exit;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of logs; without a name, all that are switched on
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Only the table, without the output of `systemctl status`
    #[arg(long)]
    table: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Time between the two samples from which records/s is computed.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Exit status of `systemctl status` when a unit is not active.
const NOT_ACTIVE: u8 = 3;

/// Holds the status that an instance reports.
#[derive(Debug, Deserialize, Serialize)]
struct Live {
    version: String,
    pid: u32,
    addresses: Vec<String>,
    uptime_seconds: u64,
    connections: u64,
    records: u64,
    size: u64,
    count: u64,
    maintenance: MaintenanceState,
    blocked: u64,
    reload_refused: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct MaintenanceState {
    on: bool,
    by_signal: bool,
    by_file: bool,
}

/// Holds one row of the table.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    state: &'static str,
    /// The address on which the instance listens, or the configured one.
    address: String,
    records_per_second: Option<f64>,
    live: Option<Live>,
    /// The reason why `live` is `None` although the instance runs.
    error: Option<String>,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let logs = LogSelection::load(directories)?;
    let names = logs.select(&args.names)?;
    let units: Vec<Units> = names.iter().map(Units::of).collect::<Result<_, _>>()?;
    let mut reader = StateReader::new(directories);
    let states = reader.read(&names)?;
    let scheme = if uses_tls(directories) { "https" } else { "http" };
    let mut rows = Vec::with_capacity(names.len());
    for (name, state) in names.iter().zip(&states) {
        rows.push(Row {
            name: name.to_string(),
            state: state.word,
            address: logs.known(name).map(|log| address(scheme, log))?,
            records_per_second: None,
            live: None,
            error: None,
        });
    }
    sample(&mut rows, &states, &names, directories);
    let active = rows.iter().all(|row| row.state == RUNNING);
    if args.json {
        printer.json(&rows)?;
        return Ok(if active { 0 } else { NOT_ACTIVE });
    }
    table(&rows, printer)?;
    printer.flush()?;
    for row in &rows {
        if let Some(error) = &row.error {
            print_note(format_args!("mocactl: {error}"));
        }
        if let Some(refused) = row.live.as_ref().and_then(|live| live.reload_refused.as_ref()) {
            let name = &row.name;
            print_note(format_args!(
                "{name}: the changed configuration was refused, the last good one is in force: {refused}"
            ));
        }
    }
    if args.table || !reader.has_systemd() {
        return Ok(if active { 0 } else { NOT_ACTIVE });
    }
    printer.line("")?;
    let services: Vec<String> = units.into_iter().map(|units| units.service).collect();
    systemctl::run(printer, &["status", "--no-pager", "--lines=5"], &services)
}

/// Asks the running instances twice and computes records/s from the difference. Asks no other
/// instance, because a request would start it.
fn sample(rows: &mut [Row], states: &[State], names: &[LogName], directories: &Directories) {
    let mut first = Vec::with_capacity(rows.len());
    for ((row, state), name) in rows.iter_mut().zip(states).zip(names) {
        let live = (row.state == RUNNING).then(|| live(name, directories)).and_then(|live| match live {
            Ok(live) => Some((live, Instant::now())),
            Err(error) => {
                row.note_silence(*state, &error);
                None
            }
        });
        first.push(live);
    }
    if first.iter().any(Option::is_some) {
        std::thread::sleep(SAMPLE_INTERVAL);
    }
    for ((row, name), before) in rows.iter_mut().zip(names).zip(first) {
        let Some((before, at)) = before else { continue };
        match live(name, directories) {
            // After a restart the count begins at zero, so the two samples must have the same
            // process.
            Ok(now) if now.pid == before.pid => {
                let new = now.records.saturating_sub(before.records);
                let rate = f64::from(u32::try_from(new).unwrap_or(u32::MAX)) / at.elapsed().as_secs_f64();
                row.records_per_second = Some((rate * 10.0).round() / 10.0);
                row.live = Some(now);
            }
            Ok(now) => row.live = Some(now),
            Err(_) => row.live = Some(before),
        }
        let addresses = row.live.iter().flat_map(|live| &live.addresses);
        if let Some(listening) = addresses.into_iter().find(|address| !address.starts_with("unix:")) {
            row.address.clone_from(listening);
        }
    }
}

impl Row {
    /// Notes that an instance which seemed to run did not answer.
    fn note_silence(&mut self, state: State, error: &Error) {
        match (state.unless_it_listens, error) {
            // The socket is left over from a process that has ended.
            (Some(word), Error::Failed { exit: Exit::Unavailable, .. }) => {
                self.state = word;
                return;
            }
            (Some(_), Error::Failed { exit: Exit::NoPerm, .. }) => self.state = "unknown",
            _ => {}
        }
        self.error = Some(error.to_string());
    }
}

/// Returns whether `server.json` names a certificate. A file that cannot be read counts as none.
fn uses_tls(directories: &Directories) -> bool {
    let server = std::fs::read_to_string(directories.config.join("server.json")).ok();
    let sources = Sources { server, log: Some("{}".to_owned()), ..Sources::default() };
    Files::parse(&sources).is_ok_and(|loaded| loaded.files.server.tls.is_some())
}

fn live(name: &LogName, directories: &Directories) -> Result<Live, Error> {
    AdminClient::new(directories, name)?.value(Method::GET, "/admin/status")
}

fn address(scheme: &str, log: &LogEntry) -> String {
    let host = log.host.trim_matches(['[', ']']);
    if host.contains(':') {
        format!("{scheme}://[{host}]:{}", log.port)
    } else {
        format!("{scheme}://{host}:{}", log.port)
    }
}

fn table(rows: &[Row], printer: &mut Printer) -> Result<(), Error> {
    let heading = [
        ("LOG", Align::Left),
        ("STATE", Align::Left),
        ("ADDRESS", Align::Left),
        ("RECORDS/S", Align::Right),
        ("LINES", Align::Right),
        ("SIZE", Align::Right),
        ("MAINTENANCE", Align::Left),
        ("BLOCKED", Align::Right),
    ];
    let cells: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
    printer.table(&heading, &cells)
}

fn cells(row: &Row) -> Vec<Cell> {
    let colour = match row.state {
        "running" => Colour::Green,
        "failed" => Colour::Red,
        "stopped" | "waiting" => Colour::Plain,
        _ => Colour::Yellow,
    };
    let of_live = |show: fn(&Live) -> String| row.live.as_ref().map_or_else(|| "-".to_owned(), show);
    let maintenance = match row.live.as_ref().map(|live| &live.maintenance) {
        None => Cell::plain("-"),
        Some(MaintenanceState { on: false, .. }) => Cell::plain("off"),
        Some(MaintenanceState { by_file: true, .. }) => Cell::painted(Colour::Yellow, "on (system.json)"),
        Some(_) => Cell::painted(Colour::Yellow, "on"),
    };
    let rate = row.records_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    vec![
        Cell::painted(Colour::Bold, &*row.name),
        Cell::painted(colour, row.state),
        Cell::plain(&*row.address),
        Cell::plain(rate),
        Cell::plain(of_live(|live| human_count(live.count))),
        Cell::plain(of_live(|live| human_size(live.size))),
        maintenance,
        Cell::plain(of_live(|live| human_count(live.blocked))),
    ]
}
