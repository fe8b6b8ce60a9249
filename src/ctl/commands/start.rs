//! `mocactl start`: starts the sockets and services of logs.

use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogNames, LogSelection};
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::all_units;
use crate::ctl::ui::output::Printer;
use crate::exit::Exit;

/// Starts the logs. Fails for a log that is switched off.
pub(crate) fn run(args: &LogNames, directories: &Directories, printer: &mut Printer) -> Outcome {
    let logs = LogSelection::load(directories)?;
    let names = logs.select(&args.names)?;
    for name in &names {
        if !logs.known(name)?.status {
            let message =
                format!("the log {:?} is switched off: \"status\": false in log.json", name.as_str());
            return Err(Error::new(Exit::Config, message));
        }
    }
    systemctl::run_or_explain(printer, "start", &all_units(&names)?)
}
