//! Why a Redis does not count for us, in words for the journal. None of them repeats what the other side said, for
//! that may be anything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// See the module. Cloned for the journal, so errors are shared.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Away {
    #[error("its name cannot be looked up: {0}")]
    Lookup(Arc<io::Error>),
    #[error("it cannot be reached: {0}")]
    Connect(Arc<io::Error>),
    #[error("the sandbox of this log has no network: `mocactl apply`, then restart the log")]
    Sandbox,
    #[error("this machine has no certificates to trust (package ca-certificates)")]
    NothingTrusted,
    #[error("no TLS: {0}")]
    Tls(Arc<io::Error>),
    #[error("no connection within {} ms", .0.as_millis())]
    SlowConnect(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("it refuses the user, the password or the database of rate_limiter_redis_storage")]
    Login,
    #[error("{0}")]
    Refused(&'static str),
    #[error("it refuses to count")]
    Unwilling,
    #[error("the connection was closed")]
    Gone,
    #[error("it does not answer as a Redis does")]
    Garbage,
}

impl Away {
    pub(super) fn of_connecting(error: io::Error) -> Self {
        // What RestrictAddressFamilies of systemd makes of an address.
        if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) {
            return Self::Sandbox;
        }
        Self::Connect(Arc::new(error))
    }

    pub(super) fn of_login(error: RedisError) -> Self {
        match error.into() {
            Self::Unwilling => Self::Login,
            other => other,
        }
    }
}

impl From<RedisError> for Away {
    fn from(error: RedisError) -> Self {
        if let Some(why) = error.code().and_then(meaning) {
            return why;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Login,
            ErrorKind::Io => Self::Gone,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Garbage,
            _ if error.is_connection_dropped() => Self::Gone,
            _ => Self::Unwilling,
        }
    }
}

/// The codes of Redis that an operator can do something about.
fn meaning(code: &str) -> Option<Away> {
    Some(match code {
        "NOAUTH" | "WRONGPASS" => Away::Login,
        "LOADING" => Away::Refused("it is still loading its data"),
        "READONLY" => Away::Refused("it is a read-only replica: name the primary"),
        "OOM" => Away::Refused("it has no memory left (maxmemory)"),
        "MISCONF" => Away::Refused("it takes no writes, for it cannot save them (MISCONF)"),
        "NOREPLICAS" => Away::Refused("it takes no writes without its replicas (NOREPLICAS)"),
        "MASTERDOWN" => Away::Refused("it is a replica that has lost its primary"),
        "BUSY" => Away::Refused("it is busy with a script of somebody else"),
        "NOPERM" => Away::Refused(
            "its user may not do what is needed: eval, evalsha, get, pttl, set and incr on ~LIMITER/*",
        ),
        "CROSSSLOT" | "MOVED" | "ASK" | "CLUSTERDOWN" => {
            Away::Refused("it is a cluster, which cannot count several limits at once: name a single Redis")
        }
        "WRONGTYPE" => Away::Refused("keys below LIMITER/ are used for something else"),
        _ => return None,
    })
}

/// Whether Redis has forgotten the script.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str) -> String {
        let text = format!("-{code} hunter2\r\n");
        let error =
            redis::parse_redis_value(text.as_bytes()).and_then(redis::Value::extract_error).unwrap_err();
        Away::from(error).to_string()
    }

    #[test]
    fn what_redis_says_is_never_repeated() {
        for (code, words) in [
            ("WRONGPASS", "refuses the user"),
            ("NOAUTH", "refuses the user"),
            ("LOADING", "still loading"),
            ("READONLY", "read-only"),
            ("OOM", "no memory left"),
            ("NOPERM", "~LIMITER/*"),
            ("MOVED", "cluster"),
            ("CROSSSLOT", "cluster"),
            ("BUSY", "busy"),
            ("hunter2", "refuses to count"),
            ("ERR", "refuses to count"),
        ] {
            let said = said(code);
            assert!(said.contains(words) && !said.contains("hunter2"), "{code}: {said}");
        }
    }

    #[test]
    fn a_sandbox_without_network_says_what_to_do() {
        let error = io::Error::from(Errno::EAFNOSUPPORT);
        assert!(Away::of_connecting(error).to_string().contains("mocactl apply"));
        let error = io::Error::from(Errno::ECONNREFUSED);
        assert!(Away::of_connecting(error).to_string().contains("it cannot be reached: Connection refused"));
    }
}
