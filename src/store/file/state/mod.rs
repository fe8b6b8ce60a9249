//! The saved state of a log, and the repair of its files after a crash.

pub(crate) mod durable_fs;
pub(crate) mod fingerprint;
pub(crate) mod interrupted;
pub(crate) mod recovery;
pub(crate) mod state_file;
