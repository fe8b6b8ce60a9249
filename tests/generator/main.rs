//! Compares the output of the generator with expected files.
//!
//! Each `NN-name/` holds a root file system (`etc`, `run`, `var`) and the expected output:
//! `expected/units` for systemd, `expected/applied.json` for the plan in force afterwards, and
//! `expected/messages` if the generator reports errors. With `UPDATE_EXPECTED=1` the test writes
//! the expected files instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

mod boot;
mod golden;
mod tree;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Returns the directory of the cases.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator")
}

/// Runs the generator for a system with the root directory `root` and the output directory `out`.
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
