//! Edits configuration files.

pub(crate) mod config_file;
pub(crate) mod json_edit;
pub(crate) mod secrets;
