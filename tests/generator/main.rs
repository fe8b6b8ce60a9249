//! The generator against directories of expected output.
//!
//! Each `NN-name/` holds a root file system (`etc`, `run`, `var`) and what the generator makes of it: `expected/units`
//! for systemd, `expected/applied.json` as the plan that is in force afterwards, and `expected/messages` when something
//! is to be said. With `UPDATE_EXPECTED=1` the expectations are written instead of compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod boot;
mod golden;
mod tree;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the cases are.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator")
}

/// Runs the generator on the system in `root`, with its output to `out`.
fn generate(root: &Path, out: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_moca-file-log-generator"))
        .arg(out)
        .args([out.with_extension("early"), out.with_extension("late")])
        .env("MOCA_FILE_LOG_ROOT", root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}
