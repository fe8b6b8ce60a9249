//! Tests of rate limits: a property test against a simple model, and the `RateLimit` headers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{AllowedPath, KeyDigest, KeyEntry};
use crate::guard::client_addr::ClientAddr;
use crate::guard::key::{Key, PathRule};

fn key(name: &str, rate: &str, path_rates: &[&str]) -> Key {
    let allowed_path = path_rates
        .iter()
        .enumerate()
        .map(|(n, rate)| AllowedPath { path: format!("/{n}"), rate: rate.parse().unwrap() })
        .collect();
    Key::new(KeyEntry {
        name: name.to_owned(),
        rate: rate.parse().unwrap(),
        allowed_path,
        ..KeyEntry::new(KeyDigest::of(name))
    })
}

fn client(n: u8) -> CountedClient {
    ClientAddr::from(IpAddr::from([192, 0, 2, n])).counted()
}

const ANY: PathRule = PathRule(0);

/// Counts a request of the usual cost.
fn spend(rates: &Rates, limits: Limits<'_>, client: CountedClient, now: Instant) -> Result<Quota, Refusal> {
    rates.spend(limits, client, Cost::REQUEST, now)
}

fn is_accepted(outcome: &Result<Quota, Refusal>) -> bool {
    outcome.is_ok()
}

#[test]
fn a_key_without_limits_opens_no_window() {
    let (rates, key) = (Rates::new(), key("a", "*", &["*"]));
    assert_eq!(spend(&rates, key.limits(ANY), client(1), Instant::now()), Ok(Quota::default()));
    assert_eq!(rates.windows.lock().unwrap().of_keys.sizes(), (0, 0));
}

#[test]
fn a_steady_sender_below_its_limit_is_never_refused() {
    // Version 1.0.0 refused such a sender after its first N hits.
    let (rates, key, start) = (Rates::new(), key("a", "60 per second", &[]), Instant::now());
    for n in 0..1_000 {
        let now = start + Duration::from_millis(100) * n;
        assert!(is_accepted(&spend(&rates, key.limits(ANY), client(1), now)), "{n}");
    }
}

#[test]
fn refused_hits_do_not_prolong_the_window() {
    let (rates, key, start) = (Rates::new(), key("a", "3 per 2 seconds", &[]), Instant::now());
    let outcomes: Vec<_> = (0..20)
        .map(|n| {
            is_accepted(&spend(&rates, key.limits(ANY), client(1), start + Duration::from_millis(200) * n))
        })
        .collect();
    let expected: Vec<_> = (0..20).map(|n| n % 10 < 3).collect();
    assert_eq!(outcomes, expected);
}

#[test]
fn a_refused_request_counts_in_no_limit() {
    let (rates, now) = (Rates::new(), Instant::now());
    let key = key("a", "3/hour", &["1/minute", "*"]);
    assert!(is_accepted(&spend(&rates, key.limits(PathRule(0)), client(1), now)));
    for _ in 0..50 {
        assert!(!is_accepted(&spend(&rates, key.limits(PathRule(0)), client(1), now)));
    }
    assert!(
        is_accepted(&spend(&rates, key.limits(PathRule(0)), client(2), now)),
        "path rates are per client"
    );
    assert!(is_accepted(&spend(&rates, key.limits(PathRule(1)), client(1), now)), "path rates are per path");
    assert!(
        !is_accepted(&spend(&rates, key.limits(PathRule(1)), client(3), now)),
        "the limit of the key is for all clients"
    );
    // The limit of the key refused the request, so the window of the path stayed closed.
    let state = spend(&rates, key.limits(PathRule(0)), client(9), now).unwrap_err();
    let path = state.quota().unwrap().limits().iter().find(|limit| limit.amount == 1).unwrap();
    assert_eq!(path.remaining, 1);
}

