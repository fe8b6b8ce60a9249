//! What Redis is asked: one script that looks at all limits of a request and counts it in all of them or in none.
//!
//! A limit is a key `LIMITER/ID/N/M/UNIT`, one of a path `LIMITER/ID/CLIENT/PATH/N/M/UNIT`; ID is the first 32
//! hexadecimal digits of the API key's SHA-256. Its value is the number of hits; it expires with its window, by the
//! clock of Redis. The first hit sets both, no later one moves the end.

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script};

use super::unavailable::{Away, is_unknown_script};
use crate::guard::client_addr::ClientAddr;
use crate::guard::limits::limit::Limits;
use crate::guard::limits::windows::Count;

const SOURCE: &str = include_str!("take.lua");

/// SHA-1 of the source: what Redis calls it by.
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(SOURCE).get_hash().to_owned());

/// The limits of one request.
pub(super) struct Question {
    keys: Vec<String>,
    /// amount, and milliseconds of the window
    limits: Vec<(u64, u64)>,
}

impl Question {
    pub(super) fn new(limits: Limits<'_>, client: ClientAddr) -> Self {
        let keys = limits.iter().map(|limit| limit.redis_name.name(client)).collect();
        let limits = limits.iter().map(|limit| (limit.amount, millis(limit.window))).collect();
        Self { keys, limits }
    }

    /// A hit that limits nobody: whether Redis can count.
    pub(super) fn probe() -> Self {
        Self { keys: vec!["LIMITER/probe".to_owned()], limits: vec![(u64::MAX, 1000)] }
    }

    /// Asks; where each limit stood before. A Redis that has forgotten the script is taught it on the way.
    pub(super) async fn ask(&self, mut connection: MultiplexedConnection) -> Result<Vec<Count>, Away> {
        let answer: RedisResult<Vec<i64>> = self.command("EVALSHA", &HASH).query_async(&mut connection).await;
        match answer {
            Ok(answer) => self.counts(&answer),
            Err(error) if is_unknown_script(&error) => self.teach(connection).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Asks with the whole script, which Redis then knows.
    pub(super) async fn teach(&self, mut connection: MultiplexedConnection) -> Result<Vec<Count>, Away> {
        let answer: Vec<i64> = self.command("EVAL", SOURCE).query_async(&mut connection).await?;
        self.counts(&answer)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for (amount, window) in &self.limits {
            command.arg(amount).arg(window);
        }
        command
    }

    fn counts(&self, answer: &[i64]) -> Result<Vec<Count>, Away> {
        let (pairs, rest) = answer.as_chunks::<2>();
        if pairs.len() != self.limits.len() || !rest.is_empty() {
            return Err(Away::Garbage);
        }
        let count = |&[hits, left]: &[i64; 2]| {
            let hits = u64::try_from(hits).map_err(|_| Away::Garbage)?;
            let left = u64::try_from(left).map_err(|_| Away::Garbage)?;
            Ok(Count { hits, closes_in: Duration::from_millis(left) })
        };
        pairs.iter().map(count).collect()
    }
}

fn millis(window: Duration) -> u64 {
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none() {
        let probe = Question::probe();
        let count = Count { hits: 3, closes_in: Duration::from_millis(40) };
        assert_eq!(probe.counts(&[3, 40]).unwrap(), [count]);
        for garbage in [&[][..], &[1], &[1, 2, 3], &[1, 2, 3, 4], &[-1, 2], &[1, -2]] {
            assert!(matches!(probe.counts(garbage), Err(Away::Garbage)), "{garbage:?}");
        }
    }
}
