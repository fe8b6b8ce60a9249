//! Tests the meaning of each option, and of its absence.

use std::time::Duration;

use super::super::*;
use super::{LOG, accepted, parse};
use crate::record::{Level, LineFormat};

#[test]
fn documented_samples_are_valid() {
    let logs = r#"{
  "sample1": { "host": "0.0.0.0", "port": 5700, "use_ipv6": false, "file": "sample1.log", "level": 0 },
  "the name of log": {
    "host": "::1", // the host address of this server
    "port": 5701,
    "use_ipv6": true,
    "file": "/var/log/other.log",  // absolute
    "level": "warn", /* and a trailing comma */
  },
}"#;
    let files = accepted("log.json", logs);
    let other = &files.logs["the name of log"];
    assert!(other.status && other.use_ipv6);
    assert_eq!(
        (other.level, other.port, other.file.to_str()),
        (Level::Warning, 5701, Some("/var/log/other.log"))
    );

    let server = r#"{
  "ssl": {  // HTTPS configuration.
    "cert": null,
    "key": null
  },
  "debug": false, "access_log": false, "log_level": 20, "auto_reload": false, "backlog": 100,
  "headers": {},
  "access_control_allowed_credentials": true,
  "access_control_allowed_origins": ["https://localhost", "http://localhost", "https://127.0.0.1", "http://127.0.0.1"],
  "access_control_allowed_methods": ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"],
  "access_control_allow_headers": "*",
  "access_control_max_age": 600,
  "access_control_expose_headers": "*",
  "rate_limiter_redis_storage": null,  // you can use redis
  "pyjs_secret": null, // AES encryption
}"#;
    let read = accepted("server.json", server).server;
    assert_eq!(read, Server { access_log: Some(false), ..Server::default() }, "the sample is the default");

    let system = r#"{
  "maintenance_mode": false,
  "maintenance_mode_whitelist": ["127.0.0.1"],
  "referer": {
    "allowed_referer": ["https:\/\/localhost", "https:\/\/127.0.0.1"],
    "force": false
  },
  "force_headers": {  // All requests must have these headers.

  },
  "dos_detect": 5000,
  "root_pass": "another"
}"#;
    let read = accepted("system.json", system).system;
    assert!(read.allowed_referer.allows("https://localhost/x") && !read.allowed_referer.any);
    assert_eq!(read.root_pass, RootPassword::Clear("another".to_owned()));
}

#[test]
fn absent_files_and_options_have_defaults() {
    let files = accepted("log.json", LOG);
    assert_eq!(files.server, Server::default());
    assert_eq!(files.system, System::default());
    assert_eq!(files.http, HttpSettings::default());
    assert!(files.keys.is_empty() && files.blacklist.is_empty());
    let log = &files.logs["sample1"];
    assert!(log.status && !log.use_ipv6 && log.rotate.is_none());
    assert_eq!((log.level, log.format, log.durability), (Level::Debug, LineFormat::Text, Durability::Disk));
    assert_eq!((log.max_message, log.long_messages, log.max_batch), (8192, LongMessages::Refuse, 1024));
    assert!(log.fields && log.drop_fields.is_empty());

    let system = System::default();
    assert_eq!(system.dos_detect.map(std::num::NonZeroU64::get), Some(5000));
    assert_eq!(system.root_pass, RootPassword::Closed);
    assert!(system.allowed_referer.any && !system.force_referer);
    let cors = Server::default().cors;
    assert_eq!(cors.methods, "GET, HEAD, POST, OPTIONS, PUT, PATCH, DELETE");
    assert!(cors.credentials && !cors.origins.any && cors.origins.list.len() == 4);

    let missing = Files::parse(&Sources { log: Some(LOG.to_owned()), ..Sources::default() }).unwrap();
    assert_eq!(missing.warnings.len(), 1);
    assert_eq!(missing.warnings[0].file, "api_key.json");
}

