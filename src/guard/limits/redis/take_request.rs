//! Builds and sends the request to Redis. One script checks all limits of a request and counts it
//! in all of them, or in none.
//!
//! The value of a counter is the number of hits. Redis expires it with its window, by the clock of
//! Redis. The first hit sets the expiry, and no later hit moves it.

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script};

use super::unavailable::{Unavailable, is_unknown_script};
use crate::guard::client_addr::CountedClient;
use crate::guard::limits::cost::Cost;
use crate::guard::limits::limit::Limits;
use crate::guard::limits::windows::Count;

const SCRIPT: &str = include_str!("take.lua");

/// The SHA-1 of the script, by which `EVALSHA` names it.
static SCRIPT_SHA1: LazyLock<String> = LazyLock::new(|| Script::new(SCRIPT).get_hash().to_owned());

/// A request to count its cost in several limits.
pub(super) struct TakeRequest {
    counters: Vec<String>,
    /// Amount and window in milliseconds of each limit.
    limits: Vec<(u64, u64)>,
    cost: Cost,
}

impl TakeRequest {
    pub(super) fn new(limits: Limits<'_>, client: CountedClient, cost: Cost) -> Self {
        let counters = limits.iter().map(|limit| limit.redis_name.for_client(client)).collect();
        let limits = limits.iter().map(|limit| (limit.amount, millis(limit.window))).collect();
        Self { counters, limits, cost }
    }

    /// Returns a request that limits no client. Its answer shows whether Redis can count.
    pub(super) fn probe() -> Self {
        Self {
            counters: vec!["LIMITER/probe".to_owned()],
            limits: vec![(u64::MAX, 1000)],
            cost: Cost::REQUEST,
        }
    }

    /// Sends the request by the hash of the script, and with the whole script when Redis does not
    /// know the hash.
    ///
    /// Returns the state of each limit before this request.
    pub(super) async fn send(
        &self,
        mut connection: MultiplexedConnection,
    ) -> Result<Vec<Count>, Unavailable> {
        let answer: RedisResult<Vec<i64>> =
            self.command("EVALSHA", &SCRIPT_SHA1).query_async(&mut connection).await;
        match answer {
            Ok(answer) => self.counts(&answer),
            Err(error) if is_unknown_script(&error) => self.send_script(connection).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the request with the whole script. Redis knows the hash of the script afterwards.
    pub(super) async fn send_script(
        &self,
        mut connection: MultiplexedConnection,
    ) -> Result<Vec<Count>, Unavailable> {
        let answer: Vec<i64> = self.command("EVAL", SCRIPT).query_async(&mut connection).await?;
        self.counts(&answer)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.counters.len());
        for counter in &self.counters {
            command.arg(counter);
        }
        for (amount, window) in &self.limits {
            command.arg(amount).arg(window);
        }
        command.arg(self.cost.hits());
        command
    }

    fn counts(&self, answer: &[i64]) -> Result<Vec<Count>, Unavailable> {
        let (pairs, rest) = answer.as_chunks::<2>();
        if pairs.len() != self.limits.len() || !rest.is_empty() {
            return Err(Unavailable::UnexpectedAnswer);
        }
        let count = |&[hits, left]: &[i64; 2]| {
            let hits = u64::try_from(hits).map_err(|_| Unavailable::UnexpectedAnswer)?;
            let left = u64::try_from(left).map_err(|_| Unavailable::UnexpectedAnswer)?;
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
    fn an_answer_of_another_shape_is_an_error() {
        let probe = TakeRequest::probe();
        let count = Count { hits: 3, closes_in: Duration::from_millis(40) };
        assert_eq!(probe.counts(&[3, 40]).unwrap(), [count]);
        for answer in [&[][..], &[1], &[1, 2, 3], &[1, 2, 3, 4], &[-1, 2], &[1, -2]] {
            assert!(matches!(probe.counts(answer), Err(Unavailable::UnexpectedAnswer)), "{answer:?}");
        }
    }
}
