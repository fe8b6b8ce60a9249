//! The header `Forwarded`, with an element of a proxy behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| moca_file_log::guard::fuzzing::forwarded(line));
