//! Tests invalid values: each is rejected with its position and what was expected.

use super::super::{Files, Sources};
use super::refused;

/// Returns position and path of the error. Checks that it says what was expected.
fn place(file: &str, text: &str) -> String {
    let finding = refused(file, text);
    assert!(finding.message.contains("expected"), "{finding}");
    assert_eq!(finding.file, file);
    let (line, column) = (finding.line.unwrap(), finding.column.unwrap());
    format!("{line}:{column} {}", finding.path)
}

/// Returns the text of a log with `options` and the required options.
fn log(options: &str) -> String {
    format!(r#"{{"a": {{"host": "127.0.0.1", "port": 1, "file": "a.log", {options}}}}}"#)
}

#[test]
fn display_is_one_line_with_position_path_and_message() {
    let text = "{\n  \"sample1\": {\n    \"host\": \"0.0.0.0\",\n    \"port\": \"5700\",\n    \"file\": \"a\"\n  }\n}";
    assert_eq!(
        refused("log.json", text).to_string(),
        "log.json:4:13: sample1.port: invalid value: string \"5700\", expected a port, an integer from 1 to 65535"
    );
    let toml = "# times\nkeep_alive_timeout = true\n";
    assert_eq!(
        refused("http.toml", toml).to_string(),
        "http.toml:2:1: keep_alive_timeout: invalid value: boolean `true`, expected seconds, a number above 0, \
         at most 31536000"
    );
}

#[test]
fn invalid_options_of_log_json_are_rejected() {
    for (options, path) in [
        (r#""status": 1"#, "status"),
        (r#""status": "true""#, "status"),
        (r#""status": null"#, "status"),
        (r#""use_ipv6": 0"#, "use_ipv6"),
        (r#""level": 5"#, "level"),
        (r#""level": -1"#, "level"),
        (r#""level": "3""#, "level"),
        (r#""level": 1.0"#, "level"),
        (r#""level": "notice""#, "level"),
        (r#""level": null"#, "level"),
        (r#""format": "xml""#, "format"),
        (r#""durability": true"#, "durability"),
        (r#""max_message": 0"#, "max_message"),
        (r#""max_message": 1048577"#, "max_message"),
        (r#""long_messages": "keep""#, "long_messages"),
        (r#""max_batch": 0"#, "max_batch"),
        (r#""max_batch": 131073"#, "max_batch"),
        (r#""fields": 1"#, "fields"),
        (r#""drop_fields": "password""#, "drop_fields"),
        (r#""rotate": []"#, "rotate"),
        (r#""rotate": "daily""#, "rotate"),
    ] {
        let column = 58 + options.find(':').unwrap() + 2 - 1;
        assert_eq!(place("log.json", &log(options)), format!("1:{column} a.{path}"), "{options}");
    }
    for (option, values) in [
        ("max_size", &["0", "-1", "1.5", "\"0MB\"", "\"10M\"", "\"\"", "true", "{}"][..]),
        ("every", &["\"month\"", "1", "\"Day\""]),
        ("keep", &["-1", "\"3\"", "1.0"]),
        ("max_age", &["30", "\"0d\"", "\"30\"", "\"1y\""]),
        ("max_total", &["0", "\"lots\""]),
        ("min_free", &["-5", "\"x\""]),
        ("compress", &["\"lz4\"", "true"]),
    ] {
        for value in values {
            let text = log(&format!("\n\"rotate\": {{\"{option}\": {value}}}"));
            let column = 11 + option.len() + 5;
            assert_eq!(place("log.json", &text), format!("2:{column} a.rotate.{option}"), "{option} {value}");
        }
    }
    for port in ["0", "65536", "-1", "\"80\"", "80.5", "null"] {
        let text = format!("{{\"a\": {{\"host\": \"h\", \"file\": \"f\",\n\"port\": {port}}}}}");
        assert_eq!(place("log.json", &text), "2:9 a.port");
    }
    for host in ["\"\"", "\"[::1]\"", "\"a b\"", "\"http://a\"", "1", "\"300.1.1.1\"", "\"::1%eth0\""] {
        let text = format!("{{\"a\": {{\"port\": 1, \"file\": \"f\",\n\"host\": {host}}}}}");
        assert_eq!(place("log.json", &text), "2:9 a.host");
    }
    for file in [
        "\"\"",
        "\"/\"",
        "\"a/\"",
        "\"..\"",
        "\"../a\"",
        "\"a/../b\"",
        "\"a\\u0000b\"",
        "7",
        "\".\"",
        "\"a/.\"",
    ] {
        let text = format!("{{\"a\": {{\"port\": 1, \"host\": \"h\",\n\"file\": {file}}}}}");
        assert_eq!(place("log.json", &text), "2:9 a.file");
    }
    for name in ["", ".", "..", "a/b", "a\\nb", &"x".repeat(201)] {
        let text = format!("{{\n\"{name}\": {{\"port\": 1, \"host\": \"h\", \"file\": \"f\"}}}}");
        let finding = refused("log.json", &text);
        assert!(finding.message.contains("expected the name of a log"), "{finding}");
        assert_eq!(finding.line, Some(2));
        assert!(!finding.to_string().contains('\n'));
    }
    let finding = refused("log.json", r#"{"a": {"host": "h", "file": "f"}}"#);
    assert_eq!(finding.to_string(), "log.json:1:7: a: missing option `port`");
}

#[test]
fn conflicting_logs_are_rejected() {
    let two = |host_a: &str, host_b: &str, more: &str| {
        format!(
            "{{\"a\": {{\"host\": \"{host_a}\", \"port\": 1, \"file\": \"a\"}},\n\
             \"b\": {{\"host\": \"{host_b}\", \"file\": \"b\", \"port\": 1{more}}}}}"
        )
    };
    for (a, b) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "0.0.0.0"),
        ("::1", "0:0::1"),
        ("localhost", "LocalHost"),
    ] {
        let finding = refused("log.json", &two(a, b, ""));
        assert_eq!((finding.path.as_str(), finding.line), ("b.port", Some(2)), "{finding}");
        super::accepted("log.json", &two(a, b, ", \"status\": false"));
    }
    for (a, b) in [("127.0.0.1", "127.0.0.2"), ("0.0.0.0", "::1"), ("localhost", "example.com")] {
        super::accepted("log.json", &two(a, b, ""));
    }
    let text = r#"{"a": {"host": "h", "port": 1, "file": "x/a.log"}, "b": {"host": "h", "port": 2, "file": "./x//a.log"}}"#;
    assert_eq!(place("log.json", text), "1:90 b.file");
    assert_eq!(place("log.json", &log("\n\"use_ipv6\": true")), "2:13 a.use_ipv6");
}

#[test]
fn syntax_errors_have_a_position() {
    for (text, at) in [
        ("{\n  \"a\": {,}\n}", "2:9 a"),
        ("{\"a\": 1}\n{}", "2:1 "),
        ("{\"a\": 1} x", "1:10 "),
        ("{\n\"a\": 1,\n\"b\": 2,\n  \"a\": 3}", "4:5 "),
        ("{\"a\": {\"port\": 1,\n\"port\": 2}}", "2:6 a"),
        ("[1, 2", "1:5 "),
        ("{\"a\": nul}", "1:10 a"),
        ("{\"a\": 1 /* }", "1:9 "),
        ("{\"a\": 'x'}", "1:7 a"),
        ("{\"a\": {\"x\": 1 \"é\": 2}}", "1:15 a"),
    ] {
        let finding = refused("log.json", text);
        let (line, column) = (finding.line.unwrap(), finding.column.unwrap());
        assert_eq!(format!("{line}:{column} {}", finding.path), at, "{text}: {finding}");
    }
    assert!(refused("log.json", "{\"a\": 1, \"a\": 2}").message.contains("`a` occurs twice"));
    for empty in ["", " \n", "// nothing", "\u{feff}"] {
        assert_eq!(refused("log.json", empty).message, "the file is empty");
    }
    let deep = "[".repeat(100_000);
    assert!(refused("ip_blacklist.json", &deep).message.contains("recursion"));
    let toml = refused("http.toml", "workers = 1\nworkers = 2\n");
    assert_eq!(toml.line, Some(2));
    assert_eq!(refused("http.toml", "a = \n").line, Some(1));
}

#[test]
fn file_names_of_segments_are_rejected() {
    for file in ["a.log.20200101T000000Z-1", "./a.log.20200101T000000Z-1.zst", "a.log.torn"] {
        let text = format!(
            r#"{{"a": {{"host": "h", "port": 1, "file": "a.log"}}, "b": {{"host": "h", "port": 2, "file": "{file}"}}}}"#
        );
        assert!(place("log.json", &text).ends_with("b.file"), "{file}");
    }
}

#[test]
fn wrong_type_of_a_whole_file_is_rejected() {
    for (file, text) in [
        ("log.json", "[]"),
        ("log.json", "null"),
        ("api_key.json", "{}"),
        ("server.json", "[]"),
        ("system.json", "7"),
        ("ip_blacklist.json", "{}"),
        ("ip_blacklist.json", "\"10.0.0.1\""),
    ] {
        assert_eq!(place(file, &format!("\n {text}")), "2:2 ", "{file}");
    }
    assert_eq!(place("log.json", "{\"a\": []}"), "1:7 a");
    assert_eq!(place("api_key.json", "[[\"k\"]]"), "1:2 [0]");
    assert_eq!(place("system.json", "{\"referer\": []}"), "1:13 referer");
    assert_eq!(place("server.json", "{\"ssl\": [null, null]}"), "1:9 ssl");
    assert_eq!(place("ip_blacklist.json", "[\"10.0.0.1\",\n \"10.0.0.300\"]"), "2:2 [1]");
}

#[test]
fn invalid_options_of_api_key_json_are_rejected() {
    let long = format!("\"{}\"", "k".repeat(1025));
    for (option, values) in [
        ("key", &["\"\"", "1", "null", "\"sha256:zz\"", "\"sha256:\"", long.as_str(), "[\"a\"]"][..]),
        ("name", &["\"\"", "\"a|b\"", "\"<\"", "\"a\\nb\"", "7", "null"]),
        ("status", &["1", "\"yes\""]),
        ("allowed_path", &["\"/\"", "7"]),
        ("required", &["[]", "7"]),
        ("ip", &["null", "7", "\"127.0.0.1000\"", "\"localhost\""]),
        ("rate", &["\"60\"", "60", "\"1/week\"", "\"\"", "null", "\"1/second;\""]),
        ("delay", &["-1", "3601", "\"1\"", "null", "-0.5"]),
        ("info", &["7"]),
    ] {
        for value in values {
            let other = if option == "key" { "\"info\": null" } else { "\"key\": \"k\"" };
            let text = format!("[{{{other},\n\"{option}\": {value}}}]");
            assert_eq!(
                place("api_key.json", &text),
                format!("2:{} [0].{option}", option.len() + 5),
                "{value}"
            );
        }
    }
    for (options, path) in [
        (r#""allowed_path": ["a"]"#, "allowed_path[0]"),
        (r#""allowed_path": ["/", "/a:ten/second"]"#, "allowed_path[1]"),
        (r#""allowed_path": ["/%ff"]"#, "allowed_path[0]"),
        (r#""ip": ["10.0.0.1", "10.0.0.0/33"]"#, "ip[1]"),
        (r#""required": {"headers": {"a b": "x"}}"#, "required.headers.a b"),
        (r#""required": {"headers": {"X-A": null}}"#, "required.headers.X-A"),
        (r#""required": {"headers": {"X-A": "1", "x-a": "2"}}"#, "required.headers.x-a"),
        (r#""required": {"args": {"a": []}}"#, "required.args.a"),
        (r#""required": {"args": {"a": {}}}"#, "required.args.a"),
    ] {
        let finding = refused("api_key.json", &format!(r#"[{{"key": "k"}}, {{"key": "j", {options}}}]"#));
        assert_eq!(finding.path, format!("[1].{path}"), "{finding}");
        assert!(finding.message.contains("expected"), "{finding}");
    }
    assert_eq!(refused("api_key.json", "[{}]").message, "missing option `key`");
}

#[test]
fn invalid_options_of_server_json_are_rejected() {
    for (options, path) in [
        (r#""ssl": {"cert": "a.pem"}"#, "ssl"),
        (r#""ssl": {"key": "a.pem", "cert": null}"#, "ssl"),
        (r#""ssl": {"key": ""}"#, "ssl.key"),
        (r#""debug": "false""#, "debug"),
        (r#""access_log": null"#, "access_log"),
        (r#""log_level": 25"#, "log_level"),
        (r#""log_level": "20""#, "log_level"),
        (r#""backlog": 0"#, "backlog"),
        (r#""headers": {"a:": "x"}"#, "headers.a:"),
        (r#""headers": {"a": "x\ny"}"#, "headers.a"),
        (r#""headers": {"Content-Length": 5}"#, "headers.Content-Length"),
        (r#""headers": {"a": null}"#, "headers.a"),
        (
            r#""access_control_allowed_origins": ["http://a", "localhost"]"#,
            "access_control_allowed_origins[1]",
        ),
        (r#""access_control_allowed_methods": ["GET", "P T"]"#, "access_control_allowed_methods[1]"),
        (r#""access_control_max_age": -1"#, "access_control_max_age"),
        (r#""rate_limiter_redis_storage": "http://h""#, "rate_limiter_redis_storage"),
        (r#""rate_limiter_redis_storage": "redis://""#, "rate_limiter_redis_storage"),
        (r#""rate_limiter_redis_storage": "redis://h:0""#, "rate_limiter_redis_storage"),
        (r#""rate_limiter_redis_storage": "redis://h/x""#, "rate_limiter_redis_storage"),
        (r#""rate_limiter_redis_storage": "redis+unix://""#, "rate_limiter_redis_storage"),
        (r#""pyjs_secret": "0123456789abcde""#, "pyjs_secret"),
        (r#""pyjs_secret": "0123456789abcdeé""#, "pyjs_secret"),
        (r#""pyjs_secret": """#, "pyjs_secret"),
        (r#""pyjs_secret": 1234567890123456"#, "pyjs_secret"),
    ] {
        let finding = refused("server.json", &format!("{{\n{options}}}"));
        assert_eq!((finding.path.as_str(), finding.line), (path, Some(2)), "{finding}");
        assert!(finding.message.contains("expected"), "{finding}");
    }
}

#[test]
fn invalid_options_of_system_json_are_rejected() {
    let long = format!(r#""root_pass": "{}""#, "p".repeat(1025));
    for (options, path) in [
        (r#""maintenance_mode": 1"#, "maintenance_mode"),
        (r#""maintenance_mode_whitelist": "127.0.0.1""#, "maintenance_mode_whitelist"),
        (r#""maintenance_mode_whitelist": ["localhost"]"#, "maintenance_mode_whitelist[0]"),
        (r#""referer": {"allowed_referer": ["http://a/b"]}"#, "referer.allowed_referer[0]"),
        (r#""referer": {"force": null}"#, "referer.force"),
        (r#""force_headers": {"a b": null}"#, "force_headers.a b"),
        (r#""force_headers": {"a": []}"#, "force_headers.a"),
        (r#""dos_detect": -1"#, "dos_detect"),
        (r#""dos_detect": 1.5"#, "dos_detect"),
        (
            r#""block_ip_when_received_invalid_system_auth": "1""#,
            "block_ip_when_received_invalid_system_auth",
        ),
        (r#""root_pass": 1234"#, "root_pass"),
        (r#""root_pass": ["x"]"#, "root_pass"),
        (r#""root_pass": "$argon2id$""#, "root_pass"),
        (r#""root_pass": "$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ""#, "root_pass"),
        (r#""root_pass": "$argon2id$v=19$m=1,t=0,p=0$c29tZXNhbHQ$8mLl4fZVtJQ0O+3Qd6h0JQ""#, "root_pass"),
        (r#""root_pass": "$argon2i$v=19$m=16,t=2,p=1$c29tZXNhbHQ$8mLl4fZVtJQ0O+3Qd6h0JQ""#, "root_pass"),
        (&long, "root_pass"),
    ] {
        let finding = refused("system.json", &format!("{{\n{options}}}"));
        assert_eq!((finding.path.as_str(), finding.line), (path, Some(2)), "{finding}");
        assert!(finding.message.contains("expected"), "{finding}");
    }
}

#[test]
fn invalid_options_of_http_toml_are_rejected() {
    for (option, values) in [
        ("request_max_size", &["0", "-1", "\"1MB\"", "1.0"][..]),
        ("request_timeout", &["0", "-1", "nan", "inf", "\"60\"", "1e300", "0.0"]),
        ("keep_alive", &["1", "\"true\""]),
        ("graceful_shutdown_timeout", &["-1", "-0.5"]),
        ("access_log", &["0"]),
        ("proxies_count", &["-1", "1.5", "false"]),
        ("forwarded_for_header", &["\"a b\"", "false"]),
        ("real_ip_header", &["true", "\"a b\"", "1"]),
        ("forwarded_secret", &["true", "5"]),
        ("workers", &["0", "65"]),
        ("max_connections", &["0", "5000000000"]),
        ("max_streams", &["0", "-1", "5000000000"]),
        ("max_header_size", &["1"]),
        ("max_headers", &["0", "1000000"]),
        ("trusted_proxies", &["\"*\"", "false", "[\"x\"]", "[1]"]),
        ("body_timeout", &["1979-05-27"]),
    ] {
        for value in values {
            let finding = refused("http.toml", &format!("# a comment\n{option} = {value}\n"));
            assert_eq!(finding.line, Some(2), "{option} = {value}: {finding}");
            assert!(finding.path.starts_with(option), "{finding}");
            assert!(finding.message.contains("expected"), "{finding}");
        }
    }
    let finding = refused("http.toml", "trusted_proxies = [\"10.0.0.1\",\n  \"x\"]\n");
    assert_eq!(
        (finding.path.as_str(), finding.line, finding.column),
        ("trusted_proxies[1]", Some(2), Some(3))
    );
}

#[test]
fn errors_do_not_contain_secrets() {
    for (file, text) in [
        ("api_key.json", r#"[{"key": "sha256:hunter2"}]"#),
        ("api_key.json", r#"[{"key": 77777}]"#),
        ("server.json", r#"{"pyjs_secret": "hunter2"}"#),
        ("server.json", r#"{"rate_limiter_redis_storage": "http://:hunter2@h"}"#),
        ("system.json", r#"{"root_pass": "$argon2id$hunter2"}"#),
        ("system.json", r#"{"root_pass": 77777}"#),
        ("http.toml", "forwarded_secret = 77777"),
        ("http.toml", "forwarded_secret = \"hunter2\" x"),
        ("system.json", r#"{"root_pass": "hunter2" x}"#),
    ] {
        let shown = refused(file, text).to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("77777"), "{shown}");
    }
}

#[test]
fn each_invalid_file_has_an_error() {
    let wrong = || Some("?".to_owned());
    let sources = Sources {
        log: None,
        api_key: wrong(),
        server: wrong(),
        system: wrong(),
        ip_blacklist: wrong(),
        http: wrong(),
    };
    let errors = Files::parse(&sources).unwrap_err();
    let files: Vec<_> = errors.iter().map(|finding| finding.file).collect();
    let all = ["log.json", "api_key.json", "server.json", "system.json", "ip_blacklist.json", "http.toml"];
    assert_eq!(files, all);
    assert!(errors[0].to_string().contains("missing"));
}
