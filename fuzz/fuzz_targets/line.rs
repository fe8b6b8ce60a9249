//! Fuzzes the parser of lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| moca_file_log::record::fuzzing::line(line));
