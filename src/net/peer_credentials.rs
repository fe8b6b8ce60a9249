//! Who may speak on the admin socket: root, the service's own user, and members of the service's group. The mode of
//! the socket's file says the same; this holds when somebody loosens it.

use std::ffi::CString;
use std::sync::LazyLock;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist};
use tokio::net::UnixStream;

/// By the credentials that the kernel noted when the peer connected (unix(7), `SO_PEERCRED`).
pub(crate) fn is_admin_peer(stream: &UnixStream) -> bool {
    let Ok(credentials) = stream.peer_cred() else { return false };
    let uid = Uid::from_raw(credentials.uid());
    uid.is_root()
        || uid == geteuid()
        || is_member(uid, Gid::from_raw(credentials.gid()))
        // In the sandbox other users have no number: the kernel has let this one in by the mode of the socket's file.
        || (uid.as_raw() == OVERFLOW && in_user_namespace())
}

/// What users outside of a user namespace are seen as inside (user_namespaces(7)).
const OVERFLOW: u32 = 65_534;

/// Whether this process sees only some of the users of the machine, as under `PrivateUsers=`.
fn in_user_namespace() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
    });
    *ANSWER
}

fn is_member(uid: Uid, gid: Gid) -> bool {
    // The group of root is nobody's way in: a service that runs as root serves root only.
    let group = getegid();
    if group.as_raw() == 0 {
        return false;
    }
    if gid == group {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(uid) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, gid).is_ok_and(|groups| groups.contains(&group))
}
