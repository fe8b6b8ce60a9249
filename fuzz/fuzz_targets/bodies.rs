//! Fuzzes bodies of every shape, in every content type and charset.
#![no_main]

use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 12] = [
    "",
    "text/plain",
    "text/plain; charset=latin1",
    "text/plain; charset=utf-16le",
    "application/json",
    "application/json; charset=shift_jis",
    "application/x-ndjson",
    "application/json-seq",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=shift_jis",
    "multipart/form-data; boundary=B; charset=iso-2022-jp",
    "image/png",
];

fuzz_target!(|body: &[u8]| {
    for content_type in TYPES {
        moca_file_log::http::fuzzing::parameters(content_type.as_bytes(), "", body);
    }
});
