//! Provides the harness of the black-box tests. It runs the real server in temporary directories,
//! and has a raw HTTP client and a parser of log lines that shares no code with the server.
#![allow(dead_code, unused_imports, reason = "each test crate uses its own part of the harness")]

mod conn;
mod follow;
pub(crate) mod frames;
mod line;
mod mounts;
mod pair;
mod redis;
mod server;
mod setup;

pub(crate) use conn::{Conn, Response, is_timeout};
pub(crate) use follow::{End, Event, Follow};
pub(crate) use line::{Line, must_be_escaped};
pub(crate) use mounts::Mounts;
pub(crate) use pair::Pair;
pub(crate) use redis::Redis;
pub(crate) use server::{Server, route};
pub(crate) use setup::{KEY, ROOT, Setup, engine, free_port};

use std::time::{Duration, Instant};

/// Polls until the condition holds. Panics when it does not hold within the limit.
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Runs a test over plain HTTP and over HTTPS.
pub(crate) fn each(test: impl Fn(Setup) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for setup in [Setup::new(), Setup::new().tls()] {
            scope.spawn(move || test(setup));
        }
    });
}

/// Prints that the machine cannot run a test (root, mounts, strace). Panics in CI, where every test
/// must run.
pub(crate) fn cannot_run(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run here: {why}");
    eprintln!("skipped: {why}");
}

/// Returns the factor by which this machine may be slower than the reference machine.
pub(crate) fn slowness() -> u32 {
    if std::env::var_os("MOCA_SLOW_MACHINE").is_some() { 20 } else { 1 }
}

/// Raises the soft limit of open files to `wanted`, for this process and its servers. Returns
/// whether so many files can be open.
pub(crate) fn raise_file_limit(wanted: u64) -> bool {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return false };
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted.max(soft)), hard).is_err() {
        return false;
    }
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| soft >= wanted)
}

/// Percent-encodes a text for a query or an urlencoded body.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Returns the parameters as `a=1&b=2`.
pub(crate) fn encode_pairs(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    pairs.join("&")
}

/// Returns the SHA-256 in lower-case hexadecimal digits.
pub(crate) fn sha256_hex(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
