//! `mocactl key`: manages the keys of clients.

mod add;
mod explain;
mod list;
mod revoke;
mod steps;

use clap::Subcommand;

use crate::ctl::error::Outcome;
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::Printer;

/// The commands about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the names, hashes and permissions of keys
    List(list::Args),
    /// Make a key, print it once, and store its hash
    Add(add::Args),
    /// Remove a key: requests with it are refused
    Revoke(revoke::Args),
    /// Show which rule admits or refuses a request
    Explain(explain::Args),
}

pub(crate) fn run(command: &Command, directories: &Directories, printer: &mut Printer) -> Outcome {
    match command {
        Command::List(args) => list::run(args, directories, printer),
        Command::Add(args) => add::run(args, directories, printer),
        Command::Revoke(args) => revoke::run(args, directories),
        Command::Explain(args) => explain::run(args, directories, printer),
    }
}
