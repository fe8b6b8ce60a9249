//! Contains the commands of `mocactl`, one file for each command.

mod apply;
mod block;
mod check;
mod clear_logs;
pub(crate) mod completions;
mod get;
mod key;
mod maintenance;
mod passwd;
mod refusals;
mod reset_system;
mod restart;
mod run;
mod start;
mod status;
mod stop;
mod tail;
mod top;
mod update;
mod version;

use clap::Subcommand;

use crate::ctl::error::Outcome;
use crate::ctl::log_selection::LogNames;
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the version
    Version(version::Args),
    /// Serve one log in the foreground, with its hooks
    Run(run::Args),
    /// Start the sockets and services of logs
    Start(LogNames),
    /// Stop the sockets and services of logs, so that no request starts them again
    Stop(LogNames),
    /// Restart the services of logs; their sockets stay open
    Restart(LogNames),
    /// Show the status of logs: state, address, records a second, size, maintenance, blocked
    /// addresses
    Status(status::Args),
    /// Show live figures of logs: rates, queue, syncs, followers, disk, maintenance
    ///
    /// REC/S and B/S: records and bytes stored a second. REF/S: refused requests a second; LIM/S:
    /// those refused by a limit of their key. QUEUE: bytes that wait to be written. P99: 99 of 100
    /// syncs took no longer. FOLL: followers. CONN: connections. FREE: free bytes of the disk.
    /// SIZE: bytes of all records. MNT: maintenance. k, M and G are powers of 1000.
    ///
    /// Keys: q quits, left and right choose the column to sort by, r reverses the order, up and
    /// down scroll.
    Top(top::Args),
    /// Begin maintenance: requests get the status 503, also after a restart
    TurnOff(LogNames),
    /// End maintenance
    TurnOn(LogNames),
    /// Begin or end maintenance: other names of turn-off and turn-on
    #[command(subcommand)]
    Maintenance(maintenance::Command),
    /// Remove every record of logs
    ClearLogs(clear_logs::Args),
    /// Install the newest version that apt has
    Update(update::Args),
    /// Install a newer version, from apt or from a package file
    UpdateSystem(update::SystemArgs),
    /// Restore the shipped configuration and remove all data, after an archive of both
    ResetSystem(reset_system::Args),
    /// Check every configuration file as the server does, and warn of settings without effect
    Check(check::Args),
    /// Manage the keys of clients
    #[command(subcommand)]
    Key(key::Command),
    /// Set the root password: ask for it twice, or read one line of stdin
    Passwd,
    /// Manage blocked addresses
    #[command(subcommand)]
    Block(block::Command),
    /// Print the latest refused requests of a log: who sent them, and why they were refused
    Refusals(refusals::Args),
    /// Print the records of a log, the oldest first
    ///
    /// The fields of a record stand behind its message. On a terminal with colours they are dimmed.
    Get(get::Args),
    /// Print the latest records of a log and follow the new ones
    ///
    /// The fields of a record stand behind its message. On a terminal with colours they are dimmed. A
    /// line that another program appends to the file is printed within a second.
    Tail(tail::Args),
    /// Apply log.json and server.json: start, move and stop logs as they say now
    Apply(apply::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
}

/// Runs a command. `cli` is the definition of the whole command line, from which completions and
/// man pages are made.
pub(crate) fn run(
    command: Command,
    cli: &clap::Command,
    directories: &Directories,
    printer: &mut Printer,
) -> Outcome {
    match command {
        Command::Version(args) => version::run(&args, printer),
        Command::Run(args) => run::run(&args, directories),
        Command::Start(args) => start::run(&args, directories, printer),
        Command::Stop(args) => stop::run(&args, directories, printer),
        Command::Restart(args) => restart::run(&args, directories, printer),
        Command::Status(args) => status::run(&args, directories, printer),
        Command::Top(args) => top::run(&args, directories, printer),
        Command::TurnOff(args) => maintenance::run(true, &args, directories, printer),
        Command::TurnOn(args) => maintenance::run(false, &args, directories, printer),
        Command::Maintenance(command) => maintenance::run_alias(&command, directories, printer),
        Command::ClearLogs(args) => clear_logs::run(&args, directories, printer),
        Command::Update(args) => update::update(&args, printer),
        Command::UpdateSystem(args) => update::update_system(&args, printer),
        Command::ResetSystem(args) => reset_system::run(&args, directories, printer),
        Command::Check(args) => check::run(&args, directories, printer),
        Command::Key(command) => key::run(&command, directories, printer),
        Command::Passwd => passwd::run(directories),
        Command::Block(command) => block::run(&command, directories, printer),
        Command::Refusals(args) => refusals::run(&args, directories, printer),
        Command::Get(args) => get::run(&args, directories, printer),
        Command::Tail(args) => tail::run(&args, directories, printer),
        Command::Apply(args) => apply::run(&args, directories, printer),
        Command::Completions(args) => completions::run(&args, cli, printer),
    }
}
