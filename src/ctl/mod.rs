//! Implements `mocactl`, the operator's tool.
//!
//! Each command has a file in `commands`. Commands change units through `systemctl` (`system`), ask
//! running instances over their admin sockets (`client`), and edit configuration files (`edit`).
//!
//! The tool uses the configuration and the rules of the guard, and no other part of the server. It
//! never passes the name of a log to a shell. A command ends with a status of `sysexits.h`, or with
//! the status of the program that it runs.

mod cli;
mod client;
mod commands;
mod edit;
mod error;
mod examples;
mod foreign_lines;
mod lint;
mod log_selection;
mod paths;
mod reconcile;
mod record_selection;
mod start_errors;
mod system;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use self::cli::{Cli, PackageCli};
use self::error::Error;
use self::examples::with_examples;
use self::ui::output::{Printer, print_note};
use crate::exit::Exit;

/// Runs the command that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    let mut printer = Printer::stdout();
    let outcome = if std::env::args_os().nth(1).is_some_and(|first| first == "generate") {
        PackageCli::try_parse_from(std::env::args_os().skip(1))
            .map(|cli| commands::completions::generate(&cli.what, &with_examples(Cli::command())))
    } else {
        let cli = with_examples(Cli::command());
        let parsed = cli.clone().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
        parsed.map(|Cli { directories, command }| commands::run(command, &cli, &directories, &mut printer))
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // The result does not matter, because the message cannot be shown if printing fails.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let outcome = outcome.and_then(|status| printer.finish().map(|()| status));
    let status = outcome.unwrap_or_else(|error: Error| {
        // The buffered output must come before the message of the failure.
        drop(printer.finish());
        if !error.is_silent() {
            print_note(format_args!("mocactl: {error}"));
        }
        error.status()
    });
    ExitCode::from(status)
}
