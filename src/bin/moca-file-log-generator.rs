//! The systemd generator: makes units from `log.json`.

use std::process::ExitCode;

fn main() -> ExitCode {
    moca_file_log::systemd::generator::main()
}
