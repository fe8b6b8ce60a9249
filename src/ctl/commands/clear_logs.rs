//! `mocactl clear-logs`: removes every record of a log through its running instance.

use http::Method;

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogSelection, for_each_log};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::Printer;
use crate::ctl::ui::prompt;
use crate::exit::Exit;

/// Arguments of `clear-logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of logs; without a name, all that are switched on, after you typed `all`
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// All logs that are switched on, as --yes or a script without a terminal needs it
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let names = LogSelection::load(directories)?.select(&args.names)?;
    if !is_confirmed(args, &names)? {
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

/// Asks the operator, unless the options answer. A mistyped or forgotten name must not clear every
/// log, so all logs need more than `--yes`.
fn is_confirmed(args: &Args, names: &[LogName]) -> Result<bool, Error> {
    let listed: Vec<&str> = names.iter().map(LogName::as_str).collect();
    let question = format!("Remove every line of {}?", listed.join(", "));
    if !args.names.is_empty() {
        return prompt::confirm(&question, args.yes);
    }
    let asks = prompt::is_possible() && !args.yes;
    match (args.all, asks) {
        (_, true) => prompt::confirm_by_word(&question, "all"),
        (true, false) => Ok(true),
        (false, false) => {
            let message = format!("no log is named; name it, or pass --all to clear {}", listed.join(", "));
            Err(Error::new(Exit::Usage, message))
        }
    }
}
