//! Builds the names of limits in Redis.
//!
//! The limit of a key has the name `LIMITER/ID/N/M/UNIT`, the limit of a path
//! `LIMITER/ID/CLIENT/PATH/N/M/UNIT`. ID is the first 32 hexadecimal digits of the API key's
//! SHA-256. CLIENT is an IPv4 address or a network of IPv6 such as `2001:db8::/64`.

use std::fmt::Write;

use crate::config::{KeyDigest, RateLimit};
use crate::guard::client_addr::CountedClient;

/// Number of hexadecimal digits of a key's digest in a name. Half of the digest is enough to
/// distinguish keys, and does not reveal a key.
const ID_DIGITS: usize = 32;

/// The name of a limit, split where the limit of a path has the client's address.
pub(crate) struct LimitName {
    before_client: Box<str>,
    /// `None` for the limit of a key, which counts all clients together.
    after_client: Option<Box<str>>,
}

impl LimitName {
    pub(crate) fn new(key: &KeyDigest, path: Option<&str>, limit: &RateLimit) -> Self {
        let digest = key.to_hex();
        let id = digest.get(..ID_DIGITS).unwrap_or_default();
        let limit = format!("{}/{}/{}", limit.amount, limit.multiple, limit.unit.name());
        match path {
            // A path begins with `/`. An IPv4 address contains none and an IPv6 network always one,
            // so no two limits get the same name.
            Some(path) => Self {
                before_client: format!("LIMITER/{id}/").into(),
                after_client: Some(format!("{path}/{limit}").into()),
            },
            None => Self { before_client: format!("LIMITER/{id}/{limit}").into(), after_client: None },
        }
    }

    /// Returns the name of the counter for a request of `client`.
    pub(crate) fn for_client(&self, client: CountedClient) -> String {
        let mut name = String::from(&*self.before_client);
        if let Some(rest) = &self.after_client {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "{client}{rest}");
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
    use crate::guard::client_addr::ClientAddr;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    #[test]
    fn limits_of_keys_and_of_paths() {
        let key = KeyDigest::of("abc");
        let client = ClientAddr::from("2001:db8::1".parse::<IpAddr>().unwrap()).counted();
        let name = |path| LimitName::new(&key, path, &limit("10 per 2 minutes")).for_client(client);
        assert_eq!(name(None), "LIMITER/ba7816bf8f01cfea414140de5dae2223/10/2/minute");
        assert_eq!(
            name(Some("/moca-file-log/save-log")),
            "LIMITER/ba7816bf8f01cfea414140de5dae2223/2001:db8::/64/moca-file-log/save-log/10/2/minute"
        );
    }

    fn any_limit() -> impl Strategy<Value = RateLimit> {
        let unit = prop::sample::select(vec![Unit::Second, Unit::Minute, Unit::Hour, Unit::Year]);
        (0_u64..20, 1_u64..20, unit).prop_map(|(amount, multiple, unit)| RateLimit { amount, multiple, unit })
    }

    fn any_client() -> impl Strategy<Value = CountedClient> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| ClientAddr::from(IpAddr::from(octets)).counted()),
            any::<[u16; 8]>().prop_map(|parts| ClientAddr::from(IpAddr::from(parts)).counted()),
            Just(CountedClient::Local),
        ]
    }

    /// Key, path, limit and client.
    fn any_name() -> impl Strategy<Value = (String, Option<String>, RateLimit, CountedClient)> {
        ("[ab]{1,2}", prop::option::of("(/[a1.:64]{0,2}){1,5}"), any_limit(), any_client())
    }

    proptest! {
        #[test]
        fn different_limits_have_different_names(one in any_name(), other in any_name(), same_client: bool) {
            let client = if same_client { one.3 } else { other.3 };
            let name = |(key, path, limit, _): &(String, Option<String>, RateLimit, CountedClient), client| {
                LimitName::new(&KeyDigest::of(key), path.as_deref(), limit).for_client(client)
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
