//! `mocactl version`.

use crate::ctl::error::Outcome;
use crate::ctl::ui::output::Out;

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

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let number = env!("CARGO_PKG_VERSION");
    if args.json {
        out.json(&serde_json::json!({ "name": "MocaFileLog", "version": number }))?;
    } else if args.only_number {
        out.line(number)?;
    } else {
        out.line(format_args!("MocaFileLog ({number})"))?;
    }
    Ok(0)
}
