//! `mocactl start`.

use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogNames, Logs};
use crate::ctl::paths::Places;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::all_units;
use crate::ctl::ui::output::Out;
use crate::exit::Exit;

/// Starts the logs: their sockets listen from then on.
pub(crate) fn run(args: &LogNames, places: &Places, out: &mut Out) -> Outcome {
    let logs = Logs::load(places)?;
    let names = logs.select(&args.names)?;
    for name in &names {
        if !logs.known(name)?.status {
            let message =
                format!("the log {:?} is switched off: \"status\": false in log.json", name.as_str());
            return Err(Error::new(Exit::Config, message));
        }
    }
    systemctl::run(out, &["start"], &all_units(&names)?)
}
