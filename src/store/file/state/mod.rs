//! What a log remembers across restarts, and how its files are made whole after a crash.

pub(crate) mod durable_fs;
pub(crate) mod fingerprint;
pub(crate) mod interrupted;
pub(crate) mod recovery;
pub(crate) mod state_file;
