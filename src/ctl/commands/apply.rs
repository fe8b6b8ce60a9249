//! `mocactl apply`: applies `log.json` and `server.json` to the units of systemd.

use crate::ctl::error::Outcome;
use crate::ctl::paths::Directories;
use crate::ctl::reconcile::apply;
use crate::ctl::ui::output::Printer;

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only if the files were edited since they were last applied
    #[arg(long)]
    if_edited: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    apply(args.if_edited, directories, printer)
}
