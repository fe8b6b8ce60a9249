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
mod system;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, CliCommand};
use self::commands::{
    apply, block, check, clear_logs, completions, get, key, maintenance, passwd, reset_system, services,
    status, tail, top, update,
};
use self::error::{Error, Outcome};
use self::ui::output::{Out, remark};
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
    let mut out = Out::stdout();
    let outcome = run(cli, &mut out).and_then(|status| out.flush().map(|()| status));
    let status = outcome.unwrap_or_else(|error: Error| {
        // what was said before the failure comes before it
        drop(out.flush());
        if !error.is_silent() {
            remark(format_args!("mocactl: {error}"));
        }
        error.status()
    });
    ExitCode::from(status)
}

fn run(cli: Cli, out: &mut Out) -> Outcome {
    let Cli { places, command } = cli;
    match command {
        CliCommand::Version { only_number, json } => version(only_number, json, out),
        CliCommand::Run { name } => services::run(&name, &places),
        CliCommand::Start(names) => services::start(&names.names, &places, out),
        CliCommand::Stop(names) => services::stop(&names.names, &places, out),
        CliCommand::Restart(names) => services::restart(&names.names, &places, out),
        CliCommand::Status(arguments) => status::run(&arguments, &places, out),
        CliCommand::Top(arguments) => top::run(&arguments, &places, out),
        CliCommand::TurnOff(names) => maintenance::run(true, &names.names, &places, out),
        CliCommand::TurnOn(names) => maintenance::run(false, &names.names, &places, out),
        CliCommand::ClearLogs(arguments) => clear_logs::clear(&arguments, &places, out),
        CliCommand::Update => update::update(out),
        CliCommand::UpdateSystem(arguments) => update::update_system(&arguments, out),
        CliCommand::ResetSystem(arguments) => reset_system::run(&arguments, &places, out),
        CliCommand::Check(arguments) => check::run(&arguments, &places, out),
        CliCommand::Key(command) => key::run(command, &places, out),
        CliCommand::Passwd => passwd::run(&places),
        CliCommand::Block(command) => block::run(&command, &places, out),
        CliCommand::Get(arguments) => get::run(&arguments, &places, out),
        CliCommand::Tail(arguments) => tail::run(&arguments, &places, out),
        CliCommand::Apply(arguments) => apply::apply(&arguments, &places, out),
        CliCommand::Completions { shell } => completions::completions(shell, out),
        CliCommand::Generate(what) => completions::run(&what),
    }
}

fn version(only_number: bool, json: bool, out: &mut Out) -> Outcome {
    let number = env!("CARGO_PKG_VERSION");
    if json {
        out.json(&serde_json::json!({ "name": "MocaFileLog", "version": number }))?;
    } else if only_number {
        out.line(number)?;
    } else {
        out.line(format_args!("MocaFileLog ({number})"))?;
    }
    Ok(0)
}
