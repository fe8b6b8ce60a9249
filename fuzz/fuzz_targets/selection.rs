//! Fuzzes selections: parses one from query and body, and applies it to a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (query, body, line) = input;
    moca_file_log::http::fuzzing::selection(query, body, line);
});
