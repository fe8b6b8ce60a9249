//! Tests of GELF over HTTP.

use ::http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::ingest::body::memory::Unlimited;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::entry::read_rules::ReadRules;
use crate::record::Level;

/// Returns the records of a body as `LEVEL message | NAME=VALUE …`, or the error.
fn read_at(path: &str, query: &str, body: &[u8]) -> Result<Vec<String>, String> {
    let route = ROUTES.iter().find(|route| route.path == path).unwrap();
    let (headers, texts) = (HeaderMap::new(), BodyTexts::default());
    let head = RequestHead { route, path, query: Some(query), headers: &headers };
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let request = IngestRequest { head, body, rules: ReadRules::default() };
    let parameters = GelfHttp.parameters(&request).unwrap();
    let batch =
        GelfHttp.entries(&request, parameters).map_err(|error| format!("{} {error}", error.status()))?;
    let shown = batch
        .entries(Level::Debug)
        .iter()
        .map(|entry| {
            let mut text = format!("{} {}", entry.level, entry.message);
            if let Some(at) = entry.at {
                text.push_str(&format!(" at={}", String::from_utf8_lossy(&at.rfc3339())));
            }
            for field in entry.fields {
                text.push_str(&format!(" {}={}", field.name(), field.value()));
            }
            text
        })
        .collect();
    Ok(shown)
}

fn read(body: &str) -> Result<Vec<String>, String> {
    read_at("/gelf", "", body.as_bytes())
}

#[test]
fn messages_become_records() {
    for (body, expected) in [
        (
            r#"{"version":"1.1","host":"h","short_message":"a","level":3,"timestamp":1796019784.5,"_user":"u"}"#,
            &["ERROR a at=2026-11-30T06:23:04.500000Z user=u version=1.1 host=h"][..],
        ),
        (r#"{"short_message":"a","full_message":"a\nb"}"#, &["INFO a\nb"]),
        (r#"{"short_message":"a","full_message":"b"}"#, &["INFO a\nb"]),
        (r#"[{"short_message":"a"},{"short_message":"b","level":7}]"#, &["INFO a", "DEBUG b level=7"]),
        ("{\"short_message\":\"a\"}\n{\"short_message\":\"b\"}\n", &["INFO a", "INFO b"]),
        ("", &[]),
    ] {
        assert_eq!(read(body).unwrap(), expected, "{body}");
    }
    assert!(
        read("[{\"short_message\":\"a\"},{").unwrap_err().starts_with("400 Bad Request The message 1 is")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>, near in "(\\{\"short_message\":|\\[|\\]|\\{|\\}|\"a\"|,|null|\n){0,12}") {
        for body in [&body[..], near.as_bytes()] {
            drop(read_at("/gelf", "", body));
        }
    }
}
