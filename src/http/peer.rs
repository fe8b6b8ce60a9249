//! Who may speak on the admin socket: root, the service's own user, and members of the service's group. The mode of
//! the socket's file says the same; this holds when somebody loosens it.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist};
use tokio::net::UnixStream;

/// By the credentials that the kernel noted when the peer connected (unix(7), `SO_PEERCRED`).
pub(super) fn may_administer(stream: &UnixStream) -> bool {
    let Ok(credentials) = stream.peer_cred() else { return false };
    let uid = Uid::from_raw(credentials.uid());
    uid.is_root() || uid == geteuid() || is_member(uid, Gid::from_raw(credentials.gid()))
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
