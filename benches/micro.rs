//! Measures single functions of the hot path: `make bench-micro`.
//!
//! Shows the effect of a change on one function. `make bench` measures whole requests.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use criterion::{Criterion, Throughput};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::tz::TimeZone;
use moca_file_log::config::{Files, KeyDigest, KeyEntry, LogName, RateLimit, RateLimits, Unit};
use moca_file_log::guard::{
    AdmittedKey, Caller, ClientAddr, Cost, Guard, Head, PresentedKey, Rules, admit_address, peek_key,
};
use moca_file_log::http::micro;
use moca_file_log::record::{Clock, Entry, Field, Level, Line, LineFormat, write_line};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A message of usual length without a character to escape.
const PLAIN: &str =
    "payment 4711 accepted: 129.90 EUR for order 2026-11-0815, customer 99120, gateway answered in 81 ms";
const CLIENT: ClientAddr = ClientAddr::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
const PATHS: [&str; 2] = ["/moca-file-log/save-log", "/moca-file-log/bench/save-log"];

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    lines(&mut criterion);
    parameters(&mut criterion)?;
    keys(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn lines(criterion: &mut Criterion) {
    let japanese = "注文 4711 を受け付けました。".repeat(4);
    let hostile = "\\\n\r\u{1b}[31m\u{2028}|>)<".repeat(10);
    let mut group = criterion.benchmark_group("line");
    let mut clock = Clock::new(TimeZone::system());
    group.bench_function("stamp", |bencher| bencher.iter(|| clock.stamp()));
    let stamp = clock.stamp();
    let mut out = Vec::with_capacity(4096);
    let five =
        [("user", "bob"), ("status", "200"), ("path", "/a/b"), ("agent", "curl 8.5.0"), ("ms", "81.25")]
            .map(|(name, value)| Field::of_sender(name, value));
    let cases: [(&str, &str, &[Field<'_>]); 4] = [
        ("plain", PLAIN, &[]),
        ("utf8", &japanese, &[]),
        ("hostile", &hostile, &[]),
        ("fields", PLAIN, &five),
    ];
    for (name, message, fields) in cases {
        for (form, format) in [("text", LineFormat::Text), ("json", LineFormat::Json)] {
            let line = Line {
                entry: Entry { fields, ..Entry::new(Level::Info, message) },
                stamp: &stamp,
                client: "127.0.0.1",
                key: "bench",
                route: "save-log",
                pid: 4711,
                seq: 123_456,
            };
            group.throughput(Throughput::Bytes(message.len() as u64));
            group.bench_function(format!("{form}/{name}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    write_line(&mut out, format, black_box(&line));
                });
            });
        }
    }
    group.finish();
}

fn parameters(criterion: &mut Criterion) -> Outcome {
    let json = format!(r#"{{"level":1,"message":"{PLAIN}"}}"#);
    let more = r#""user":"bob","ms":12,"time":1795410148100,"http":{"method":"GET","status":200}"#;
    let five_fields = format!(r#"{{"level":"info","message":"{PLAIN}",{more}}}"#);
    let escaped = format!(r#"{{"level":"error","message":"{}"}}"#, r#"a \"quoted\" line\n\u00e9"#.repeat(4));
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("level", "info")
        .append_pair("message", PLAIN)
        .finish();
    let batch = |entries: usize| {
        let entry = format!(r#"{{"level":1,"message":"{PLAIN}"}}"#);
        format!(r#"{{"logs":[{}]}}"#, vec![entry; entries].join(","))
    };
    let mut of_json = HeaderMap::new();
    of_json.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    of_json.insert("api-key", HeaderValue::from_static("bench-key"));
    let mut of_form = of_json.clone();
    of_form.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));

    let mut group = criterion.benchmark_group("parameters");
    let cases = [
        ("json", &of_json, None, json.as_str()),
        ("json-five-fields", &of_json, None, five_fields.as_str()),
        ("json-escaped", &of_json, None, escaped.as_str()),
        ("form", &of_form, None, form.as_str()),
        ("query", &of_form, Some(form.as_str()), ""),
    ];
    for (name, headers, query, body) in cases {
        micro::record(query, headers, body.as_bytes()).ok_or(name)?;
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| micro::record(black_box(query), headers, black_box(body.as_bytes())));
        });
    }
    for entries in [100, 1000] {
        let body = batch(entries);
        micro::batch(None, &of_json, body.as_bytes()).ok_or("batch")?;
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(format!("batch-{entries}"), |bencher| {
            bencher.iter(|| micro::batch(None, &of_json, black_box(body.as_bytes())));
        });
    }
    group.finish();
    Ok(())
}

fn keys(criterion: &mut Criterion) -> Outcome {
    const KEYS: usize = 10_000;
    let name: LogName = "bench".parse()?;
    let limit = RateLimit { amount: u64::MAX, multiple: 1, unit: Unit::Hour };
    let entry = |key: &str, limits: Vec<RateLimit>| KeyEntry {
        status: true,
        rate: RateLimits::new(limits),
        ..KeyEntry::new(KeyDigest::of(key))
    };
    let files = |keys: usize| Files {
        keys: (0..keys).map(|number| entry(&format!("key-{number}"), Vec::new())).collect(),
        ..Files::default()
    };
    let state = std::env::temp_dir().join(format!("moca-file-log-micro-{}", std::process::id()));
    let guard = Guard::open(&state, &name)?;
    let now = Instant::now();

    let headers = HeaderMap::new();
    // The key of a request whose head passes the checks of the key.
    let find = |rules: &Rules, key: &str| {
        let caller = Caller { guard: &guard, rules, client: CLIENT, now };
        peek_key(
            &caller,
            &Head {
                paths: &PATHS,
                headers: &headers,
                key: Some(&PresentedKey::new(key)),
                body_may_hold_key: false,
            },
        )
    };
    let mut group = criterion.benchmark_group("key");
    for (name, count) in [("of-1", 1), ("of-10000", KEYS)] {
        let rules = Rules::new(&files(count));
        let mut next = 0;
        let presented: Vec<String> = (0..count).map(|number| format!("key-{number}")).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                next = (next + 7919) % presented.len();
                presented.get(next).and_then(|key| find(&rules, key)).is_some()
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("limits");
    let two = vec![limit, RateLimit { unit: Unit::Day, ..limit }];
    let count = |rules: &Rules, key: &AdmittedKey| {
        let caller = Caller { guard: &guard, rules, client: CLIENT, now };
        let address = admit_address(&caller, &mut ());
        address.is_ok_and(|address| address.admit_cached_key(key).count(&caller, Cost::REQUEST).is_ok())
    };
    for (name, limits) in [("none", Vec::new()), ("one", vec![limit]), ("two", two)] {
        let rules = Rules::new(&Files { keys: vec![entry("key", limits)], ..Files::default() });
        let key = find(&rules, "key").ok_or("the key is refused")?;
        group.bench_function(name, |bencher| bencher.iter(|| count(&rules, &key)));
    }
    let many = (0..KEYS).map(|number| entry(&format!("key-{number}"), vec![limit])).collect();
    let rules = Rules::new(&Files { keys: many, ..Files::default() });
    let many: Vec<AdmittedKey> =
        (0..KEYS).filter_map(|number| find(&rules, &format!("key-{number}"))).collect();
    let mut next = 0;
    group.bench_function("one-of-10000-keys", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % many.len();
            many.get(next).is_some_and(|key| count(&rules, key))
        });
    });
    group.finish();
    std::fs::remove_dir_all(&state)?;
    Ok(())
}
