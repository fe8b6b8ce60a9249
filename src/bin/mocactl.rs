//! Runs `mocactl COMMAND`, the operator's tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    moca_file_log::ctl::main()
}
