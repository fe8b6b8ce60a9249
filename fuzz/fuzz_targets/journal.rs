//! Fuzzes the entries of a journal. The first byte of the input chooses the coding, and the second one is
//! the length of the pieces in which the body arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let [coding, piece_len, body @ ..] = input {
        moca_file_log::http::fuzzing::journal(*coding, *piece_len, body);
    }
});
