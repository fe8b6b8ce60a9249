//! Tests that no text makes the parser panic, and that every finding is one line.

use proptest::prelude::*;

use super::super::{Files, Sources};

const FILES: [&str; 6] = [
    r#"{"a": {"host": "::", "port": 5700, "use_ipv6": true, "file": "a.log", "level": 3, "format": "json", "rotate":
        {"max_size": "10MB", "max_age": "30d", "keep": 3, "compress": "gzip"}}, /* c */ "b": {"host": "h", "port": 1,
        "file": "b", "durability": "os",},}"#,
    r#"[{"key": "k", "status": true, "allowed_path": ["/a:60/second"], "required": {"headers": {"x": "y"}, "args":
        {"n": 1.5, "m": null}}, "ip": ["10.0.0.0/8"], "rate": "60 per second", "delay": 0.5, "info": "é"}]"#,
    r#"{"ssl": {"cert": "a", "key": "b"}, "headers": {"X": 1}, "access_control_allowed_origins": ["http://a:1"],
        "rate_limiter_redis_storage": "redis://h:1/2", "pyjs_secret": "0123456789abcdef", "log_level": 10}"#,
    r#"{"maintenance_mode_whitelist": ["127.0.0.1"], "referer": {"allowed_referer": ["http://a"], "force": true},
        "force_headers": {"x": null}, "dos_detect": 5, "root_pass": "pw"}"#,
    r#"["10.0.0.1", "::/8", "2001:db8::1"]"#,
    "request_timeout = 1.5\nkeep_alive = true # c\ntrusted_proxies = [\"10.0.0.0/8\"]\nworkers = 1\n",
];

fn sources(texts: [String; 6]) -> Sources {
    let [log, api_key, server, system, ip_blacklist, http] = texts.map(Some);
    Sources { log, api_key, server, system, ip_blacklist, http }
}

fn check(texts: [String; 6]) -> Result<(), TestCaseError> {
    let findings = match Files::parse(&sources(texts)) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            errors
        }
    };
    for finding in findings {
        prop_assert!(!finding.to_string().contains(['\n', '\r', '\0', '\u{1b}']), "{finding}");
        prop_assert!(!finding.message.is_empty());
    }
    Ok(())
}

#[test]
fn undamaged_files_are_valid() {
    let loaded =
        Files::parse(&sources(FILES.map(str::to_owned))).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(loaded.warnings, []);
}

proptest! {
    #[test]
    fn arbitrary_texts_do_not_panic(text in "(?s).{0,200}", near in r#"[\[\]{}",:0-9a-z/*\\\n. =-]{0,60}"#) {
        check([(); 6].map(|()| text.clone()))?;
        check([(); 6].map(|()| near.clone()))?;
    }

    #[test]
    fn damaged_files_do_not_panic(
        which in 0..6_usize,
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, r#"[\[\]{}",:0-9a-z/*\\\n\x00é.-]{0,4}"#), 1..4),
    ) {
        let mut texts = FILES.map(str::to_owned);
        for (place, length, with) in damages {
            let letters: Vec<char> = texts[which].chars().collect();
            let start = place.index(letters.len() + 1);
            let end = (start + length).min(letters.len());
            let head = letters[..start].iter();
            texts[which] = head.copied().chain(with.chars()).chain(letters[end..].iter().copied()).collect();
        }
        check(texts)?;
    }

    #[test]
    fn truncated_files_do_not_panic(which in 0..6_usize, place in any::<prop::sample::Index>()) {
        let mut texts = FILES.map(str::to_owned);
        let letters: Vec<char> = texts[which].chars().collect();
        texts[which] = letters[..place.index(letters.len())].iter().collect();
        check(texts)?;
    }
}
