//! Tests of compressed bodies. They are stored like plain ones, and use at most the memory that a
//! body may use.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{KEY, Response, Server, Setup, cannot_run, encode_pairs, route};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 3).unwrap()
}

type Coder<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn send(server: &Server, name: &str, coding: &str, body: &[u8]) -> Response {
    server.request("POST", &route(name), &[JSON, ("Content-Encoding", coding)], body)
}

fn message(text: &str) -> Vec<u8> {
    json!({"api_key": KEY, "message": text}).to_string().into_bytes()
}

#[test]
fn every_coding_works_for_every_kind_of_body() {
    let server = Setup::new().start();
    let mut expected = Vec::new();
    let both = |plain: &[u8]| zstd(&gzip(plain));
    let codings: [(&str, Coder<'_>); 9] = [
        ("gzip", &gzip),
        ("x-gzip", &gzip),
        ("GZip", &gzip),
        ("deflate", &zlib),
        ("deflate", &deflate),
        ("zstd", &zstd),
        ("identity", &|plain| plain.to_vec()),
        ("gzip, zstd", &both),
        ("gzip, identity, deflate ,zstd", &|plain| zstd(&zlib(&gzip(plain)))),
    ];
    for (coding, code) in &codings {
        send(&server, "save-log", coding, &code(&message(coding))).success();
        let batch = json!({"api_key": KEY, "logs": [{"message": "first"}, {"message": "é".repeat(8192)}]});
        send(&server, "save-logs", coding, &code(batch.to_string().as_bytes())).success();
        let form = encode_pairs(&[("api_key", KEY), ("message", "a form & more")]);
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", coding)];
        server.request("POST", &route("save-log"), &headers, &code(form.as_bytes())).success();
        let headers = [("Content-Type", "multipart/form-data; boundary=B"), ("Content-Encoding", coding)];
        let parts = "--B\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nparts\r\n--B--\r\n";
        let target = format!("{}?api_key={KEY}", route("save-log"));
        server.request("POST", &target, &headers, &code(parts.as_bytes())).success();
        expected.extend([
            (*coding).to_owned(),
            "first".into(),
            "é".repeat(8192),
            "a form & more".into(),
            "parts".into(),
        ]);
    }
    assert_eq!(server.messages(), expected);
    // The bodies have few members, several members, and more members than the server accepts.
    for members in [2, 100, 20_000] {
        let (begin, end) = (gzip(&message("members")), gzip(b" ").repeat(members - 1));
        let response = send(&server, "save-log", "gzip", &[begin, end].concat());
        let expected = if members > 16_384 { 400 } else { 200 };
        assert_eq!(response.status, expected, "{members}: {response:?}");
    }
    let (mut body, end) = (vec![b' '; 300_000], message("large"));
    body.extend_from_slice(&end);
    for (coding, code) in codings {
        send(&server, "save-log", coding, &code(&body)).success();
    }
    // Two header lines count as one list.
    let headers = [JSON, ("Content-Encoding", "gzip"), ("Content-Encoding", "zstd")];
    server.request("POST", &route("save-log"), &headers, &both(&message("two headers"))).success();
}

#[test]
fn a_coding_without_a_body_is_accepted() {
    let server = Setup::new().start();
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    for coding in ["gzip", "br", "zstd"] {
        server.get_with(&target, &[("Content-Encoding", coding)]).success();
        server.request("POST", &target, &[("Content-Encoding", coding)], b"").success();
    }
}

#[test]
fn unknown_codings_are_415_and_name_the_known_ones() {
    let server = Setup::new().start();
    for coding in ["br", "compress", "gzip, br", "gzip gzip", "gzip, gzip, gzip, gzip", "*"] {
        let response = send(&server, "save-log", coding, &gzip(&message("m")));
        response.refused(415, "This Content-Encoding is not supported.");
        assert_eq!(response.expect_header("accept-encoding"), "gzip, deflate, zstd");
    }
    assert!(server.messages().is_empty());
    server.assert_alive();
}

#[test]
fn damaged_bodies_are_400() {
    let server = Setup::new().start();
    let plain = message(&"damaged ".repeat(900));
    let codings: [(&str, Coder<'_>); 4] =
        [("gzip", &gzip), ("deflate", &zlib), ("deflate", &deflate), ("zstd", &zstd)];
    for (coding, code) in codings {
        let whole = code(&plain);
        let mut conn = server.connect();
        let mut refused = |body: &[u8]| {
            for key in [KEY, ""] {
                let headers = [JSON, ("Content-Encoding", coding), ("API-KEY", key)];
                let response = conn.request("POST", &route("save-log"), &headers, body);
                response.refused(400, "The body can't be decompressed.");
            }
        };
        refused(&whole[..whole.len() - 1]);
        refused(&whole[..whole.len() / 2]);
        refused(&whole[..1]);
        if coding != "gzip" {
            refused(&[&whole[..], b"garbage"].concat());
        }
        refused(&plain);
        server.request("POST", &route("save-log"), &[JSON, ("Content-Encoding", coding)], &whole).success();
    }
    assert_eq!(server.messages().len(), 4);
}

#[test]
fn bytes_behind_a_gzip_body_are_ignored() {
    let server = Setup::new().start();
    let mut expected = Vec::new();
    for (text, behind) in
        [("zeros", &[0; 100][..]), ("line end", b"\r\n"), ("garbage", b"garbage"), ("mark", b"\x1f")]
    {
        let members = [gzip(&message(text)), gzip(b" "), behind.to_vec()].concat();
        send(&server, "save-log", "gzip", &members).success();
        expected.push(text);
    }
    // A further member must be whole.
    let cut = [gzip(&message("cut")), gzip(b"   ")[..12].to_vec()].concat();
    send(&server, "save-log", "gzip", &cut).refused(400, "The body can't be decompressed.");
    assert_eq!(server.messages(), expected);
}

#[test]
fn a_header_that_names_alternatives_is_decided_by_the_body() {
    let server = Setup::new().start();
    let codings: [(&str, Coder<'_>); 4] =
        [("gzip", &gzip), ("zlib", &zlib), ("raw deflate", &deflate), ("zstd", &zstd)];
    let mut expected = Vec::new();
    for list in ["gzip,deflate,zstd", "zstd, deflate, gzip", "deflate,identity,gzip,zstd"] {
        for (name, code) in &codings {
            let text = format!("{name} of {list}");
            send(&server, "save-log", list, &code(&message(&text))).success();
            expected.push(text);
        }
    }
    send(&server, "save-log", "gzip,deflate", &zlib(&message("pygelf"))).success();
    send(&server, "save-log", "gzip,deflate", &zlib(&gzip(&message("both")))).success();
    send(&server, "save-log", "gzip,deflate", &zstd(&message("neither")))
        .refused(400, "The body can't be decompressed.");
    expected.extend(["pygelf".to_owned(), "both".to_owned()]);
    assert_eq!(server.messages(), expected);
}

#[test]
fn a_key_in_a_header_is_checked_before_anything_is_decompressed() {
    let server = Setup::new().start();
    let headers = [JSON, ("Content-Encoding", "gzip"), ("API-KEY", "nobody")];
    server.request("POST", &route("save-log"), &headers, b"no gzip").unauthorized("Unknown API-KEY.");
    // Only the body can hold the key, under any type.
    let headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")];
    let refused = server.request("POST", &route("save-log"), &headers, b"no gzip");
    refused.refused(400, "The body can't be decompressed.");
    server.request("POST", &route("save-log"), &headers, &gzip(b"a text")).unauthorized("Missing API-KEY.");
    send(&server, "save-log", "gzip", &gzip(&json!({"api_key": "nobody"}).to_string().into_bytes()))
        .unauthorized("Unknown API-KEY.");
}

/// Returns 128 MiB of zeros. JSON white space would compress as well, so the content does not
/// matter.
fn zeros() -> Vec<u8> {
    vec![0; 128 * 1024 * 1024]
}

#[test]
fn a_bomb_costs_at_most_the_cap() {
    let server = Setup::new().http("request_max_size = 4000000").http("max_body_memory = 32000000").start();
    server.assert_alive();
    let zeros = zeros();
    let bomb = gzip(&zeros);
    let bombs = [
        ("gzip", bomb.clone()),
        ("gzip, gzip", gzip(&bomb)),
        ("deflate", zlib(&zeros)),
        ("zstd", zstd(&zeros)),
        ("zstd, gzip", gzip(&zstd(&zeros))),
    ];
    let before = server.memory_peak();
    for (coding, body) in &bombs {
        for key in [KEY, ""] {
            let headers = [JSON, ("Content-Encoding", coding), ("API-KEY", key)];
            let response = server.request("POST", &route("save-log"), &headers, body);
            response.refused(413, "The body is larger than 4000000 bytes.");
        }
    }
    // Many bodies at the same time.
    std::thread::scope(|scope| {
        for (coding, body) in bombs.iter().cycle().take(20) {
            let server = &server;
            scope.spawn(move || {
                let response = send(server, "save-log", coding, body);
                assert!([413, 503].contains(&response.status), "{response:?}");
            });
        }
    });
    // The memory is that of a growing body, of the zstd window, and of the pieces in flight.
    let grown = server.memory_peak() - before;
    assert!(grown < 40_000_000, "{grown} bytes");
    server.assert_alive();
}

#[test]
fn all_decompressed_bodies_together_are_bounded() {
    let server = Setup::new().http("max_body_memory = 16000000").key("slow", &json!({"delay": 1})).start();
    server.assert_alive();
    let before = server.memory_peak();
    let large = json!({"message": "m", "padding": "x".repeat(4_000_000)}).to_string();
    let body = zstd(large.as_bytes());
    let (saved, refused) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let headers = [JSON, ("Content-Encoding", "zstd"), ("API-KEY", "slow")];
                    server.request("POST", &route("save-log"), &headers, &body).status
                })
            })
            .collect();
        let statuses: Vec<u16> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let count = |status| statuses.iter().filter(|one| **one == status).count();
        (count(200), count(503))
    });
    assert_eq!(saved + refused, 20);
    assert!(saved > 0 && refused > 0, "{saved} saved, {refused} refused");
    let grown = server.memory_peak() - before;
    assert!(grown < 48_000_000, "{grown} bytes");
    server.assert_alive();
}

