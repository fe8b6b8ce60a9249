//! What `log.json` and `server.json` mean for systemd: a socket for each address, an instance for each log, a sandbox
//! that is opened as far as a log needs it, and nothing that anybody has to edit by hand.
//!
//! A [`Plan`] says what is to be; [`write()`] turns it into drop-ins of the packaged template units and links into
//! `moca-file-log.target.wants`; [`diff`] says what is to be done to come from one plan to another.
//!
//! # The applied plan
//! systemd runs the generator at boot and whenever anybody reloads it: also while an operator is half way through an
//! edit, and also for the installation of some other package. If the addresses followed the files at that moment, a
//! running service would lose its socket: at once when the file is broken, and at its next restart when the port is
//! another. So the plan that is in force is kept in [`SNAPSHOT_DIR`], which a reboot empties, and the generator emits
//! it for as long as it is there. There are two moments only at which edited files come into force: the boot, and
//! `mocactl apply`, which stores the new plan with [`store`] before it reloads systemd.
//!
//! `mocactl apply` stores it in [`LASTING_DIR`] as well, which is what is served after a boot with broken files. The
//! generator itself cannot: newer systemd gives it no writable place beyond `/run`, and `/var` may not be mounted yet.
//! What even that does not know is made of what can be read.

mod choose;
mod diff;
mod escape;
mod file_stamp;
mod plan;
mod program;
mod render;
mod snapshot;
mod units;

pub use choose::{Directories, choose};
pub use diff::{Diff, diff};
pub use escape::escape;
pub use file_stamp::FileStamp;
pub use plan::{LogUnits, Plan, Sandbox, plan};
pub use program::main;
pub use render::write;
pub use snapshot::{SnapshotError, applied, store};
pub use units::{TARGET, admin_path, admin_socket_unit, service_unit, socket_unit};

/// The configuration that systemd's units serve.
pub const CONFIG_DIR: &str = "/etc/moca-file-log";

/// Where the plan in force is, until the machine goes down.
pub const SNAPSHOT_DIR: &str = "/run/moca-file-log-generator";

/// Where the plan that was applied last is, for good. Only root writes there: who can change it opens a sandbox.
pub const LASTING_DIR: &str = "/var/lib/moca-file-log-generator";
