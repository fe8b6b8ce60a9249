//! Defines the reasons why Redis cannot count limits, in words for the journal.
//!
//! No text repeats an answer of Redis, because the answer may contain anything, even a password.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A reason why Redis cannot count limits. Cheap to clone, because the journal gets a clone.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("its name cannot be looked up: {0}")]
    Lookup(Arc<io::Error>),
    #[error("it cannot be reached: {0}")]
    Connect(Arc<io::Error>),
    #[error("the sandbox of this log has no network: `mocactl apply`, then restart the log")]
    Sandbox,
    #[error("this machine has no certificates to trust (package ca-certificates)")]
    NoTrustedRoots,
    #[error("no TLS: {0}")]
    Tls(Arc<io::Error>),
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("it refuses the user, the password or the database of rate_limiter_redis_storage")]
    LoginRefused,
    #[error("{0}")]
    Refused(&'static str),
    #[error("it refuses to count")]
    CommandRefused,
    #[error("the connection was closed")]
    Closed,
    #[error("it does not answer as a Redis does")]
    UnexpectedAnswer,
}

impl Unavailable {
    pub(super) fn from_connect_error(error: io::Error) -> Self {
        // RestrictAddressFamilies (systemd.exec(5)) answers with this error.
        if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) {
            return Self::Sandbox;
        }
        Self::Connect(Arc::new(error))
    }

    pub(super) fn from_login_error(error: RedisError) -> Self {
        match error.into() {
            Self::CommandRefused => Self::LoginRefused,
            other => other,
        }
    }
}

impl From<RedisError> for Unavailable {
    fn from(error: RedisError) -> Self {
        if let Some(reason) = error.code().and_then(from_code) {
            return reason;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::LoginRefused,
            ErrorKind::Io => Self::Closed,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::UnexpectedAnswer,
            _ if error.is_connection_dropped() => Self::Closed,
            _ => Self::CommandRefused,
        }
    }
}

/// Returns the reason for an error code of Redis that the operator can resolve.
fn from_code(code: &str) -> Option<Unavailable> {
    Some(match code {
        "NOAUTH" | "WRONGPASS" => Unavailable::LoginRefused,
        "LOADING" => Unavailable::Refused("it is still loading its data"),
        "READONLY" => Unavailable::Refused("it is a read-only replica: name the primary"),
        "OOM" => Unavailable::Refused("it has no memory left (maxmemory)"),
        "MISCONF" => Unavailable::Refused("it takes no writes, for it cannot save them (MISCONF)"),
        "NOREPLICAS" => Unavailable::Refused("it takes no writes without its replicas (NOREPLICAS)"),
        "MASTERDOWN" => Unavailable::Refused("it is a replica that has lost its primary"),
        "BUSY" => Unavailable::Refused("it is busy with the script of another program"),
        "NOPERM" => Unavailable::Refused(
            "its user may not do what is needed: eval, evalsha, get, pttl, set and incr on ~LIMITER/*",
        ),
        "CROSSSLOT" | "MOVED" | "ASK" | "CLUSTERDOWN" => Unavailable::Refused(
            "it is a cluster, which cannot count several limits at once: name a single Redis",
        ),
        "WRONGTYPE" => Unavailable::Refused("keys below LIMITER/ are used for something else"),
        _ => return None,
    })
}

/// Returns whether Redis does not know the script, for example after it was restarted.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(code: &str) -> String {
        let answer = format!("-{code} hunter2\r\n");
        let error =
            redis::parse_redis_value(answer.as_bytes()).and_then(redis::Value::extract_error).unwrap_err();
        Unavailable::from(error).to_string()
    }

    #[test]
    fn texts_never_repeat_the_answer_of_redis() {
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
            let text = text_of(code);
            assert!(text.contains(words) && !text.contains("hunter2"), "{code}: {text}");
        }
    }

    #[test]
    fn a_sandbox_without_network_names_the_command_that_opens_it() {
        let error = io::Error::from(Errno::EAFNOSUPPORT);
        assert!(Unavailable::from_connect_error(error).to_string().contains("mocactl apply"));
        let error = io::Error::from(Errno::ECONNREFUSED);
        assert!(
            Unavailable::from_connect_error(error)
                .to_string()
                .contains("it cannot be reached: Connection refused")
        );
    }
}