#[test]
fn a_body_above_the_memory_limit_is_413_at_once() {
    let bomb = gzip(&[0; 1_000_000]);
    // The gzip body is not compressed, so the encoded and the decoded form together are too large.
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    stored.write_all(&message(&"x".repeat(70_000))).unwrap();
    for (most, memory, body, detail) in [
        (
            100_000,
            100_000,
            bomb.clone(),
            "The body needs more memory than all bodies may have, 100000 bytes.",
        ),
        (100_000, 60_000, bomb, "The body needs more memory than all bodies may have, 60000 bytes."),
        (
            100_000,
            128_000,
            stored.finish().unwrap(),
            "The body needs more memory than all bodies may have, 128000 bytes.",
        ),
    ] {
        let server = Setup::new()
            .http(&format!("request_max_size = {most}\nmax_body_memory = {memory}"))
            .http("response_timeout = 5")
            .start();
        let headers = [("API-KEY", KEY), JSON, ("Content-Encoding", "gzip")];
        server.request("POST", &route("save-log"), &headers, &body).refused(413, detail);
        let small = gzip(&message("fits"));
        assert_eq!(server.request("POST", &route("save-log"), &headers, &small).status, 200);
        let chunked = [("API-KEY", KEY), JSON, ("Transfer-Encoding", "chunked")];
        let mut conn = server.connect();
        conn.send("POST", &route("save-log"), &chunked, b"").unwrap();
        for _ in 0..30 {
            conn.send_raw(format!("1770\r\n{}\r\n", "x".repeat(6000)).as_bytes()).ok();
        }
        conn.receive("POST").unwrap().problem(413);
        server.assert_alive();
    }
}

