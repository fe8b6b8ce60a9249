//! What Redis is asked: one script that looks at all limits of a request and counts it in all of them or in none.
//!
//! A limit is a key `LIMITER/ID/N/M/UNIT`, one of a path `LIMITER/ID/CLIENT/PATH/N/M/UNIT`; ID is the first 32
//! hexadecimal digits of the API key's SHA-256. Its value is the number of hits; it expires with its window, by the
//! clock of Redis. The first hit sets both, no later one moves the end.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script};

use super::unavailable::{Away, is_unknown_script};
use crate::config::{KeyDigest, RateLimit};
use crate::guard::client_addr::ClientAddr;
use crate::guard::limits::rate::Limits;
use crate::guard::limits::windows::Count;

const SOURCE: &str = include_str!("take.lua");

/// SHA-1 of the source: what Redis calls it by.
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(SOURCE).get_hash().to_owned());

/// How much of a key's digest stands in Redis: nobody can present it, and no two keys share it.
const ID_DIGITS: usize = 32;

/// A limit's key in Redis, but for the client that a limit of a path counts.
pub(crate) struct Naming {
    before_client: Box<str>,
    /// `None` = all clients count together
    behind_client: Option<Box<str>>,
}

impl Naming {
    pub(crate) fn new(key: &KeyDigest, path: Option<&str>, limit: &RateLimit) -> Self {
        let digest = key.to_hex();
        let id = digest.get(..ID_DIGITS).unwrap_or_default();
        let limit = format!("{}/{}/{}", limit.amount, limit.multiple, limit.unit.name());
        match path {
            // A path begins with `/`, and no address holds one: every limit has a name of its own.
            Some(path) => Self {
                before_client: format!("LIMITER/{id}/").into(),
                behind_client: Some(format!("{path}/{limit}").into()),
            },
            None => Self { before_client: format!("LIMITER/{id}/{limit}").into(), behind_client: None },
        }
    }

    fn name(&self, client: ClientAddr) -> String {
        let mut name = String::from(&*self.before_client);
        if let Some(behind) = &self.behind_client {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "{client}{behind}");
        }
        name
    }
}

/// The limits of one request.
pub(super) struct Question {
    keys: Vec<String>,
    /// amount, and milliseconds of the window
    limits: Vec<(u64, u64)>,
}

impl Question {
    pub(super) fn new(limits: Limits<'_>, client: ClientAddr) -> Self {
        let keys = limits.iter().map(|limit| limit.naming.name(client)).collect();
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
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Unit;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    #[test]
    fn names() {
        let key = KeyDigest::of("abc");
        let client = ClientAddr::from("2001:db8::1".parse::<IpAddr>().unwrap());
        let name = |path| Naming::new(&key, path, &limit("10 per 2 minutes")).name(client);
        assert_eq!(name(None), "LIMITER/ba7816bf8f01cfea414140de5dae2223/10/2/minute");
        assert_eq!(
            name(Some("/moca-file-log/save-log")),
            "LIMITER/ba7816bf8f01cfea414140de5dae2223/2001:db8::1/moca-file-log/save-log/10/2/minute"
        );
    }

    #[test]
    fn an_answer_that_is_none() {
        let probe = Question::probe();
        let count = Count { hits: 3, closes_in: Duration::from_millis(40) };
        assert_eq!(probe.counts(&[3, 40]).unwrap(), [count]);
        for garbage in [&[][..], &[1], &[1, 2, 3], &[1, 2, 3, 4], &[-1, 2], &[1, -2]] {
            assert!(matches!(probe.counts(garbage), Err(Away::Garbage)), "{garbage:?}");
        }
    }

    fn any_limit() -> impl Strategy<Value = RateLimit> {
        let unit = prop::sample::select(vec![Unit::Second, Unit::Minute, Unit::Hour, Unit::Year]);
        (0_u64..20, 1_u64..20, unit).prop_map(|(amount, multiple, unit)| RateLimit { amount, multiple, unit })
    }

    fn any_client() -> impl Strategy<Value = ClientAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| ClientAddr::from(IpAddr::from(octets))),
            any::<[u16; 8]>().prop_map(|parts| ClientAddr::from(IpAddr::from(parts))),
            Just(ClientAddr::Local),
        ]
    }

    /// Key, path, limit and client.
    fn any_name() -> impl Strategy<Value = (String, Option<String>, RateLimit, ClientAddr)> {
        ("[ab]{1,2}", prop::option::of("(/[a1.:]{0,2}){1,5}"), any_limit(), any_client())
    }

    proptest! {
        #[test]
        fn every_limit_has_a_name_of_its_own(one in any_name(), other in any_name(), same_client: bool) {
            let client = if same_client { one.3 } else { other.3 };
            let name = |(key, path, limit, _): &(String, Option<String>, RateLimit, ClientAddr), client| {
                Naming::new(&KeyDigest::of(key), path.as_deref(), limit).name(client)
            };
            let same = one.0 == other.0
                && one.1 == other.1
                && one.2 == other.2
                && (one.1.is_none() || one.3 == client);
            prop_assert_eq!(name(&one, one.3) == name(&other, client), same);
            prop_assert!(name(&one, one.3).starts_with("LIMITER/"));
        }
    }
}
