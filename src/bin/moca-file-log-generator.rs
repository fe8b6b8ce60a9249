//! Makes the systemd units from `log.json`, as a systemd generator.

use std::process::ExitCode;

fn main() -> ExitCode {
    moca_file_log::systemd::generator::main()
}
