//! `mocactl check`: every file as the server would judge it, and what is allowed but makes no sense.

use std::fs;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::config::{self, Files, Finding, Sources};
use crate::ctl::error::Outcome;
use crate::ctl::lint;
use crate::ctl::paths::Places;
use crate::ctl::ui::output::{Colour, Out};
use crate::exit::Exit;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the server would say to the files as they are.
pub(crate) struct Judged {
    /// with one of these it does not start, and a running one keeps the last good configuration
    pub(crate) errors: Vec<Finding>,
    /// worth a word
    pub(crate) warnings: Vec<Finding>,
}

/// A finding for programs.
#[derive(Serialize)]
struct Shown<'f> {
    file: &'f str,
    path: &'f str,
    line: Option<usize>,
    column: Option<usize>,
    message: &'f str,
    remedy: Option<&'f str>,
}

pub(crate) fn run(check: &Check, places: &Places, out: &mut Out) -> Outcome {
    let Judged { errors, warnings } = judge(places);
    if check.json {
        let [shown_errors, shown_warnings] =
            [&errors, &warnings].map(|findings| findings.iter().map(shown).collect::<Vec<_>>());
        out.json(&serde_json::json!({
            "ok": errors.is_empty(),
            "errors": shown_errors,
            "warnings": shown_warnings,
        }))?;
    } else {
        for (word, colour, findings) in
            [("error", Colour::Red, &errors), ("warning", Colour::Yellow, &warnings)]
        {
            for finding in findings {
                out.line(format_args!("{}: {finding}", out.paint(colour, word)))?;
            }
        }
        let (verdict, colour) =
            if errors.is_empty() { ("is in order", Colour::Green) } else { ("is not in order", Colour::Red) };
        let (errors, warnings) = (count(errors.len(), "error"), count(warnings.len(), "warning"));
        let verdict = out.paint(colour, verdict);
        out.line(format_args!("{} {verdict}: {errors}, {warnings}", places.config.display()))?;
    }
    Ok(if errors.is_empty() { 0 } else { Exit::Config.code() })
}

/// Reads all files as the server does.
pub(crate) fn judge(places: &Places) -> Judged {
    match config::load(&places.config) {
        Ok(loaded) => {
            let mut warnings = loaded.warnings;
            warnings.extend(lint::warnings(&loaded.files));
            warnings.extend(lint::modes(&places.config, &loaded.files));
            Judged { errors: lint::start_errors(&places.config, &loaded.files), warnings }
        }
        Err(errors) => {
            let warnings = warnings_of_the_others(&places.config, &errors);
            Judged { errors, warnings }
        }
    }
}

/// The warnings about files that are in order, while others are not: each is read alone.
fn warnings_of_the_others(dir: &Path, errors: &[Finding]) -> Vec<Finding> {
    let text = |file: &str| {
        let broken = errors.iter().any(|error| error.file == file);
        if broken { None } else { fs::read_to_string(dir.join(file)).ok() }
    };
    let no_log = || Some("{}".to_owned());
    let alone = [
        ("log.json", Sources { log: text("log.json"), ..Sources::default() }),
        ("api_key.json", Sources { api_key: text("api_key.json"), log: no_log(), ..Sources::default() }),
        ("server.json", Sources { server: text("server.json"), log: no_log(), ..Sources::default() }),
        ("system.json", Sources { system: text("system.json"), log: no_log(), ..Sources::default() }),
        (
            "ip_blacklist.json",
            Sources { ip_blacklist: text("ip_blacklist.json"), log: no_log(), ..Sources::default() },
        ),
        ("http.toml", Sources { http: text("http.toml"), log: no_log(), ..Sources::default() }),
    ];
    let of_file = |(file, sources): (&'static str, Sources)| {
        let warnings = Files::parse(&sources).map(|loaded| loaded.warnings).unwrap_or_default();
        let broken = errors.iter().any(|error| error.file == file);
        warnings.into_iter().filter(move |warning| !broken && warning.file == file)
    };
    alone.into_iter().flat_map(of_file).collect()
}

fn shown(finding: &Finding) -> Shown<'_> {
    Shown {
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
