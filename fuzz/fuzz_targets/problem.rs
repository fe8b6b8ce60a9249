//! Fuzzes the JSON of problems.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| moca_file_log::http::fuzzing::problem(input.0, input.1));
