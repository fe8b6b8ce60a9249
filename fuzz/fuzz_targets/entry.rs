//! Entries with fields, written as lines and read back.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Option<i64>, Vec<(&str, &str)>)| {
    let (message, at, fields) = input;
    moca_file_log::record::fuzzing::entry(message, at, &fields);
});
