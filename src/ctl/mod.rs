//! `mocactl`, the operator's tool: one file a command family, on two small clients: `systemctl` for what systemd does,
//! and the admin socket for what an instance knows.
//!
//! Knows the configuration and the rules of the guard, and nothing of the inside of the server. No name of a log ever
//! meets a shell; every command ends with a status of `sysexits.h`, or with that of the program it delegates to.

mod cli;
mod client;
mod commands;
mod edit;
mod error;
mod lint;
mod log_selection;
mod paths;
mod reconcile;
mod record_selection;
mod system;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::cli::Cli;
use self::error::Error;
use self::ui::output::{Printer, print_note};
use crate::exit::Exit;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // nothing can be said when even the terminal is gone
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let mut printer = Printer::stdout();
    let Cli { directories, command } = cli;
    let outcome = commands::run(command, &Cli::command(), &directories, &mut printer)
        .and_then(|status| printer.flush().map(|()| status));
    let status = outcome.unwrap_or_else(|error: Error| {
        // what was said before the failure comes before it
        drop(printer.flush());
        if !error.is_silent() {
            print_note(format_args!("mocactl: {error}"));
        }
        error.status()
    });
    ExitCode::from(status)
}
