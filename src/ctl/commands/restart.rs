//! `mocactl restart`: restarts the services of logs.

use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogNames, LogSelection};
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::Units;
use crate::ctl::ui::output::Printer;

/// Restarts the services. Their sockets stay open, so no request is refused meanwhile.
pub(crate) fn run(args: &LogNames, directories: &Directories, printer: &mut Printer) -> Outcome {
    let names = LogSelection::load(directories)?.select(&args.names)?;
    let services: Result<Vec<String>, Error> =
        names.iter().map(|name| Units::of(name).map(|units| units.service)).collect();
    systemctl::run_or_explain(printer, "restart", &services?)
}
