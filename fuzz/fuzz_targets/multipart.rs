//! Fuzzes the parser of multipart forms.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| moca_file_log::http::fuzzing::multipart(body));
