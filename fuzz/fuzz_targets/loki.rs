//! Fuzzes pushes of Loki in JSON, protobuf and snappy.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for content_type in ["", "application/json", "application/x-protobuf"] {
        moca_file_log::http::fuzzing::dialect("loki", content_type.as_bytes(), body);
    }
});
