//! `mocactl stop`: stops the sockets and services of logs.

use crate::ctl::error::Outcome;
use crate::ctl::log_selection::{LogNames, LogSelection};
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::all_units;
use crate::ctl::ui::output::Printer;

/// Stops the logs with their sockets, so that no request starts them again. A log that was removed
/// from `log.json` can be stopped as well.
pub(crate) fn run(args: &LogNames, directories: &Directories, printer: &mut Printer) -> Outcome {
    let names = if args.names.is_empty() {
        LogSelection::load(directories)?.select(&[])?
    } else {
        args.names.clone()
    };
    systemctl::run_or_explain(printer, "stop", &all_units(&names)?)
}
