//! `mocactl clear-logs`, through the instance of a log.

use clap::Args;

use crate::config::LogName;
use crate::ctl::client::admin::Admin;
use crate::ctl::commands::block::each;
use crate::ctl::error::Outcome;
use crate::ctl::log_selection::Logs;
use crate::ctl::paths::Places;
use crate::ctl::ui::output::Out;
use crate::ctl::ui::prompt;

/// Arguments of `clear-logs`.
#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The logs; all that are switched on when none is named
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn clear(clear: &Clear, places: &Places, out: &mut Out) -> Outcome {
    let names = Logs::load(places)?.select(&clear.names)?;
    let listed: Vec<&str> = names.iter().map(LogName::as_str).collect();
    if !prompt::confirm(&format!("Remove every line of {}?", listed.join(", ")), clear.yes)? {
        return Ok(1);
    }
    each(&names, |name| {
        Admin::new(&places.run, name).send("POST", "/moca-file-log/clear-logs", &[], None, &[])?;
        out.line(format_args!("{name}: every line is removed"))
    })
}
