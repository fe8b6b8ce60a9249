//! Tests of the sums of a minute, with a clock of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn client(text: &str) -> ClientAddr {
    ClientAddr::from(text.parse::<IpAddr>().unwrap())
}

fn ipv4(number: u32) -> ClientAddr {
    ClientAddr::from(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// Returns an address of the network `number` of a site.
fn ipv6(number: u128) -> ClientAddr {
    ClientAddr::from(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64 | 1)))
}

fn texts(minutes: &[Minute]) -> Vec<String> {
    minutes.iter().map(Minute::text).collect()
}

#[test]
fn each_sender_has_one_line_a_minute() {
    let (mut minutes, start) = (Minutes::default(), Instant::now());
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    assert!(minutes.add(at(0), client("192.0.2.1"), Some("shop"), 403, "first".into()));
    assert!(!minutes.add(at(10), client("2001:db8::1"), None, 401, "a".into()));
    assert!(!minutes.add(at(30), client("192.0.2.9"), Some("shop"), 429, "last".into()));
    assert!(!minutes.add(at(40), client("2001:db8::2"), None, 400, "b".into()));
    assert_eq!(minutes.next_end(), Some(at(60)));
    assert_eq!(minutes.take_ended(at(59)), []);
    assert_eq!(
        texts(&minutes.take_ended(at(60))),
        ["refused 2 requests with the key shop in a minute; the last one, from 192.0.2.9: 429, last"]
    );
    // The other minute goes on, and ends without a further refusal.
    assert_eq!(minutes.next_end(), Some(at(70)));
    assert!(!minutes.add(at(61), client("192.0.2.1"), Some("shop"), 403, "again".into()));
    assert_eq!(
        texts(&minutes.take_ended(at(100))),
        [
            "refused 2 requests from 2001:db8::/64 without a known key in a minute; the last one, from 2001:db8::2: \
          400, b"
        ]
    );
    assert_eq!(
        texts(&minutes.take_ended(at(121))),
        ["refused 1 request with the key shop in a minute; the last one, from 192.0.2.1: 403, again"]
    );
    assert_eq!(minutes.next_end(), None);
    assert!(minutes.add(at(500), ClientAddr::Local, None, 400, "c".into()), "nothing was open");
    assert_eq!(texts(&minutes.take_all()).len(), 1);
    assert_eq!((minutes.next_end(), minutes.open.len()), (None, 0));
}

#[test]
fn a_site_and_a_crowd_share_a_line_and_push_out_no_other_sender() {
    let (mut minutes, now) = (Minutes::default(), Instant::now());
    minutes.add(now, client("198.51.100.7"), None, 401, "early".into());
    for number in 0..3000 {
        minutes.add(now, ipv6(number), None, 401, "site".into());
    }
    assert_eq!(minutes.open.len(), 1 + MAX_OF_SITE + 1);
    for number in 0..3000 {
        minutes.add(now, ipv4(0x0a00_0000 + number), None, 401, "crowd".into());
    }
    assert_eq!(minutes.open.len(), MAX_SENDERS + 1);
    minutes.add(now, client("198.51.100.7"), None, 401, "late".into());
    let ended = minutes.take_ended(now + MINUTE);
    assert_eq!(ended.iter().map(|minute| minute.count).sum::<u64>(), 6002, "each one is counted");
    let lines = texts(&ended);
    assert!(lines[0].starts_with("refused 2 requests from 198.51.100.7 without"), "{}", lines[0]);
    let site = format!("refused {} requests from 2001:db8::/48 without", 3000 - MAX_OF_SITE);
    assert!(lines.iter().any(|line| line.starts_with(&site)), "{lines:?}");
    assert!(lines.last().unwrap().contains("from other clients without a known key"), "{lines:?}");
    assert_eq!((minutes.keys, minutes.networks, minutes.sites.len()), (0, 0, 0));
}

#[test]
fn a_crowd_of_keys_is_bounded() {
    let (mut minutes, now) = (Minutes::default(), Instant::now());
    for number in 0..2 * MAX_SENDERS {
        minutes.add(now, ipv4(1), Some(&number.to_string()), 403, "off".into());
    }
    assert_eq!(minutes.open.len(), MAX_SENDERS + 1);
    let ended = minutes.take_ended(now + MINUTE);
    assert_eq!(ended.iter().map(|minute| minute.count).sum::<u64>(), 2 * MAX_SENDERS as u64);
    assert!(texts(&ended).last().unwrap().contains("with other keys"));
}

proptest! {
    #[test]
    fn every_refusal_is_counted_once_and_no_sender_twice_a_minute(
        steps in prop::collection::vec((0_u64..40, 0_u32..4, prop::option::of(0_u8..3)), 0..60),
    ) {
        let (mut minutes, start) = (Minutes::default(), Instant::now());
        let (mut now, mut counted, mut lines) = (start, 0, Vec::<(Instant, Sender)>::new());
        let mut note = |ended: Vec<Minute>, now: Instant| {
            for minute in ended {
                counted += minute.count;
                let is_too_early =
                    lines.iter().any(|(at, sender)| *sender == minute.sender && now - *at < MINUTE);
                assert!(!is_too_early, "two lines in a minute: {minute:?}");
                lines.push((now, minute.sender));
            }
        };
        for (pause, from, key) in &steps {
            now += Duration::from_secs(*pause);
            note(minutes.take_ended(now), now);
            let key = key.map(|key| key.to_string());
            minutes.add(now, ipv4(*from), key.as_deref(), 401, String::new());
        }
        now += MINUTE;
        note(minutes.take_ended(now), now);
        prop_assert_eq!(minutes.next_end(), None);
        prop_assert_eq!(counted, steps.len() as u64);
    }
}
