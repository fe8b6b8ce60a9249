//! Fuzzes the routing of URL paths.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| moca_file_log::http::fuzzing::route(path));
