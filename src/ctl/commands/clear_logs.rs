//! `mocactl clear-logs`: removes every record of a log through its running instance.

use http::Method;

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::Outcome;
use crate::ctl::log_selection::{LogSelection, for_each_log};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::Printer;
use crate::ctl::ui::prompt;

/// Arguments of `clear-logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of logs; without a name, all that are switched on
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let names = LogSelection::load(directories)?.select(&args.names)?;
    let listed: Vec<&str> = names.iter().map(LogName::as_str).collect();
    if !prompt::confirm(&format!("Remove every line of {}?", listed.join(", ")), args.yes)? {
        return Ok(1);
    }
    for_each_log(&names, |name| {
        AdminClient::new(directories, name)?.send(
            Method::POST,
            "/moca-file-log/clear-logs",
            &[],
            None,
            &[],
        )?;
        printer.line(format_args!("{name}: every line is removed"))
    })
}
