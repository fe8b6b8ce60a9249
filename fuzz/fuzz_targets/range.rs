//! Fuzzes the parser of the header `Range`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u64)| moca_file_log::http::fuzzing::range(input.0, input.1));
