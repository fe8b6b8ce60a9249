//! Chooses the plan that the generator writes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::snapshot::{applied, store};
use super::{CONFIG_DIR, LASTING_DIR, SNAPSHOT_DIR};
use crate::config::{Files, Finding, Sources};

/// The directories that the generator reads and writes.
#[derive(Debug, Clone)]
pub struct Directories {
    /// The configuration: [`CONFIG_DIR`].
    pub config: PathBuf,
    /// The plan in force: [`SNAPSHOT_DIR`].
    pub snapshot: PathBuf,
    /// The last applied plan: [`LASTING_DIR`].
    pub lasting: PathBuf,
}

impl Directories {
    /// Returns the directories of a system with the root directory `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let place = |path: &str| root.join(path.trim_start_matches('/'));
        Self { config: place(CONFIG_DIR), snapshot: place(SNAPSHOT_DIR), lasting: place(LASTING_DIR) }
    }
}

/// Returns the plan in force, and messages about what is wrong.
///
/// At boot there is no plan in force. Then the plan of the current files comes into force. If the
/// files are invalid, the last applied plan does, or without one the plan of the valid parts of the
/// files.
#[must_use]
pub fn choose(directories: &Directories) -> (Plan, Vec<String>) {
    let mut messages = Vec::new();
    let mut stored = |dir: &Path| {
        applied(dir).unwrap_or_else(|error| {
            messages.push(error.to_string());
            None
        })
    };
    if let Some(plan) = stored(&directories.snapshot) {
        return (plan, messages);
    }
    let (mut plan, findings) = of_files(&directories.config);
    if !findings.is_empty() {
        let last = stored(&directories.lasting);
        messages.extend(findings.iter().map(ToString::to_string));
        if let Some(last) = last {
            messages.push("the logs are served as they were applied last; see `mocactl check`".to_owned());
            plan = last;
        } else if plan.logs.is_empty() {
            // No log is served, so a corrected file may take effect at any reload.
            return (plan, messages);
        }
    }
    if let Err(error) = store(&directories.snapshot, &plan) {
        messages.push(error.to_string());
    }
    (plan, messages)
}

/// Makes a plan from `log.json` and `server.json`.
///
/// The other files have no influence on the units, so an error in them is no reason not to listen.
fn of_files(dir: &Path) -> (Plan, Vec<Finding>) {
    let mut findings = Vec::new();
    let log = read(dir, "log.json", &mut findings);
    let server = read(dir, "server.json", &mut findings);
    if !findings.is_empty() && log.is_none() {
        return (Plan::default(), findings);
    }
    let both = Sources { log, server, ..Sources::default() };
    let loaded = Files::parse(&both).or_else(|mut errors| {
        findings.append(&mut errors);
        // With an invalid server.json, the addresses of the logs are still known.
        Files::parse(&Sources { server: None, ..both })
    });
    let Ok(loaded) = loaded else { return (Plan::default(), findings) };
    let (plan, mut impossible) = Plan::of(&loaded.files);
    findings.append(&mut impossible);
    (plan, findings)
}

fn read(dir: &Path, name: &'static str, findings: &mut Vec<Finding>) -> Option<String> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            findings.push(Finding::of_file(name, format!("{} cannot be read: {error}", path.display())));
            None
        }
    }
}
