//! The commands of `mocactl`, one file a command.

mod apply;
mod block;
mod check;
mod clear_logs;
mod completions;
mod get;
mod key;
mod maintenance;
mod passwd;
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
    /// Serve one log in the foreground, hooks included
    Run(run::Args),
    /// Start logs: their sockets listen, their services run
    Start(LogNames),
    /// Stop logs, their sockets as well: no request starts them again
    Stop(LogNames),
    /// Restart the services of logs; their sockets stay open
    Restart(LogNames),
    /// Show what logs do: state, address, records a second, size, maintenance, blocked addresses
    Status(status::Args),
    /// Show what logs do, live: rates, queue, syncs, followers, disk, maintenance
    ///
    /// REC/S and B/S are records and bytes stored a second, REF/S requests that were refused, LIM/S those refused by a
    /// limit of their key. QUEUE is bytes that wait to be written; 99 of 100 syncs took no longer than P99. FOLL
    /// follow the log, CONN are connected. FREE is what the disk has left, SIZE what all lines take, MNT
    /// maintenance. k, M, G are powers of 1000.
    ///
    /// q ends it, left and right choose the column to sort by, r reverses the order, up and down scroll.
    Top(top::Args),
    /// Begin maintenance: requests are answered 503, also after a restart
    TurnOff(LogNames),
    /// End maintenance
    TurnOn(LogNames),
    /// Remove every line of logs
    ClearLogs(clear_logs::Args),
    /// Install the newest version that apt has
    Update,
    /// Install a newer version, from apt or from a package file
    UpdateSystem(update::SystemArgs),
    /// Put configuration and data back to what was shipped, after an archive of both
    ResetSystem(reset_system::Args),
    /// Judge every configuration file as the server does
    Check(check::Args),
    /// Manage the keys with which records are sent
    #[command(subcommand)]
    Key(key::Command),
    /// Set the root password: asks twice, or reads one line from stdin
    Passwd,
    /// Manage blocked addresses
    #[command(subcommand)]
    Block(block::Command),
    /// Print the lines of a log, the oldest first
    Get(get::Args),
    /// Print the latest lines of a log, and those that come
    Tail(tail::Args),
    /// Bring what log.json says now into force: new, moved, removed and switched-off logs
    Apply(apply::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
    /// Make what a package ships
    #[command(subcommand, hide = true)]
    Generate(completions::Generate),
}

/// Runs a command. `cli` is the definition of the whole command line, which completions and man pages are made from.
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
        Command::ClearLogs(args) => clear_logs::run(&args, directories, printer),
        Command::Update => update::update(printer),
        Command::UpdateSystem(args) => update::update_system(&args, printer),
        Command::ResetSystem(args) => reset_system::run(&args, directories, printer),
        Command::Check(args) => check::run(&args, directories, printer),
        Command::Key(command) => key::run(&command, directories, printer),
        Command::Passwd => passwd::run(directories),
        Command::Block(command) => block::run(&command, directories, printer),
        Command::Get(args) => get::run(&args, directories, printer),
        Command::Tail(args) => tail::run(&args, directories, printer),
        Command::Apply(args) => apply::run(&args, directories, printer),
        Command::Completions(args) => completions::run(&args, cli, printer),
        Command::Generate(what) => completions::generate(&what, cli),
    }
}
