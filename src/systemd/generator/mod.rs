//! Makes the systemd units from `log.json` and `server.json`, as a systemd generator.
//!
//! There is an instance for each log, a socket for each address, and a sandbox that is opened only
//! as far as a log needs. No operator edits a unit by hand. A [`Plan`] describes the units.
//! [`write()`] writes it as drop-ins of the packaged template units and as links in
//! `moca-file-log.target.wants`. [`mod@diff`] compares two plans.
//!
//! # The applied plan
//! systemd runs the generator at boot and at every `daemon-reload`, for example when another
//! package is installed, perhaps while an operator edits a file. If the units followed the files at
//! that moment, a running service would lose its socket: at once if the file is invalid, and at its
//! next restart if the port has changed. So the plan in force is kept in [`SNAPSHOT_DIR`], which a
//! reboot empties, and the generator writes that plan as long as it exists. Edited files take
//! effect only at boot and by `mocactl apply`, which stores the new plan by [`store`] before it
//! reloads systemd.
//!
//! `mocactl apply` also stores the plan in [`LASTING_DIR`], for a boot with invalid files. The
//! generator itself cannot store it there: newer versions of systemd let it write only below
//! `/run`, and `/var` may not be mounted yet. If that plan is missing too, the generator makes a
//! plan from the valid parts of the files.

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
pub use plan::{LogUnits, Plan, Sandbox, Sockets, plan};
pub use program::main;
pub use render::write;
pub use snapshot::{SnapshotError, applied, store};
pub use units::{
    RUN_DIR, TARGET, admin_path, admin_socket_file, admin_socket_unit, datagram_socket_unit, service_unit,
    socket_unit, stream_socket_unit,
};

/// The configuration directory of the installed service.
pub const CONFIG_DIR: &str = "/etc/moca-file-log";

/// The directory of the plan in force, which is empty after a reboot.
pub const SNAPSHOT_DIR: &str = "/run/moca-file-log-generator";

/// The directory of the last applied plan, which survives a reboot. Only root may write there,
/// since the plan decides how far a sandbox is open.
pub const LASTING_DIR: &str = "/var/lib/moca-file-log-generator";
