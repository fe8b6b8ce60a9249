//! The operator's tool: `mocactl COMMAND`.

use std::process::ExitCode;

fn main() -> ExitCode {
    moca_file_log::ctl::main()
}
