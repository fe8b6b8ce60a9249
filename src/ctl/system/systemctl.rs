//! Runs `systemctl`. Arguments are passed without a shell, so the name of a log needs no quoting.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::ctl::error::{Error, Outcome};
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;

const PROGRAM: &str = "systemctl";

/// Holds the properties of a unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnitProperties(HashMap<String, String>);

impl UnitProperties {
    /// Returns a property, or an empty text when the unit does not have it.
    pub(crate) fn get(&self, property: &str) -> &str {
        self.0.get(property).map_or("", String::as_str)
    }
}

/// Returns the exit status as a shell reports it, which is 128 + N for the signal N.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Software.code())
}

/// Returns whether systemd runs this machine (sd_booted(3)). In most containers it does not.
pub(crate) fn is_booted() -> bool {
    // Tests set another root directory.
    let root = std::env::var_os("MOCA_FILE_LOG_ROOT").unwrap_or_else(|| "/".into());
    Path::new(&root).join("run/systemd/system").exists()
}

/// Runs `systemctl VERB… -- UNIT…` in the operator's terminal and returns its exit status.
pub(crate) fn run(printer: &mut Printer, verb: &[&str], units: &[String]) -> Outcome {
    printer.flush()?;
    let mut command = Command::new(PROGRAM);
    command.args(verb).arg("--").args(units);
    let status = command.status().map_err(|error| Error::of_program(PROGRAM, &error))?;
    Ok(exit_code(status))
}

/// Runs `systemctl VERB -- UNIT…`. Where systemd does not run, it prints what does the same there.
pub(crate) fn run_or_explain(printer: &mut Printer, verb: &str, units: &[String]) -> Outcome {
    let outcome = run(printer, &[verb], units);
    if !is_booted() && !matches!(outcome, Ok(0)) {
        print_note(format_args!(
            "mocactl: systemd does not run here: `mocactl run NAME` starts a server, and SIGTERM to the `pid` of \
             `mocactl status --json` stops it"
        ));
    }
    outcome
}

/// Runs `systemctl daemon-reload` and returns its exit status.
pub(crate) fn daemon_reload(printer: &mut Printer) -> Outcome {
    printer.flush()?;
    let status =
        Command::new(PROGRAM).arg("daemon-reload").status().map_err(|e| Error::of_program(PROGRAM, &e))?;
    Ok(exit_code(status))
}

/// Returns the properties of these units, in their order, or `None` on a machine without systemd.
pub(crate) fn show(units: &[String], properties: &[&str]) -> Result<Option<Vec<UnitProperties>>, Error> {
    let mut command = Command::new(PROGRAM);
    command.arg("show").arg(format!("--property={}", properties.join(","))).arg("--").args(units);
    command.stdin(Stdio::null());
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::of_program(PROGRAM, &error)),
    };
    if !status.success() {
        if !is_booted() {
            return Ok(None);
        }
        let why = String::from_utf8_lossy(&stderr);
        return Err(Error::new(Exit::Unavailable, format!("systemctl show failed: {}", why.trim())));
    }
    Ok(Some(parse(&String::from_utf8_lossy(&stdout))))
}

/// Parses blocks of `Property=VALUE` lines, with an empty line between blocks.
fn parse(text: &str) -> Vec<UnitProperties> {
    let block = |block: &str| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        UnitProperties(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    text.split("\n\n").filter(|text| !text.trim().is_empty()).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_parsed() {
        let shown = parse("Id=a.service\nActiveState=active\nX=a=b\n\nId=b.service\nActiveState=\n");
        assert_eq!(shown.len(), 2);
        assert_eq!((shown[0].get("ActiveState"), shown[0].get("X")), ("active", "a=b"));
        assert_eq!(
            (shown[1].get("Id"), shown[1].get("ActiveState"), shown[1].get("None")),
            ("b.service", "", "")
        );
        assert!(parse("").is_empty());
    }
}
