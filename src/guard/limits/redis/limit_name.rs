//! What a limit is called in Redis.
//!
//! A limit is a key `LIMITER/ID/N/M/UNIT`, one of a path `LIMITER/ID/CLIENT/PATH/N/M/UNIT`; ID is the first 32
//! hexadecimal digits of the API key's SHA-256.

use std::fmt::Write;

use crate::config::{KeyDigest, RateLimit};
use crate::guard::client_addr::ClientAddr;

/// How much of a key's digest stands in Redis: nobody can present it, and no two keys share it.
const ID_DIGITS: usize = 32;

/// A limit's key in Redis, but for the client that a limit of a path counts.
pub(crate) struct LimitName {
    before_client: Box<str>,
    /// `None` = all clients count together
    behind_client: Option<Box<str>>,
}

impl LimitName {
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

    pub(crate) fn name(&self, client: ClientAddr) -> String {
        let mut name = String::from(&*self.before_client);
        if let Some(behind) = &self.behind_client {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "{client}{behind}");
        }
        name
    }
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
        let name = |path| LimitName::new(&key, path, &limit("10 per 2 minutes")).name(client);
        assert_eq!(name(None), "LIMITER/ba7816bf8f01cfea414140de5dae2223/10/2/minute");
        assert_eq!(
            name(Some("/moca-file-log/save-log")),
            "LIMITER/ba7816bf8f01cfea414140de5dae2223/2001:db8::1/moca-file-log/save-log/10/2/minute"
        );
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
                LimitName::new(&KeyDigest::of(key), path.as_deref(), limit).name(client)
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
