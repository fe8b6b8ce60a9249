//! Tests of the findings of the option `listen`.

use crate::config::{Files, Finding, Sources};

fn findings(listen: &str, keys: &str, server: &str) -> (Vec<String>, Vec<String>) {
    let log = format!(
        r#"{{"a": {{"host": "127.0.0.1", "port": 5700, "file": "a", "listen": {listen}}},
             "b": {{"host": "127.0.0.1", "port": 5701, "file": "b"}}}}"#
    );
    let sources = Sources {
        log: Some(log),
        api_key: Some(keys.to_owned()),
        server: Some(server.to_owned()),
        ..Sources::default()
    };
    let shown = |findings: Vec<Finding>| findings.iter().map(ToString::to_string).collect();
    match Files::parse(&sources) {
        Ok(loaded) => (Vec::new(), shown(loaded.warnings)),
        Err(errors) => (shown(errors), Vec::new()),
    }
}

const KEYS: &str = r#"[{"key": "k", "name": "devices", "status": true}, {"key": "l", "name": "off"}]"#;

#[test]
fn mistakes_are_found_with_their_place() {
    for (listen, expected) in [
        ("5", "a.listen"),
        (r#"[{"on": "udp://127.0.0.1:1", "key": "devices"}]"#, "type"),
        (r#"[{"type": "syslogd", "on": "udp://127.0.0.1:1", "key": "devices"}]"#, "`syslog`, `gelf`"),
        (r#"[{"type": "syslog", "on": "127.0.0.1:1", "key": "devices"}]"#, "a.listen[0].on"),
        (r#"[{"type": "syslog", "on": "udp://host:1", "key": "devices"}]"#, "IP address or localhost"),
        (r#"[{"type": "gelf", "on": "unix:/run/x", "key": "devices"}]"#, "no address for gelf"),
        (r#"[{"type": "forward", "on": "udp://127.0.0.1:1", "key": "devices"}]"#, "no address for forward"),
        (r#"[{"type": "syslog", "on": "udp://127.0.0.1:1", "key": ""}]"#, "a.listen[0].key"),
        (r#"[{"type": "syslog", "on": "udp://127.0.0.1:1", "key": "missing"}]"#, "no key has the name"),
        (
            r#"[{"type": "syslog", "on": "udp://127.0.0.1:1", "key": "devices", "shared_key": "s"}]"#,
            "no handshake",
        ),
        (r#"[{"type": "syslog", "on": "tcp://127.0.0.1:5701", "key": "devices"}]"#, "port of log `b`"),
        (
            r#"[{"type": "syslog", "on": "udp://0.0.0.0:1", "key": "devices"},
                {"type": "gelf", "on": "udp://127.0.0.1:1", "key": "devices"}]"#,
            "a.listen[0]",
        ),
        (r#"[{"type": "syslog", "on": "tls://127.0.0.1:1", "key": "devices"}]"#, "ssl"),
    ] {
        let (errors, _) = findings(listen, KEYS, "{}");
        assert_eq!(errors.len(), 1, "{listen}");
        assert!(errors[0].contains(expected), "{listen}: {}", errors[0]);
        assert!(!errors[0].contains("\"s\""));
    }
}

#[test]
fn valid_sockets_have_no_findings() {
    let listen = r#"[{"type": "syslog", "on": "udp://127.0.0.1:5514", "key": "devices"},
        {"type": "syslog", "on": "tcp://127.0.0.1:5514", "key": "devices"},
        {"type": "syslog", "on": "unix:/run/a", "key": "devices"},
        {"type": "gelf", "on": "tcp://127.0.0.1:12201", "key": "devices"},
        {"type": "forward", "on": "tcp://127.0.0.1:24224", "key": "devices", "shared_key": "s"}]"#;
    assert_eq!(findings(listen, KEYS, "{}"), (Vec::new(), Vec::new()));
    assert_eq!(findings("null", KEYS, "{}"), (Vec::new(), Vec::new()));
    let tls = r#"{"ssl": {"cert": "c.pem", "key": "k.pem"}}"#;
    let listen = r#"[{"type": "syslog", "on": "tls://127.0.0.1:6514", "key": "devices"}]"#;
    assert_eq!(findings(listen, KEYS, tls), (Vec::new(), Vec::new()));
    let listen = r#"[{"type": "syslog", "on": "udp://127.0.0.1:1", "key": "off", "tpye": 1}]"#;
    let (_, warnings) = findings(listen, KEYS, "{}");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("switched off")));
    assert!(warnings.iter().any(|warning| warning.contains("a.listen[0].tpye")));
}
