//! Runs the program `moca-file-log-generator NORMAL-DIR [EARLY-DIR LATE-DIR]`, which systemd starts
//! at boot and at every `systemctl daemon-reload` (systemd.generator(7)).
//!
//! It does not fail because of the configuration. It reports errors and writes the units that it
//! can.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use super::{Directories, choose, write};

/// Runs the generator with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ([normal] | [normal, _, _]) = arguments.as_slice() else {
        say("expected one or three directories; systemd runs this program", false);
        return ExitCode::FAILURE;
    };
    // Tests set another root directory.
    let root = std::env::var_os("MOCA_FILE_LOG_ROOT");
    let directories = Directories::below(Path::new(root.as_deref().unwrap_or_else(|| "/".as_ref())));
    let (plan, mut messages) = choose(&directories);
    if let Err(error) = write(&plan, Path::new(normal)) {
        messages.push(error.to_string());
    }
    let alone = root.is_some() || stderr().is_terminal();
    for message in &messages {
        say(message, !alone);
    }
    ExitCode::SUCCESS
}

/// Writes a message to stderr and, if `in_kernel_log`, to the kernel's log.
///
/// The journal does not run yet when systemd runs generators. It reads the kernel's log later.
fn say(message: &str, in_kernel_log: bool) {
    // Without stderr there is no place to report the error.
    drop(writeln!(stderr(), "moca-file-log-generator: {message}"));
    if in_kernel_log && let Ok(mut kernel_log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // One write is one entry, here with the priority of a warning. The kernel rejects long
        // ones.
        let text: String = message.chars().take(200).collect();
        let entry = format!("<4>moca-file-log-generator[{}]: {text}\n", std::process::id());
        drop(kernel_log.write_all(entry.as_bytes()));
    }
}
