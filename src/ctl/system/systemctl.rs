//! Runs `systemctl`. Arguments are passed without a shell, so the name of a log needs no quoting.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::ctl::error::{Error, Outcome};
use crate::ctl::ui::output::Printer;
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

/// Runs `systemctl VERB… -- UNIT…` in the operator's terminal and returns its exit status.
pub(crate) fn run(printer: &mut Printer, verb: &[&str], units: &[String]) -> Outcome {
    printer.flush()?;
    let mut command = Command::new(PROGRAM);
    command.args(verb).arg("--").args(units);
    let status = command.status().map_err(|error| Error::of_program(PROGRAM, &error))?;
    Ok(exit_code(status))
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
        if !Path::new("/run/systemd/system").exists() {
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
