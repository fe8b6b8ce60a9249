//! `mocactl stop`.

use crate::ctl::error::Outcome;
use crate::ctl::log_selection::{LogNames, Logs};
use crate::ctl::paths::Places;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::all_units;
use crate::ctl::ui::output::Out;

/// Stops the logs with their sockets, so that no request starts them again. A log that stands in `log.json` no more
/// can be stopped as well.
pub(crate) fn run(args: &LogNames, places: &Places, out: &mut Out) -> Outcome {
    let names = if args.names.is_empty() { Logs::load(places)?.select(&[])? } else { args.names.clone() };
    systemctl::run(out, &["stop"], &all_units(&names)?)
}
