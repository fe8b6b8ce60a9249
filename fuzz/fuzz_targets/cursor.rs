//! Cursors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moca_file_log::store::CursorKey;

// A text that is read as a cursor is the one text of that cursor.
fuzz_target!(|text: &str| {
    let key = CursorKey::fixed();
    if let Ok(cursor) = key.decode(text) {
        assert_eq!(key.encode(cursor), text);
    }
});
