//! Checks that the user who runs the command is root.

use nix::unistd::geteuid;

use crate::ctl::error::Error;
use crate::exit::Exit;

/// Fails when the user is not root.
pub(crate) fn must_be_root() -> Result<(), Error> {
    if geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::new(Exit::NoPerm, "this is for root only; use sudo"))
    }
}
