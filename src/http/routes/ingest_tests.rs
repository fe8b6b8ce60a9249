//! A dialect that the generic code does not know is decoded, stored and answered by it.

use http::HeaderMap;
use tempfile::TempDir;

use super::*;
use crate::http::response::headers::JSON;
use crate::ingest::body::memory::Unlimited;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::dialect::RequestHead;
use crate::ingest::entry::read_rules::ReadRules;
use crate::record::Level;
use crate::store::{LogStore, Places};

fn open(dir: &TempDir) -> Arc<dyn LogStore> {
    let log = serde_json::json!({"host": "127.0.0.1", "port": 1, "file": "a.log", "durability": "os"});
    let places = Places { log_dir: dir.path().to_owned(), state_path: dir.path().join("a.state") };
    store::open(&serde_json::from_value(log).unwrap(), &places, 1024 * 1024).unwrap().0
}

/// Runs the steps of a request between its body and its answer. Returns the answer and the messages
/// with their fields in the file.
async fn run(path: &str, headers: HeaderMap, body: &[u8], min_level: Level) -> (Reply, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (dialect, route) = dialects::find(path).unwrap();
    let head = RequestHead { route, path, query: Some("x=1"), headers: &headers };
    let texts = BodyTexts::default();
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let request = IngestRequest { head, body, rules: ReadRules::default() };
    let batch = dialect.parameters(&request).and_then(|parameters| dialect.entries(&request, parameters));
    let reply = match &batch {
        Ok(batch) => {
            let entries = batch.entries(min_level);
            let source = Source { client: "c", key: "k", route: dialect.name_in_lines(route) };
            let append = begin(&*store, &source, &entries, batch.len() - entries.len(), None).await;
            let mut outcome = finish(&*store, append, wants_json(&headers), None).await.unwrap();
            outcome.prepared.clone_from(&batch.prepared);
            dialect.answer(&head, &outcome)
        }
        Err(error) => Problem::from(error.clone()).in_form_of(dialect, &head).into_response(),
    };
    let lines = std::fs::read_to_string(dir.path().join("a.log")).unwrap();
    let name = dialect.name_in_lines(route);
    let message =
        |line: &str| line.split_once(&format!("|{name}|")).unwrap().1.split_once('>').unwrap().1.to_owned();
    (reply, lines.lines().map(message).collect())
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(reply.body()).unwrap()
}

#[tokio::test]
async fn dialect_is_decoded_stored_and_answered() {
    let body = b"error;disk full;user=bob;path=/a b\nfatal;gone\n;\ndebug;left out";
    let (reply, lines) = run("/toy/*/lines", HeaderMap::new(), body, Level::Info).await;
    assert_eq!((reply.status(), text(&reply)), (StatusCode::ACCEPTED, "stored 4"));
    assert_eq!(lines, ["disk full \\| user=bob path=\"/a b\"", "gone \\| level=fatal", ""]);
    let (reply, lines) = run("/toy/*/lines", HeaderMap::new(), b"\xff", Level::Info).await;
    assert_eq!(reply.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(text(&reply), "no, /toy/*/lines: message parameter format error. the lines are not UTF-8");
    assert_eq!(reply.headers()["cache-control"], "no-store");
    assert!(lines.is_empty());
}

#[tokio::test]
async fn native_dialect_answers_in_the_form_that_is_asked_for() {
    let body = br#"{"logs":[{"message":"a"},{"level":0,"message":"b"}]}"#;
    let (reply, lines) = run("save-logs", HeaderMap::new(), body, Level::Info).await;
    assert_eq!((text(&reply), lines.as_slice()), ("success.", &["a".to_owned()][..]));
    let headers = HeaderMap::from_iter([(http::header::ACCEPT, JSON)]);
    let (reply, _) = run("save-logs", headers, body, Level::Info).await;
    let answer: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!((answer["saved"].as_u64(), answer["filtered"].as_u64()), (Some(1), Some(1)));
    assert_eq!(reply.headers()["vary"], "Accept");
    let (reply, _) = run("save-log", HeaderMap::new(), b"{}", Level::Info).await;
    let problem: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    let detail = "message parameter format error. The message is missing: looked for message, msg, text, event, log, \
                  body, short_message, MESSAGE, @m, m in the JSON body.";
    assert_eq!(problem["detail"], detail);
}

#[test]
fn pattern_matches_its_segments() {
    for (pattern, path, is_match) in [
        ("", "/", true),
        ("", "/a", false),
        ("a", "/a", true),
        ("a", "/a/", true),
        ("a", "/a//", false),
        ("a", "a", false),
        ("a/*", "/a/b", true),
        ("a/*", "/a/", false),
        ("a/*", "/a//", false),
        ("*/b", "/a/b/", true),
        ("a/**", "/a", true),
        ("a/**", "/a/b/c", true),
        ("a/**", "/b", false),
        ("a/b", "/a", false),
    ] {
        assert_eq!(matches(pattern, path), is_match, "{pattern} {path}");
    }
}
