//! Doors for the fuzz targets in `fuzz/`; part of no build but theirs. Each panics where a promise is broken.

use super::forwarded::{Search, node};

/// `Forwarded` is read whatever a client wrote, and the element that a proxy appends is the one that counts.
pub fn forwarded(line: &[u8]) {
    let _whatever = node([line].into_iter(), b"secret");
    let mut appended = line.to_vec();
    appended.extend_from_slice(b", for=192.0.2.1;secret=secret");
    let found = node([appended.as_slice()].into_iter(), b"secret");
    assert!(matches!(found, Search::Found(Some(node)) if *node == *b"192.0.2.1"));
}
