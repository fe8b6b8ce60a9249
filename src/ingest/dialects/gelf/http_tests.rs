//! Tests of GELF over HTTP.

use proptest::prelude::*;

use super::*;
use crate::ingest::testing::records_of;

fn read_at(path: &str, query: &str, body: &[u8]) -> Result<Vec<String>, String> {
    records_of(&GelfHttp, path, query, body)
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
