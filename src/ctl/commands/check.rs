//! `mocactl check`: reads all configuration files as the server does, and prints errors and
//! warnings.

use serde::Serialize;

use crate::config::Finding;
use crate::ctl::error::Outcome;
use crate::ctl::lint::{self, LintResult};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Colour, Printer};
use crate::exit::Exit;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Represents a finding as JSON.
#[derive(Serialize)]
struct JsonFinding<'f> {
    file: &'f str,
    path: &'f str,
    line: Option<usize>,
    column: Option<usize>,
    message: &'f str,
    remedy: Option<&'f str>,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let LintResult { errors, warnings } = lint::lint(directories);
    if args.json {
        let [shown_errors, shown_warnings] =
            [&errors, &warnings].map(|findings| findings.iter().map(shown).collect::<Vec<_>>());
        printer.json(&serde_json::json!({
            "ok": errors.is_empty(),
            "errors": shown_errors,
            "warnings": shown_warnings,
        }))?;
    } else {
        for (word, colour, findings) in
            [("error", Colour::Red, &errors), ("warning", Colour::Yellow, &warnings)]
        {
            for finding in findings {
                let finding = finding.to_string();
                let line = format!("{}: {}", printer.paint(colour, word), printer.shown(&finding));
                printer.styled_line(&line)?;
            }
        }
        let (verdict, colour) =
            if errors.is_empty() { ("is in order", Colour::Green) } else { ("is not in order", Colour::Red) };
        let (errors, warnings) = (count(errors.len(), "error"), count(warnings.len(), "warning"));
        let verdict = printer.paint(colour, verdict);
        let directory = directories.config.to_string_lossy();
        let line = format!("{} {verdict}: {errors}, {warnings}", printer.shown(&directory));
        printer.styled_line(&line)?;
    }
    Ok(if errors.is_empty() { 0 } else { Exit::Config.code() })
}

fn shown(finding: &Finding) -> JsonFinding<'_> {
    JsonFinding {
        file: finding.file,
        path: &finding.path,
        line: finding.line,
        column: finding.column,
        message: &finding.message,
        remedy: finding.remedy.as_deref(),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
