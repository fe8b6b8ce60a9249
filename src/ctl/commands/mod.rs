//! The commands of `mocactl`, one file a command.

pub(crate) mod apply;
pub(crate) mod block;
pub(crate) mod check;
pub(crate) mod clear_logs;
pub(crate) mod completions;
pub(crate) mod get;
pub(crate) mod key;
pub(crate) mod maintenance;
pub(crate) mod passwd;
pub(crate) mod reset_system;
pub(crate) mod services;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod update;
