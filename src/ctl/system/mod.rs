//! systemd, as `systemctl` shows and changes it.

pub(crate) mod instance_state;
pub(crate) mod systemctl;
pub(crate) mod units;
pub(crate) mod user;
