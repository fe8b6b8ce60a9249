//! `mocactl run`, `start`, `stop` and `restart`.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::geteuid;

use crate::config::LogName;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::Logs;
use crate::ctl::paths::Places;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::Units;
use crate::ctl::ui::output::{Out, remark};
use crate::exit::Exit;

const SERVER: &str = "moca-file-log";

/// Becomes the server of this log.
pub(crate) fn run(name: &str, places: &Places) -> Outcome {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(SERVER));
    let server = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(SERVER));
    let mut command = Command::new(&server);
    command.arg("--config-dir").arg(&places.config).arg("--log-dir").arg(&places.logs);
    command.arg("--state-dir").arg(&places.state).arg("--").arg(name);
    // What root wrote, the service could not go on with.
    if let (true, Ok(state)) = (geteuid().is_root(), std::fs::metadata(&places.state))
        && state.uid() != 0
    {
        let (owner, group) = (state.uid(), state.gid());
        remark(format_args!("mocactl: running as user {owner}, who owns {}", places.state.display()));
        command.uid(owner).gid(group);
    }
    // only comes back when it did not work
    let error = command.exec();
    Err(Error::of_program(&server.to_string_lossy(), &error))
}

/// Starts the logs: their sockets listen from then on.
pub(crate) fn start(names: &[LogName], places: &Places, out: &mut Out) -> Outcome {
    let logs = Logs::load(places)?;
    let names = logs.select(names)?;
    for name in &names {
        if !logs.known(name)?.status {
            let message =
                format!("the log {:?} is switched off: \"status\": false in log.json", name.as_str());
            return Err(Error::new(Exit::Config, message));
        }
    }
    systemctl::run(out, &["start"], &all_units(&names)?)
}

/// Stops the logs with their sockets, so that no request starts them again. A log that stands in `log.json` no more
/// can be stopped as well.
pub(crate) fn stop(names: &[LogName], places: &Places, out: &mut Out) -> Outcome {
    let names = if names.is_empty() { Logs::load(places)?.select(&[])? } else { names.to_vec() };
    systemctl::run(out, &["stop"], &all_units(&names)?)
}

/// Restarts the services; their sockets stay open, so nobody is refused meanwhile.
pub(crate) fn restart(names: &[LogName], places: &Places, out: &mut Out) -> Outcome {
    let names = Logs::load(places)?.select(names)?;
    let services: Result<Vec<String>, Error> =
        names.iter().map(|name| Units::of(name).map(|units| units.service)).collect();
    systemctl::run(out, &["restart"], &services?)
}

fn all_units(names: &[LogName]) -> Result<Vec<String>, Error> {
    let mut all = Vec::with_capacity(3 * names.len());
    for name in names {
        let Units { service, socket, admin } = Units::of(name)?;
        all.extend([socket, admin, service]);
    }
    Ok(all)
}
