//! `mocactl version`: prints the version.

use crate::ctl::error::Outcome;
use crate::ctl::ui::output::Printer;

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the number
    #[arg(long)]
    only_number: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "only_number")]
    json: bool,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Outcome {
    let number = env!("CARGO_PKG_VERSION");
    if args.json {
        printer.json(&serde_json::json!({ "name": "MocaFileLog", "version": number }))?;
    } else if args.only_number {
        printer.line(number)?;
    } else {
        printer.line(format_args!("MocaFileLog ({number})"))?;
    }
    Ok(0)
}
