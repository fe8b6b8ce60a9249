//! `mocactl clear-logs`, through the instance of a log.

use clap::Args;

use super::admin::Admin;
use super::ask;
use super::block::each;
use super::error::Outcome;
use super::logs::Logs;
use super::out::Out;
use super::places::Places;
use crate::config::LogName;

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
    if !ask::confirm(&format!("Remove every line of {}?", listed.join(", ")), clear.yes)? {
        return Ok(1);
    }
    each(&names, |name| {
        Admin::new(&places.run, name).send("POST", "/moca-file-log/clear-logs", &[], None, &[])?;
        out.line(format_args!("{name}: every line is removed"))
    })
}
