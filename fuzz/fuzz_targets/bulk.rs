//! Fuzzes bulk requests of Elasticsearch.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for content_type in ["application/x-ndjson"] {
        moca_file_log::http::fuzzing::dialect("bulk", content_type.as_bytes(), body);
    }
});
