//! systemd and the users of the system.

pub(crate) mod instance_state;
pub(crate) mod systemctl;
pub(crate) mod units;
pub(crate) mod user;
