//! Fuzzes how the fast path recognises requests in the bytes of a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| moca_file_log::http::fuzzing::http_head(bytes));