#[test]
fn bodies_of_common_tools_are_decompressed() {
    let server = Setup::new().start();
    let directory = server.root_dir();
    let target = format!("http://{}{}", server.address(), route("save-log"));
    for (tool, flags, coding) in [("gzip", &["-c"][..], "gzip"), ("zstd", &["-c", "-q", "-19"], "zstd")] {
        let plain = directory.join("plain.json");
        std::fs::write(&plain, message(tool)).unwrap();
        let packed = std::fs::File::create(directory.join("packed")).unwrap();
        let made = Command::new(tool).args(flags).arg(&plain).stdout(packed).status();
        if !made.is_ok_and(|status| status.success()) {
            return cannot_run(&format!("no {tool}"));
        }
        let sent = Command::new("curl")
            .args(["-sS", "--data-binary"])
            .arg(format!("@{}", directory.join("packed").display()))
            .args([
                "-H",
                "Content-Type: application/json",
                "-H",
                &format!("Content-Encoding: {coding}"),
                &target,
            ])
            .stdin(Stdio::null())
            .output();
        let Ok(sent) = sent else { return cannot_run("no curl") };
        assert_eq!(String::from_utf8_lossy(&sent.stdout), "success.", "{sent:?}");
    }
    assert_eq!(server.messages(), ["gzip", "zstd"]);
}

#[test]
fn a_body_may_be_compressed_and_encrypted() {
    let secret = "0123456789abcdef";
    let server = Setup::new().server("pyjs_secret", json!(secret)).key("bench", &json!({})).start();
    let vector = b"AAECAwQFBgcICQoLDA0OD77K3iqS5081x8Fl9mkdt+lX2Z7UiOTFxrsSgQkgnw+z9ljdcx+QUqkWId+VDVuJz2jny0MYXVVEIONtPAbMScg=";
    let headers = [JSON, ("Content-Encoding", "gzip"), ("Moca-Encryption", "1")];
    // The content coding belongs to HTTP, so the server decodes it first.
    server.request("POST", &route("save-log"), &headers, &gzip(vector)).success();
    server
        .request("POST", &route("save-log"), &headers, vector)
        .refused(400, "The body can't be decompressed.");
    server
        .request("POST", &route("save-log"), &headers, &gzip(b"AAAA"))
        .refused(400, "The body can't be decrypted.");
    assert_eq!(server.messages(), ["encrypted hello"]);
}
