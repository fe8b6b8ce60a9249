//! Runs concurrent senders, each of which remembers the outcome of every record.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{Conn, KEY, Line, Server, route};

/// Holds one record that was sent, and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) outcome: Outcome,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer was 200 `success.`.
    Acknowledged,
    /// The answer had another status.
    Refused(u16),
    /// The connection was closed or reset before a byte of the answer.
    Unanswered,
    /// The answer began and did not end.
    Cut,
}

/// Sends ids one after the other over keep-alive connections, until `stop` is set or the server has
/// ended.
pub(crate) fn send_until(address: SocketAddr, prefix: &str, stop: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    let Ok(mut conn) = Conn::open(address) else { return sent };
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{prefix}-{}", sent.len());
        let target = format!("{}?message={id}", route("save-log"));
        let started = Instant::now();
        let answer = conn.try_request("POST", &target, &[("API-KEY", KEY)], b"");
        let ended = Instant::now();
        let (outcome, closes) = match answer {
            Ok(response) if response.status == 200 => {
                assert_eq!(response.text(), "success.");
                let close = response.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
                (Outcome::Acknowledged, close)
            }
            Ok(response) => (Outcome::Refused(response.status), true),
            Err(error) if error.to_string().contains("cut in") => (Outcome::Cut, true),
            Err(_) => (Outcome::Unanswered, true),
        };
        sent.push(Sent { id, outcome, started, ended });
        if closes {
            match Conn::open(address) {
                Ok(next) => conn = next,
                Err(_) => break,
            }
        }
    }
    sent
}

/// Runs senders, and `during` meanwhile. Returns the records of each sender in order.
pub(crate) fn under_load<T>(
    server: &mut Server,
    senders: usize,
    label: &str,
    during: impl FnOnce(&mut Server) -> T,
) -> (Vec<Vec<Sent>>, T) {
    let stop = AtomicBool::new(false);
    let address = server.address();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..senders)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || send_until(address, &format!("{label}-{n}"), stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(server)));
        stop.store(true, Ordering::Relaxed);
        let sent = threads.into_iter().map(|thread| thread.join().expect("a sender")).collect();
        match result {
            Ok(result) => (sent, result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Counts each message in the lines, each of which must be whole.
pub(crate) fn count(lines: &[String]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for line in lines {
        *counts.entry(Line::parse(line).message).or_default() += 1;
    }
    counts
}

/// Asserts that every acknowledged record is stored exactly once, every other record at most once,
/// and the records of each sender in order.
pub(crate) fn assert_kept(lines: &[String], senders: &[Vec<Sent>]) {
    let counts = count(lines);
    let places: HashMap<String, usize> =
        lines.iter().enumerate().map(|(place, line)| (Line::parse(line).message, place)).collect();
    for sent in senders {
        let mut last_place = None;
        for record in sent {
            let times = counts.get(&record.id).copied().unwrap_or_default();
            let is_right = match record.outcome {
                Outcome::Acknowledged => times == 1,
                Outcome::Refused(_) => times == 0,
                Outcome::Unanswered | Outcome::Cut => times <= 1,
            };
            assert!(is_right, "{} is stored {times} times: {:?}", record.id, record.outcome);
            if let Some(&place) = places.get(&record.id) {
                assert!(last_place < Some(place), "{} is out of order", record.id);
                last_place = Some(place);
            }
        }
    }
}

pub(crate) fn acknowledged(senders: &[Vec<Sent>]) -> usize {
    senders.iter().flatten().filter(|sent| sent.outcome == Outcome::Acknowledged).count()
}

/// Returns a random duration between `min` and `max` milliseconds.
pub(crate) fn random_pause(min: u64, max: u64) -> Duration {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").subsec_nanos();
    let mut x = STATE.load(Ordering::Relaxed) ^ u64::from(now) ^ 0x9e37_79b9_7f4a_7c15;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    STATE.store(x, Ordering::Relaxed);
    Duration::from_millis(min + x % (max - min))
}