#[test]
fn all_options_of_a_key_are_read() {
    let text = r#"[{
        "key": "abc", "name": "web 1", "status": true,
        "allowed_path": ["/moca-file-log//./sample1/x/../save-log/:60 per second; 5/hour", "/a%3Ab", "/:*"],
        "required": {"headers": {"X-Site": "a", "X-N": 1.5}, "args": {"a": null, "b": 1, "c": 1.0, "d": true, "e": ""}},
        "ip": ["10.0.0.0/8", "::1"], "rate": "60 per second", "delay": 0.25, "info": "text"
    }, {
        "key": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015aE"
    }]"#;
    let keys = accepted("api_key.json", text).keys;
    let key = &keys[0];
    assert_eq!((key.digest, key.name.as_str(), key.status), (KeyDigest::of("abc"), "web 1", true));
    let paths: Vec<_> = key.allowed_path.iter().map(|p| (p.path.as_str(), p.rate.to_string())).collect();
    let first = "60 per second, 5 per hour".to_owned();
    let none = "*".to_owned();
    assert_eq!(paths, [("/moca-file-log/sample1/save-log", first), ("/a:b", none.clone()), ("/", none)]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(key.required_headers, [pair("x-site", "a"), pair("x-n", "1.5")]);
    let args: Vec<_> = key.required_args.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let is = |value: &str| ArgValue::Text(value.to_owned());
    assert_eq!(
        args,
        [("a", ArgValue::Present), ("b", is("1")), ("c", is("1.0")), ("d", is("true")), ("e", is(""))]
    );
    let ip = key.ip.as_ref().unwrap();
    assert!(ip.contains("10.1.1.1".parse().unwrap()) && !ip.contains("11.1.1.1".parse().unwrap()));
    assert_eq!((key.delay, key.info.as_deref()), (Duration::from_millis(250), Some("text")));
    assert_eq!(keys[1], KeyEntry::new(keys[1].digest));
    assert_eq!(keys[1].digest.short(), "ba7816bf");
}

