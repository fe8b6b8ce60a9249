//! Fuzzes the parser of the header `Forwarded`. A proxy appends its element to each input.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| moca_file_log::guard::fuzzing::forwarded(line));
