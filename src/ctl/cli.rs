//! The definition of the command line: help, man pages and completions are made from it.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::config::LogName;
use crate::ctl::commands::apply::Apply;
use crate::ctl::commands::block::BlockCommand;
use crate::ctl::commands::check::Check;
use crate::ctl::commands::clear_logs::Clear;
use crate::ctl::commands::completions::Generate;
use crate::ctl::commands::get::Get;
use crate::ctl::commands::key::KeyCommand;
use crate::ctl::commands::reset_system::Reset;
use crate::ctl::commands::status::Status;
use crate::ctl::commands::tail::Tail;
use crate::ctl::commands::top::Top;
use crate::ctl::commands::update::UpdateSystem;
use crate::ctl::paths::Places;

const EXIT_STATUS: &str = "\
Exit status: 0 on success, else one of sysexits.h: 64 usage, 65 data, 66 no such log, key or file, 69 not running, \
75 try again, 77 not permitted, 78 configuration. `start`, `stop`, `restart` and `status` end with the status of \
systemctl, `update` and `update-system` with that of apt-get.";

/// The operator's tool of MocaFileLog: logs, keys, maintenance, updates.
#[derive(Debug, Parser)]
#[command(name = "mocactl", version, after_long_help = EXIT_STATUS)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// The logs that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Names {
    /// The logs; all that are switched on when none is named
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<LogName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Print the version
    Version {
        /// Only the number
        #[arg(long)]
        only_number: bool,
        /// Print JSON
        #[arg(long, conflicts_with = "only_number")]
        json: bool,
    },
    /// Serve one log in the foreground, hooks included
    Run {
        /// The log
        name: String,
    },
    /// Start logs: their sockets listen, their services run
    Start(Names),
    /// Stop logs, their sockets as well: no request starts them again
    Stop(Names),
    /// Restart the services of logs; their sockets stay open
    Restart(Names),
    /// Show what logs do: state, address, records a second, size, maintenance, blocked addresses
    Status(Status),
    /// Show what logs do, live: rates, queue, syncs, followers, disk, maintenance
    ///
    /// REC/S and B/S are records and bytes stored a second, REF/S requests that were refused, LIM/S those refused by a
    /// limit of their key. QUEUE is bytes that wait to be written; 99 of 100 syncs took no longer than P99. FOLL
    /// follow the log, CONN are connected. FREE is what the disk has left, SIZE what all lines take, MNT
    /// maintenance. k, M, G are powers of 1000.
    ///
    /// q ends it, left and right choose the column to sort by, r reverses the order, up and down scroll.
    Top(Top),
    /// Begin maintenance: requests are answered 503, also after a restart
    TurnOff(Names),
    /// End maintenance
    TurnOn(Names),
    /// Remove every line of logs
    ClearLogs(Clear),
    /// Install the newest version that apt has
    Update,
    /// Install a newer version, from apt or from a package file
    UpdateSystem(UpdateSystem),
    /// Put configuration and data back to what was shipped, after an archive of both
    ResetSystem(Reset),
    /// Judge every configuration file as the server does
    Check(Check),
    /// Manage the keys with which records are sent
    #[command(subcommand)]
    Key(KeyCommand),
    /// Set the root password: asks twice, or reads one line from stdin
    Passwd,
    /// Manage blocked addresses
    #[command(subcommand)]
    Block(BlockCommand),
    /// Print the lines of a log, the oldest first
    Get(Get),
    /// Print the latest lines of a log, and those that come
    Tail(Tail),
    /// Bring what log.json says now into force: new, moved, removed and switched-off logs
    Apply(Apply),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Make what a package ships
    #[command(subcommand, hide = true)]
    Generate(Generate),
}
