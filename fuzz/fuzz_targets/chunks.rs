//! Fuzzes the search for the end of a body in chunks. The first byte of the input is the length of
//! the pieces in which the body arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((piece_len, bytes)) = input.split_first() {
        moca_file_log::http::fuzzing::chunks(bytes, *piece_len);
    }
});
