//! Runs `systemctl`, reads the state of units, and checks the user.

pub(crate) mod instance_state;
pub(crate) mod systemctl;
pub(crate) mod units;
pub(crate) mod user;
