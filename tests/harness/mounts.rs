//! Mounts files over other files, as containers do.

use std::path::Path;
use std::process::Command;

use super::cannot_run;

/// Represents a mount namespace of the calling thread. The programs that this thread starts
/// afterwards are in it, and its mounts end with them.
pub(crate) struct Mounts(());

impl Mounts {
    /// Moves the calling thread into a mount namespace of its own. Returns `None`, after it has said
    /// why, when the machine does not allow it.
    pub(crate) fn private() -> Option<Self> {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS) {
            cannot_run(&format!("a mount namespace, which needs root: {error}"));
            return None;
        }
        let mounts = Self(());
        mounts.run(&["--make-rprivate", "/"]).then_some(mounts)
    }

    /// Mounts the file `source` over the file `target`.
    pub(crate) fn bind(&self, source: &Path, target: &Path) {
        let [source, target] = [source, target].map(|path| path.to_str().expect("UTF-8"));
        assert!(self.run(&["--bind", source, target]), "cannot mount {source}");
    }

    /// Mounts a file system in memory at `target`.
    pub(crate) fn tmpfs(&self, target: &Path, size: &str) {
        let size = format!("size={size}");
        assert!(self.run(&["-t", "tmpfs", "-o", &size, "tmpfs", target.to_str().expect("UTF-8")]));
    }

    fn run(&self, arguments: &[&str]) -> bool {
        match Command::new("mount").args(arguments).output() {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                cannot_run(&format!("mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
                false
            }
            Err(error) => {
                cannot_run(&format!("mount: {error}"));
                false
            }
        }
    }
}
