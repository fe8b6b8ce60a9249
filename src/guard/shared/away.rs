//! Why a Redis does not count for us, in words for the journal. None of them repeats what the other side said, for
//! that may be anything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// See the module. Cloned for the journal, so errors are shared.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Away {
    #[error("its name cannot be looked up: {0}")]
    Lookup(Arc<io::Error>),
    #[error("it cannot be reached: {0}")]
    Connect(Arc<io::Error>),
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
    #[error("the connection was closed")]
    Gone,
    #[error("it does not answer as a Redis does")]
    Garbage,
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
            _ => Self::Refused("it refuses to count"),
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