#[test]
fn addresses_of_a_key_are_read() {
    let ip =
        |ip: &str| accepted("api_key.json", &format!(r#"[{{"key": "k", "ip": {ip}}}]"#)).keys[0].ip.clone();
    assert_eq!(ip(r#""*""#), None);
    assert_eq!(ip(r#"["10.0.0.1", "*"]"#), None);
    assert_eq!(ip(r#""10.0.0.1""#), Some(IpSet::from_texts(["10.0.0.1"]).unwrap()));
    assert_eq!(ip("[]"), Some(IpSet::default()), "no address");
}

#[test]
fn options_of_server_json_are_read() {
    let text = r#"{
        "ssl": {"cert": "a.pem", "key": "/k.pem"}, "headers": {"X-B": "1", "x-a": 2},
        "access_control_allowed_origins": "https://a.example:8443", "access_control_allowed_methods": "GET, POST",
        "access_control_allow_headers": ["X-A", "X-B"], "rate_limiter_redis_storage": "redis://:pw@h:6379/1",
        "pyjs_secret": "0123456789abcdef"
    }"#;
    let server = accepted("server.json", text).server;
    assert_eq!(server.tls.unwrap().key.to_str(), Some("/k.pem"));
    let headers: Vec<_> = server.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-b", "1"), ("x-a", "2")]);
    assert_eq!(
        (server.cors.methods, server.cors.headers),
        ("GET, POST".parse().unwrap(), "X-A, X-B".parse().unwrap())
    );
    assert_eq!(server.pyjs_secret, Some(*b"0123456789abcdef"));
    for url in ["redis://h", "rediss://u:p@h:1/", "redis://[::1]:6379/0?x=1", "redis+unix:///run/r.sock?db=1"]
    {
        accepted("server.json", &format!(r#"{{"rate_limiter_redis_storage": "{url}"}}"#));
    }
}

#[test]
fn options_of_system_json_are_read() {
    let text = r#"{"maintenance_mode": true, "maintenance_mode_whitelist": ["10.0.0.0/8"],
        "referer": {"allowed_referer": ["*"], "force": true}, "force_headers": {"X-A": "v", "X-B": null, "X-C": 3},
        "dos_detect": 0, "block_ip_when_received_invalid_system_auth": 7, "root_pass": null}"#;
    let system = accepted("system.json", text).system;
    assert!(system.maintenance_mode && system.force_referer && system.allowed_referer.any);
    assert!(system.maintenance_mode_whitelist.contains("10.0.0.9".parse().unwrap()));
    assert_eq!(system.dos_detect, None);
    assert_eq!(system.block_ip_when_received_invalid_system_auth, std::num::NonZeroU64::new(7));
    let headers: Vec<_> =
        system.force_headers.iter().map(|h| (h.name.as_str(), h.value.as_deref())).collect();
    assert_eq!(headers, [("x-a", Some("v")), ("x-b", None), ("x-c", Some("3"))]);
    assert_eq!(system.root_pass, RootPassword::Closed);
    assert_eq!(accepted("system.json", r#"{"root_pass": ""}"#).system.root_pass, RootPassword::Closed);

    let hash = "$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ$8mLl4fZVtJQ0O+3Qd6h0JQ";
    let read = accepted("system.json", &format!(r#"{{"root_pass": "{hash}"}}"#)).system.root_pass;
    assert_eq!(read, RootPassword::Argon2id(hash.to_owned()));
}

#[test]
fn options_of_rotation_are_read() {
    let rotate = |rotate: &str| {
        let text = format!(
            r#"{{"a": {{"host": "localhost", "port": 1, "file": "a", "format": "json", "durability": "os", "rotate": {rotate}}}}}"#
        );
        let log = accepted("log.json", &text).logs.into_values().next().unwrap();
        assert_eq!((log.format, log.durability), (LineFormat::Json, Durability::Os));
        log.rotate
    };
    assert_eq!(rotate("null"), None);
    assert_eq!(rotate("{}"), None);
    assert_eq!(rotate(r#"{"compress": null, "keep": null}"#), None);
    let all = rotate(
        r#"{"max_size": "10MB", "every": "week", "keep": 0, "max_age": "30d", "max_total": "1GiB", "min_free": 4096,
            "compress": "zstd"}"#,
    );
    let expected = Rotate {
        max_size: std::num::NonZeroU64::new(10_000_000),
        every: Some(Every::Week),
        keep: Some(0),
        max_age: Some(Duration::from_secs(30 * 86_400)),
        max_total: std::num::NonZeroU64::new(1 << 30),
        min_free: Some(4096),
        compress: Compression::Zstd,
    };
    assert_eq!(all, Some(expected));
}

#[test]
fn options_of_http_toml_are_read() {
    let text = "request_timeout = 1.5\nkeep_alive = false\nproxies_count = 2\nreal_ip_header = \"X-Real-IP\"\n\
        forwarded_secret = \"s\"\ntrusted_proxies = [\"10.0.0.0/8\"]\nworkers = 2\nwebsocket_ping_interval = 0\n";
    let http = accepted("http.toml", text).http;
    assert_eq!((http.request_timeout, http.keep_alive), (Duration::from_millis(1500), false));
    assert_eq!(http.proxies_count.map(std::num::NonZeroU32::get), Some(2));
    assert_eq!(http.real_ip_header.unwrap(), "x-real-ip");
    assert_eq!(http.forwarded_secret.as_deref(), Some("s"));
    assert!(http.trusted_proxies.unwrap().contains("10.0.0.1".parse().unwrap()));
    assert_eq!((http.workers.get(), http.websocket_ping_interval), (2, Duration::ZERO));
    let none = "proxies_count = 0\nreal_ip_header = false\nforwarded_secret = \"\"\ntrusted_proxies = []\n";
    let http = accepted("http.toml", none).http;
    assert_eq!((http.proxies_count, http.real_ip_header, http.forwarded_secret), (None, None, None));
    assert_eq!(http.trusted_proxies, Some(IpSet::default()));
    assert_eq!(accepted("http.toml", "# nothing\n").http, HttpSettings::default());
}

#[test]
fn byte_order_mark_is_ignored() {
    accepted("log.json", &format!("\u{feff}{LOG}"));
    accepted("http.toml", "\u{feff}workers = 1\n");
    let place = parse("log.json", "\u{feff}{\"a\": 1}").unwrap_err().remove(0);
    assert_eq!((place.line, place.column), (Some(1), Some(7)));
}

#[test]
fn hundred_thousand_blocked_addresses_are_read_in_seconds() {
    let list: Vec<String> =
        (0..100_000_u32).map(|n| format!("\"{}\"", std::net::Ipv4Addr::from(n << 8))).collect();
    let start = std::time::Instant::now();
    assert_eq!(accepted("ip_blacklist.json", &format!("[{}]", list.join(",\n"))).blacklist.len(), 100_000);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
