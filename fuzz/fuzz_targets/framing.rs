//! Fuzzes how requests are framed in the bytes of a connection. The first byte of the input is the
//! length of the pieces in which they arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((piece_len, bytes)) = input.split_first() {
        moca_file_log::http::fuzzing::framing(bytes, *piece_len);
    }
});
