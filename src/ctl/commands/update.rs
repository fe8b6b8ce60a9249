//! `mocactl update` and `update-system`: install a newer version with apt.
//!
//! The sockets belong to systemd, so no request is refused while the package is replaced.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ctl::error::{Error, Outcome};
use crate::ctl::system::systemctl::exit_code;
use crate::ctl::system::user::must_be_root;
use crate::ctl::ui::output::{Printer, print_note};
use crate::ctl::ui::prompt;
use crate::exit::Exit;

const PACKAGE: &str = "moca-file-log";

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what apt would do, from the lists that it has, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `update-system`.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemArgs {
    /// Package file to install, instead of the newest version that apt has
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
    #[command(flatten)]
    how: Args,
}

pub(crate) fn update(args: &Args, printer: &mut Printer) -> Outcome {
    let install = ["install", "--yes", "--only-upgrade", "--", PACKAGE].map(str::as_ref);
    if args.dry_run {
        return apt(&[&["--simulate".as_ref()], &install[..]].concat(), printer);
    }
    must_be_root()?;
    if !prompt::confirm(&format!("Install the newest version of {PACKAGE} that apt has?"), args.yes)? {
        return Ok(1);
    }
    let lists = apt(&["update".as_ref()], printer)?;
    if lists != 0 {
        return Ok(lists);
    }
    apt(&install, printer)
}

pub(crate) fn update_system(args: &SystemArgs, printer: &mut Printer) -> Outcome {
    let Some(file) = &args.deb else { return update(&args.how, printer) };
    // The path is absolute, because apt reads a word without a slash as the name of a package.
    let file = fs::canonicalize(file).map_err(|error| Error::of_file("read", file, &error))?;
    let version = version_of(&file)?;
    let options = ["install", "--yes", "--allow-downgrades", "--"].map(str::as_ref);
    let install = [&options[..], &[file.as_os_str()]].concat();
    if args.how.dry_run {
        return apt(&[&["--simulate".as_ref()], &install[..]].concat(), printer);
    }
    must_be_root()?;
    let question = format!("Install {PACKAGE} {version} in the place of {}?", env!("CARGO_PKG_VERSION"));
    if !prompt::confirm(&question, args.how.yes)? {
        return Ok(1);
    }
    print_note(format_args!("Installing {PACKAGE} {version}; this is {}.", env!("CARGO_PKG_VERSION")));
    apt(&install, printer)
}

/// Returns the version of a package file. Fails for a file of another package.
fn version_of(file: &Path) -> Result<String, Error> {
    let field = |name: &str| -> Result<String, Error> {
        let mut command = Command::new("dpkg-deb");
        command.arg("-f").arg(file).arg(name).stdin(Stdio::null());
        let output = command.output().map_err(|error| Error::of_program("dpkg-deb", &error))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let message = format!("{} is no Debian package: {}", file.display(), why.trim());
            return Err(Error::new(Exit::DataErr, message));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let package = field("Package")?;
    if package != PACKAGE {
        let message = format!("{} is the package {package:?}, not {PACKAGE}", file.display());
        return Err(Error::new(Exit::DataErr, message));
    }
    field("Version")
}

/// Runs apt-get in the operator's terminal, with its progress. Edited configuration files are kept.
fn apt(arguments: &[&std::ffi::OsStr], printer: &mut Printer) -> Outcome {
    printer.flush()?;
    let mut command = Command::new("apt-get");
    command.args(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]);
    if io::stdout().is_terminal() {
        command.args(["-o", "Dpkg::Progress-Fancy=1"]);
    }
    let status = command.args(arguments).status().map_err(|error| Error::of_program("apt-get", &error))?;
    Ok(exit_code(status))
}
