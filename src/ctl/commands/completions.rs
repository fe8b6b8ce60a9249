//! `mocactl completions`: prints the completions for a shell. The hidden `generate` writes the man
//! pages and completions of a package. Both are made from the definition of the command line.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::ctl::edit::secrets::fresh_secrets;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::ui::output::Printer;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the shell
    shell: Shell,
}

/// The files that a package needs.
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Write the man pages of mocactl and its commands
    Man {
        /// Existing directory for the files
        dir: PathBuf,
    },
    /// Write the completions for every shell
    Completions {
        /// Existing directory for the files
        dir: PathBuf,
    },
    /// Put a new key and root password, as plain text, into the files of a configuration directory
    Secrets {
        /// Configuration directory
        dir: PathBuf,
    },
}

pub(crate) fn generate(generate: &Generate, cli: &Command) -> Outcome {
    match generate {
        Generate::Man { dir } => man(dir, cli)?,
        Generate::Completions { dir } => {
            for shell in Shell::value_variants() {
                let name = file_name(*shell);
                write(&dir.join(name), &script(*shell, cli))?;
            }
        }
        Generate::Secrets { dir } => fresh_secrets(dir)?,
    }
    Ok(0)
}

pub(crate) fn run(args: &Args, cli: &Command, printer: &mut Printer) -> Outcome {
    printer.bytes(&script(args.shell, cli))?;
    Ok(0)
}

fn script(shell: Shell, cli: &Command) -> Vec<u8> {
    // The generator panics when a write fails, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(cli), "mocactl", &mut script);
    script
}

/// Returns the command line without the hidden commands, because some generators would include
/// them.
fn visible(cli: &Command) -> Command {
    Command::new("mocactl")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(cli.get_arguments().cloned())
        .subcommands(cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// Returns the file name under which the shell looks for its completions.
fn file_name(shell: Shell) -> String {
    match shell {
        Shell::Bash => "mocactl".to_owned(),
        Shell::Zsh => "_mocactl".to_owned(),
        Shell::Fish => "mocactl.fish".to_owned(),
        Shell::Elvish => "mocactl.elv".to_owned(),
        Shell::PowerShell => "_mocactl.ps1".to_owned(),
        other => format!("mocactl.{other}"),
    }
}

fn man(dir: &Path, cli: &Command) -> Result<(), Error> {
    let mut command = cli.clone().disable_help_subcommand(true);
    command.build();
    pages(&command, dir)
}

fn pages(command: &Command, dir: &Path) -> Result<(), Error> {
    let man = clap_mangen::Man::new(command.clone())
        .manual("MocaFileLog")
        .source(concat!("MocaFileLog ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let path = dir.join(man.get_filename());
    man.render(&mut page).map_err(|error| Error::of_file("write", &path, &error))?;
    write(&path, &page)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| pages(command, dir))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(|error| Error::of_file("write", path, &error))
}
