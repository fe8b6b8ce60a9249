//! `mocactl clear-logs`, through the instance of a log.

use crate::config::LogName;
use crate::ctl::client::admin::Admin;
use crate::ctl::error::Outcome;
use crate::ctl::log_selection::{Logs, each};
use crate::ctl::paths::Places;
use crate::ctl::ui::output::Out;
use crate::ctl::ui::prompt;

/// Arguments of `clear-logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The logs; all that are switched on when none is named
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, places: &Places, out: &mut Out) -> Outcome {
    let names = Logs::load(places)?.select(&args.names)?;
    let listed: Vec<&str> = names.iter().map(LogName::as_str).collect();
    if !prompt::confirm(&format!("Remove every line of {}?", listed.join(", ")), args.yes)? {
        return Ok(1);
    }
    each(&names, |name| {
        Admin::new(places, name).send("POST", "/moca-file-log/clear-logs", &[], None, &[])?;
        out.line(format_args!("{name}: every line is removed"))
    })
}
