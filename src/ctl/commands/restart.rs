//! `mocactl restart`.

use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogNames, Logs};
use crate::ctl::paths::Places;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::Units;
use crate::ctl::ui::output::Out;

/// Restarts the services; their sockets stay open, so nobody is refused meanwhile.
pub(crate) fn run(args: &LogNames, places: &Places, out: &mut Out) -> Outcome {
    let names = Logs::load(places)?.select(&args.names)?;
    let services: Result<Vec<String>, Error> =
        names.iter().map(|name| Units::of(name).map(|units| units.service)).collect();
    systemctl::run(out, &["restart"], &services?)
}
