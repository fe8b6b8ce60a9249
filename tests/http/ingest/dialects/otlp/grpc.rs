//! Tests of OTLP over gRPC, with TLS and by prior knowledge.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use serde_json::json;

use super::{check_lines, gzip, request};
use crate::harness::frames::{self, Frames};
use crate::harness::{KEY, Server, Setup};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// An answer: its head, its body, and the trailers behind it.
#[derive(Debug)]
struct Answer {
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// Returns a status in the head or in the trailers.
    fn field(&self, name: &str) -> Option<&str> {
        let trailers = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailers.or_else(|| self.headers.get(name))?.to_str().ok()
    }

    fn code(&self) -> &str {
        self.field("grpc-status").expect("a status of gRPC")
    }
}

/// Sends one request by prior knowledge, and receives the whole answer.
fn call(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = async {
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
        let (answer, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
        stream.send_data(body.into(), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let (parts, mut incoming) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(piece) = incoming.data().await {
            body.extend_from_slice(&piece.unwrap());
        }
        let trailers = incoming.trailers().await.unwrap();
        connection.abort();
        Answer { headers: parts.headers, body: body.freeze(), trailers }
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), answer).await })
        .expect("an answer")
}

/// Returns a message with its prefix.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &len[..], message].concat()
}

#[test]
fn messages_are_stored_and_answered_with_trailers() {
    let server = Setup::new().start();
    let key = ("api-key", KEY);
    for (headers, body) in [
        (vec![key], framed(0, &request(&["one"]))),
        (vec![key, ("grpc-encoding", "gzip")], framed(1, &gzip(&request(&["two"])))),
        (vec![("authorization", "Bearer test-key")], framed(0, &request(&["three"]))),
        (vec![key], framed(0, &[])),
    ] {
        let answer = call(&server, EXPORT, &headers, body);
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(&answer.body[..], [0; 5], "an empty message");
        let trailers = answer.trailers.as_ref().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    }
    check_lines(&server, &["one", "two", "three"]);
}

#[test]
fn refusals_have_a_status_in_the_head_and_no_body() {
    let server = Setup::new()
        .key("limited", &json!({"rate": "1/hour"}))
        .key("off", &json!({"status": false}))
        .http("request_max_size = 4000")
        .start();
    let good = || framed(0, &request(&["good"]));
    assert_eq!(call(&server, EXPORT, &[("api-key", "limited")], good()).code(), "0");
    let large = framed(0, &request(&["x".repeat(5000).as_str()]));
    let bomb = framed(1, &gzip(&request(&["x".repeat(1_000_000).as_str()])));
    let cases = [
        ("16", "", "", good()),
        ("16", "unknown", "", good()),
        ("7", "off", "", good()),
        ("8", "limited", "", good()),
        ("8", KEY, "", large),
        ("8", KEY, "gzip", bomb),
        ("3", KEY, "", framed(0, b"\xff\xff")),
        ("3", KEY, "gzip", framed(1, b"no gzip")),
        ("3", KEY, "", b"\0\0\0\0\x09abc".to_vec()),
        ("3", KEY, "", Vec::new()),
        ("12", KEY, "snappy", framed(1, b"x")),
    ];
    for (code, key, coding, body) in cases {
        let mut headers = Vec::new();
        headers.extend((!key.is_empty()).then_some(("api-key", key)));
        headers.extend((!coding.is_empty()).then_some(("grpc-encoding", coding)));
        let answer = call(&server, EXPORT, &headers, body);
        assert_eq!(answer.code(), code, "{answer:?}");
        assert!(answer.body.is_empty() && answer.trailers.is_none(), "{answer:?}");
        assert!(answer.field("grpc-message").is_some_and(|text| !text.is_empty()));
        // The sender repeats the request only when the answer names a time.
        assert_eq!(answer.field("grpc-status-details-bin").is_some(), key == "limited", "{answer:?}");
    }
    assert_eq!(server.messages(), ["good"]);
}

#[test]
fn other_services_are_unimplemented() {
    let server = Setup::new().start();
    for path in [
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Other",
        "/grpc.health.v1.Health/Check",
    ] {
        assert_eq!(call(&server, path, &[("api-key", KEY)], framed(0, &[])).code(), "12", "{path}");
    }
}

#[test]
fn maintenance_is_unavailable() {
    let server = Setup::new().system("maintenance_mode", json!(true)).start();
    let answer = call(&server, EXPORT, &[("api-key", KEY)], framed(0, &request(&["no"])));
    assert_eq!(answer.code(), "14");
    assert!(answer.field("grpc-status-details-bin").is_some());
}

#[test]
fn requests_are_answered_with_tls() {
    let server = Setup::new().tls().start();
    let mut frames = Frames::open_to(&server, &[]);
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("api-key", KEY)];
    frames.request(1, "POST", EXPORT, &headers, false).unwrap();
    frames.send(frames::DATA, frames::END_STREAM, 1, &framed(0, &request(&["one"]))).unwrap();
    let received: Vec<_> =
        (0..3).map(|_| frames.receive_one_of(&[frames::HEADERS, frames::DATA]).unwrap()).collect();
    let kinds = received.iter().map(|frame| (frame.kind, frame.flags & frames::END_STREAM != 0));
    // The trailers end the stream.
    let expected = [(frames::HEADERS, false), (frames::DATA, false), (frames::HEADERS, true)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected, "{received:?}");
    assert_eq!(received[1].payload, [0; 5]);
    check_lines(&server, &["one"]);
}