#[test]
fn a_limit_of_zero_refuses_every_request() {
    let (rates, key, now) = (Rates::new(), key("a", "0/minute", &[]), Instant::now());
    let refusal = spend(&rates, key.limits(ANY), client(1), now).unwrap_err();
    assert_eq!(refusal.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(refusal.quota().unwrap().rate_limit().unwrap(), r#""a";r=0;t=60"#);
}

#[test]
fn a_request_after_retry_after_is_accepted() {
    let (rates, key, now) = (Rates::new(), key("a", "1/minute;2/hour", &[]), Instant::now());
    assert!(is_accepted(&spend(&rates, key.limits(ANY), client(1), now)));
    let later = now + Duration::from_millis(500);
    let wait = spend(&rates, key.limits(ANY), client(1), later).unwrap_err().retry_after().unwrap();
    assert_eq!(wait.as_secs(), 60);
    assert!(is_accepted(&spend(&rates, key.limits(ANY), client(1), later + wait)));
    let wait = spend(&rates, key.limits(ANY), client(1), later + wait).unwrap_err().retry_after().unwrap();
    assert_eq!(wait.as_secs(), 3600 - 60, "the longest of the limits that refuse");
}

#[test]
fn a_window_survives_a_reload_that_keeps_its_limit() {
    let (rates, now) = (Rates::new(), Instant::now());
    assert!(is_accepted(&spend(&rates, key("a", "1/minute", &[]).limits(ANY), client(1), now)));
    assert!(!is_accepted(&spend(&rates, key("a", "1 per 1 MINUTE", &[]).limits(ANY), client(1), now)));
    assert!(is_accepted(&spend(&rates, key("a", "2/minute", &[]).limits(ANY), client(1), now)));
    assert!(is_accepted(&spend(&rates, key("b", "1/minute", &[]).limits(ANY), client(1), now)));
}

#[test]
fn equal_limits_become_one_limit() {
    let (rates, key, now) = (Rates::new(), key("a", "2/minute,2 per minute", &[]), Instant::now());
    assert!(is_accepted(&spend(&rates, key.limits(ANY), client(1), now)));
    assert!(is_accepted(&spend(&rates, key.limits(ANY), client(1), now)));
    assert!(!is_accepted(&spend(&rates, key.limits(ANY), client(1), now)));
}

#[test]
fn headers_of_one_and_of_several_limits() {
    let (rates, now) = (Rates::new(), Instant::now());
    let one = spend(&rates, key("web", "10/minute", &[]).limits(ANY), client(1), now).unwrap();
    assert_eq!(one.rate_limit().unwrap(), r#""web";r=9;t=60"#);
    assert_eq!(one.rate_limit_policy().unwrap(), r#""web";q=10;w=60"#);
    let several = key("two", "100/hour,10/minute", &["10/minute"]);
    let several = spend(&rates, several.limits(ANY), client(1), now).unwrap();
    assert_eq!(
        several.rate_limit().unwrap(),
        r#""two-/0-10/60";r=9;t=60, "two-10/60";r=9;t=60, "two-100/3600";r=99;t=3600"#
    );
}

#[test]
fn many_clients_use_bounded_memory_and_evict_no_window_of_a_key() {
    let rates = Rates::with_capacity(50);
    let (key, now) = (key("a", "1000/hour", &["1/day"]), Instant::now());
    for n in 0..1_000_u32 {
        let client = ClientAddr::from(IpAddr::V4(n.into())).counted();
        assert!(is_accepted(&spend(&rates, key.limits(ANY), client, now + Duration::from_millis(1) * n)));
    }
    let now = now + Duration::from_secs(1);
    assert!(!is_accepted(&spend(&rates, key.limits(ANY), client(1), now)), "a thousand were counted");
    let tables = rates.windows.lock().unwrap();
    assert_eq!((tables.of_keys.sizes().0, tables.of_clients.sizes().0), (1, 50));
}

/// The windows of each limit, each as the list of its accepted hits.
#[derive(Default)]
struct Model(HashMap<(usize, u8), Vec<Instant>>);

impl Model {
    /// Returns the hits of the window that is open at `now`.
    fn open(&mut self, id: (usize, u8), window: Duration, now: Instant) -> &mut Vec<Instant> {
        let hits = self.0.entry(id).or_default();
        if hits.first().is_some_and(|&first| now >= first + window) {
            hits.clear();
        }
        hits
    }
}

proptest! {
    #[test]
    fn behaves_like_a_simple_model(
        limits in prop::collection::vec((0_u64..5, 1_u64..4), 0..4),
        path_limits in prop::collection::vec((1_u64..4, 1_u64..4), 0..3),
        hits in prop::collection::vec((0_u8..3, 0_u64..1_500, 1_u64..3), 0..200),
    ) {
        let text = |limits: &[(u64, u64)]| match limits {
            [] => "*".to_owned(),
            some => some.iter().map(|(n, s)| format!("{n}/{s}second")).collect::<Vec<_>>().join(","),
        };
        let (mut limits, mut path_limits) = (limits, path_limits);
        let mut seen = std::collections::HashSet::new();
        limits.retain(|limit| seen.insert(*limit));
        seen.clear();
        path_limits.retain(|limit| seen.insert(*limit));
        let key = key("k", &text(&limits), &[&text(&path_limits)]);
        let (rates, mut model, mut now) = (Rates::new(), Model::default(), Instant::now());
        for (client_number, pause, cost) in hits {
            now += Duration::from_millis(pause);
            let all: Vec<_> = limits.iter().enumerate().map(|(n, limit)| ((n, 0), limit))
                .chain(path_limits.iter().enumerate().map(|(n, limit)| ((100 + n, client_number), limit)))
                .map(|(id, &(amount, seconds))| (id, amount, Duration::from_secs(seconds)))
                .collect();
            let fits = all.iter().all(|&(id, amount, window)| model.open(id, window, now).len() as u64 + cost <= amount);
            if fits {
                for &(id, _, window) in &all {
                    let hits = model.open(id, window, now);
                    hits.resize(hits.len() + cost as usize, now);
                }
            }
            let cost = Cost::of(NonZeroU64::new(cost).unwrap());
            let outcome = rates.spend(key.limits(ANY), client(client_number), cost, now);
            prop_assert_eq!(is_accepted(&outcome), fits);
            let quota = match &outcome {
                Ok(quota) => quota,
                Err(refusal) => refusal.quota().unwrap(),
            };
            let mut left: Vec<u64> = all.iter()
                .map(|&(id, amount, window)| amount - (model.open(id, window, now).len() as u64).min(amount))
                .collect();
            left.sort_unstable();
            let shown: Vec<u64> = quota.limits().iter().map(|limit| limit.remaining).collect();
            prop_assert_eq!(shown, left);
        }
    }
}
