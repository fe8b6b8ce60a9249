//! Fuzzes the parameters from query and body, in every content type.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str, &[u8])| {
    let (content_type, query, body) = input;
    moca_file_log::http::fuzzing::parameters(content_type, query, body);
    // Once more with the content types that most bodies have.
    for known in
        [&b"application/json"[..], b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=B"]
    {
        moca_file_log::http::fuzzing::parameters(known, query, body);
    }
});
