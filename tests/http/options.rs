//! Options whose effect no other test shows.
