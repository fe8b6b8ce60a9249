//! Fuzzes the decoder of cursors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moca_file_log::store::CursorKey;

// A text that decodes to a cursor is exactly the text to which that cursor encodes.
fuzz_target!(|text: &str| {
    let key = CursorKey::fixed();
    if let Ok(cursor) = key.decode(text) {
        assert_eq!(key.encode(cursor), text);
    }
});
