//! Contains the entry points of the fuzz targets in `fuzz/`. Each panics where the code breaks a
//! promise. The tests' build includes them, so that a rename that breaks them is noticed.

use std::net::IpAddr;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::connection::{chunks, framing};
use super::follow::ws_frames;
use super::observe::refusal_log::RefusalDetails;
use super::request::decompress;
use super::request::read_params::{READ_PARAMETERS, ReadRequest};
use super::response::problem::Problem;
use super::routes::{self, download_logs};
use super::server::fast_path::recognize;
use crate::config::{ListenFormat, LogName};
use crate::guard::ClientAddr;
use crate::ingest::batch::Batch;
use crate::ingest::body::content::MAX_RECORDS;
use crate::ingest::body::media_type::BodyKind;
use crate::ingest::body::memory::Unlimited;
use crate::ingest::body::parameters::Wanted;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::body::stream::stream_rules;
use crate::ingest::dialect::{IngestRequest, RequestHead, Takes};
use crate::ingest::dialects;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry_stream::StreamStep;
use crate::ingest::multipart;
use crate::ingest::params::Params;
use crate::ingest::socket_dialect::{ConnectionOptions, ConnectionParser};
use crate::record::{Entry, Level};
use crate::store::CursorKey;

/// Reads all parameters of a request with this query and body, and decodes its entries on each route
/// of each dialect. Checks that each is read within its limits or refused.
pub fn parameters(content_type: &[u8], query: &str, body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(content_type).ok().map(|value| (CONTENT_TYPE, value)));
    let params = Params::without_body(Some(query), &headers);
    let texts = BodyTexts::default();
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let Ok(params) = params.with_body(&body, Wanted::Parameters) else { return };
    drop((params.api_key(), params.root_pass(), params.text("x")));
    let rules = ReadRules::default();
    for dialect in dialects::ALL {
        for route in dialect.routes().iter().filter(|route| route.takes != Takes::Nothing) {
            let head = RequestHead { route, path: route.path, query: Some(query), headers: &headers };
            let request = IngestRequest { head, body, rules };
            let batch = dialect.parameters(&request).and_then(|params| dialect.entries(&request, params));
            let Ok(batch) = batch else { continue };
            assert!(route.takes == Takes::Many || batch.len() == 1);
            assert!(batch.len() <= MAX_RECORDS);
            for entry in batch.entries(Level::Debug) {
                assert!(entry.message.chars().count() <= stream_rules(&rules).max_message_chars);
            }
        }
    }
}

/// Decodes a body as the routes of one dialect do. Checks that its entries keep their limits.
pub fn dialect(name: &str, content_type: &[u8], body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(content_type).ok().map(|value| (CONTENT_TYPE, value)));
    let texts = BodyTexts::default();
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let rules = ReadRules::default();
    for dialect in dialects::ALL.iter().filter(|dialect| dialect.name() == name) {
        for route in dialect.routes().iter().filter(|route| route.takes != Takes::Nothing) {
            let head = RequestHead { route, path: route.path, query: None, headers: &headers };
            let params = Params::without_body(None, &headers);
            let Ok(batch) = dialect.entries(&IngestRequest { head, body, rules }, params) else { continue };
            assert!(batch.len() <= MAX_RECORDS);
            for entry in batch.entries(Level::Debug) {
                assert!(entry.message.chars().count() <= stream_rules(&rules).max_message_chars);
            }
        }
    }
}

/// Reads the bytes as a datagram of each format, and as a connection in pieces of `piece` bytes. Checks
/// that the messages of a connection do not depend on the pieces, and keep their limit.
pub fn sockets(bytes: &[u8], piece: usize) {
    let rules = stream_rules(&ReadRules::default());
    for format in [ListenFormat::Syslog, ListenFormat::Gelf, ListenFormat::Forward] {
        let Some(dialect) = dialects::of_socket(format) else { continue };
        if let Some(mut parser) = dialect.datagrams() {
            let mut batch = Batch::default();
            // Bytes that are no message are refused.
            let _refused = parser.read("192.0.2.1", bytes, &rules, &mut batch);
            let is_short = |entry: Entry<'_>| entry.message.chars().count() <= rules.max_message_chars;
            assert!(batch.entries(Level::Debug).into_iter().all(is_short));
        }
        let options = ConnectionOptions { shared_key: None, client: "192.0.2.1" };
        let read = |piece| Some(read_connection(dialect.connection(&options)?, bytes, piece, &rules));
        assert_eq!(read(bytes.len()), read(piece));
    }
}

/// Returns the messages of a connection that arrives in pieces.
fn read_connection(
    mut parser: Box<dyn ConnectionParser>,
    bytes: &[u8],
    piece: usize,
    rules: &ReadRules<'_>,
) -> Vec<String> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    let pieces = bytes.len().div_ceil(piece.max(1));
    for (index, piece) in bytes.chunks(piece.max(1)).enumerate() {
        buffer.extend_from_slice(piece);
        loop {
            let mut batch = Batch::default();
            let is_end = index + 1 == pieces;
            let outcome = parser.read(&buffer, is_end, rules, &mut batch, &mut Vec::new());
            messages.extend(batch.entries(Level::Debug).iter().map(|entry| entry.message.to_owned()));
            match outcome {
                Ok(0) => break,
                Ok(count) => drop(buffer.drain(..count)),
                Err(_) => return messages,
            }
        }
        if buffer.len() > parser.max_message_bytes() {
            return messages;
        }
    }
    messages
}

