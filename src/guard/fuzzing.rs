//! Entry points for the fuzz targets in `fuzz/`, compiled for them only. Each panics when an
//! invariant is broken.

use super::forwarded::{Search, find_node};

/// Parses any `Forwarded` line, and finds the element that a proxy appends to it.
pub fn forwarded(line: &[u8]) {
    let _result = find_node([line].into_iter(), b"secret");
    let mut appended = line.to_vec();
    appended.extend_from_slice(b", for=192.0.2.1;secret=secret");
    let found = find_node([appended.as_slice()].into_iter(), b"secret");
    assert!(matches!(found, Search::Found(Some(node)) if *node == *b"192.0.2.1"));
}
