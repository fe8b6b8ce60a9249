//! Decides which local users may use the admin socket: root, the service's user, and members of the
//! service's group. The mode of the socket's file allows the same users. This check still holds
//! when an operator loosens the mode.

use std::ffi::CString;
use std::sync::LazyLock;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist};
use tokio::net::UnixStream;

/// Reports whether the peer may use the admin socket, by the credentials that the kernel recorded
/// when the peer connected (unix(7), `SO_PEERCRED`).
pub(crate) fn is_admin_peer(stream: &UnixStream) -> bool {
    let Ok(credentials) = stream.peer_cred() else { return false };
    let uid = Uid::from_raw(credentials.uid());
    uid.is_root()
        || uid == geteuid()
        || is_member(uid, Gid::from_raw(credentials.gid()))
        // In a user namespace all outside users share one ID. The kernel has admitted this one by
        // the mode of the socket's file.
        || (uid.as_raw() == OVERFLOW_UID && in_user_namespace())
}

/// The user ID that a user namespace shows for all users outside of it (user_namespaces(7)).
const OVERFLOW_UID: u32 = 65_534;

/// Reports whether this process runs in a user namespace, as under `PrivateUsers=`
/// (systemd.exec(5)).
fn in_user_namespace() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
    });
    *ANSWER
}

/// Reports whether the user is a member of the service's group.
fn is_member(uid: Uid, gid: Gid) -> bool {
    // Membership in root's group admits no user, because a service that runs as root serves root
    // only.
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