/// Decodes a body with these codings. Checks that the output keeps its limit.
pub fn decompress(codings: &str, body: &[u8]) {
    decompress::fuzz(codings, body);
}

/// Reads the entries of a journal in pieces of this length. Checks that the work and the memory of each
/// step are bounded.
pub fn journal(coding: u8, piece_len: u8, body: &[u8]) {
    let mut headers = HeaderMap::new();
    let codings = ["", "zstd", "xz", "lz4"];
    let coding = codings.get(usize::from(coding) % codings.len()).copied().unwrap_or_default();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    let Some((dialect, route)) = dialects::find("/upload") else { return };
    let head = RequestHead { route, path: route.path, query: None, headers: &headers };
    let Some(Ok(mut stream)) = dialect.stream(&head) else { return };
    let rules = ReadRules::default();
    for piece in body.chunks(usize::from(piece_len).max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            let step = stream.read(&mut piece, &rules);
            assert!(stream.held_bytes() <= 2 * 1024 * 1024 && stream.memory_bytes() <= 128 * 1024 * 1024);
            drop(stream.take().batch(&stream_rules(&rules)));
            match step {
                Ok(StreamStep::HasMore) => {}
                Ok(StreamStep::NeedsBytes) => break,
                Err(_) => return,
            }
        }
        assert!(piece.is_empty());
    }
    drop(stream.end(&rules));
}

/// Reads the selection of a reading route. Checks that a refusal names its parameter, and that a
/// selection can be applied to any lines.
pub fn selection(query: &str, body: &[u8], line: &[u8]) {
    let headers = HeaderMap::new();
    let key = CursorKey::fixed();
    for kind in [BodyKind::Json, BodyKind::Form] {
        let texts = BodyTexts::default();
        let body = ReceivedBody { bytes: body, kind, media_type: "", texts: &texts, memory: &Unlimited };
        let params = Params::without_body(Some(query), &headers).with_body(&body, Wanted::Parameters);
        let Ok(params) = params else { continue };
        match ReadRequest::read(&params, &key) {
            Ok(read_request) => match read_request.into_selection() {
                Ok(selection) => {
                    let admitted = selection.admits(line.split(|byte| *byte == b'\n'));
                    assert!(admitted || !selection.is_all());
                }
                Err(problem) => assert!(problem.words().starts_with("regex")),
            },
            Err(problem) => assert!(READ_PARAMETERS.iter().any(|name| problem.words().starts_with(name))),
        }
    }
}

/// Reads a multipart body. Checks that its fields together are no longer than the body allows.
pub fn multipart(body: &[u8]) {
    if let Ok(fields) = multipart::fields_in("multipart/form-data; boundary=B", body, None, &Unlimited) {
        // A byte that is not UTF-8 becomes U+FFFD, which has three bytes.
        assert!(fields.list.iter().map(|(_, value)| value.len()).sum::<usize>() <= 3 * body.len());
    }
}

/// Reads the header `Range`. Checks that the range lies within the file.
pub fn range(value: &[u8], len: u64) {
    if let Ok(value) = HeaderValue::from_bytes(value)
        && let Some(part) = download_logs::part_of(&value, len)
    {
        assert!(part.start < part.end && part.end <= len);
    }
}

/// Finds the route of a path. Checks that the path contains the name of the route, or percent
/// signs.
pub fn route(path: &str) {
    if let Ok(log) = "a b".parse::<LogName>()
        && let Ok(uri) = path.parse::<http::Uri>()
        && let Ok(route) =
            routes::find(&Method::POST, &uri, ClientAddr::from(IpAddr::from([192, 0, 2, 1])), &log)
    {
        assert!(path.contains('%') || route.name.contains('*') || path.contains(route.name));
    }
}

/// Writes a problem with this text. Checks that the body is JSON that holds the text unchanged.
pub fn problem(detail: &str, reason: &str) {
    let problem = Problem::bad_request(detail.to_owned()).because(reason);
    let document: serde_json::Value =
        serde_json::from_slice(problem.into_response().body()).unwrap_or_default();
    assert_eq!((document["detail"].as_str(), document["reason"].as_str()), (Some(detail), Some(reason)));
}

/// Reads a request in the bytes of a connection, as the fast path does.
pub fn http_head(bytes: &[u8]) {
    recognize::fuzz(bytes);
}

/// Finds the end of a body in chunks, in pieces of this length.
pub fn chunks(bytes: &[u8], piece_len: u8) {
    chunks::fuzz(bytes, usize::from(piece_len));
}

/// Finds the ends of requests in the bytes of a connection, in pieces of this length.
pub fn framing(bytes: &[u8], piece_len: u8) {
    framing::fuzz(bytes, usize::from(piece_len));
}

/// Reads the frames of a WebSocket client, in pieces of this length.
pub fn ws_frames(bytes: &[u8], piece_len: u8) {
    ws_frames::fuzz(bytes, usize::from(piece_len), 4096);
}
