//! Fuzzes the formats of sockets that are not HTTP. The first byte is the size of the pieces in which a
//! connection arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((piece, bytes)) = input.split_first() {
        moca_file_log::http::fuzzing::sockets(bytes, usize::from(*piece));
    }
});
