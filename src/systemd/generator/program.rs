//! The program: `moca-file-log-generator NORMAL-DIR [EARLY-DIR LATE-DIR]`, run by systemd at boot and at every
//! `systemctl daemon-reload` (systemd.generator(7)).
//!
//! It never fails for the sake of a configuration: what is wrong is said, and as much is emitted as can be.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use super::{Directories, choose, write};

/// Does what systemd asks for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ([normal] | [normal, _, _]) = arguments.as_slice() else {
        say("expected one or three directories; systemd runs this program", false);
        return ExitCode::FAILURE;
    };
    // another root directory, for tests
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

/// There is no journal when systemd runs generators, but what is written to the kernel's log gets there in the end.
fn say(message: &str, in_kernel_log: bool) {
    // there is nobody who could be told that nothing can be told
    drop(writeln!(stderr(), "moca-file-log-generator: {message}"));
    if in_kernel_log && let Ok(mut kernel_log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // one write is one entry, with the priority of a warning, and what is longer is refused
        let text: String = message.chars().take(200).collect();
        let entry = format!("<4>moca-file-log-generator[{}]: {text}\n", std::process::id());
        drop(kernel_log.write_all(entry.as_bytes()));
    }
}
