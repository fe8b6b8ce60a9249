//! Fuzzes the parser of a WebSocket client's frames. The first byte of the input is the length of
//! the pieces in which the frames arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((piece_len, bytes)) = input.split_first() {
        moca_file_log::http::fuzzing::ws_frames(bytes, *piece_len);
    }
});
