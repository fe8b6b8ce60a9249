//! Tests of GELF over datagrams and connections.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::json;

use super::sockets::{Connection, Datagrams};
use crate::ingest::batch::Batch;
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::socket_dialect::{ConnectionParser, DatagramParser, SocketError};
use crate::record::Level;

fn shown(batch: &Batch<'_>) -> Vec<String> {
    let entries = batch.entries(Level::Debug);
    let shown = entries.iter().map(|entry| {
        let fields: Vec<String> =
            entry.fields.iter().map(|field| format!("{}={}", field.name(), field.value())).collect();
        let at = entry.at.map(|at| String::from_utf8(at.rfc3339().to_vec()).unwrap());
        format!("{} {} {} | {}", entry.level, at.as_deref().unwrap_or("-"), entry.message, fields.join(" "))
    });
    shown.collect()
}

fn read(datagrams: &[&[u8]]) -> Result<Vec<String>, SocketError> {
    let (mut parser, mut batch) = (Datagrams::default(), Batch::default());
    let rules = stream_rules(&ReadRules::default());
    for datagram in datagrams {
        parser.read("192.0.2.1", datagram, &rules, &mut batch)?;
    }
    Ok(shown(&batch))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunks(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = message.chunks(size).count() as u8;
    let chunk = |(place, payload)| [&b"\x1e\x0fabcdefgh"[..], &[place as u8, count], payload].concat();
    message.chunks(size).enumerate().map(chunk).collect()
}

const MESSAGE: &str = r#"{"version":"1.1","host":"web1","short_message":"disk full","full_message":"disk full\nat /x",
    "timestamp":1795410148.25,"level":4,"_user_id":42,"_host":"inner","facility":"app"}"#;

const RECORD: &str = "WARNING 2026-11-23T05:02:28.250000Z disk full\nat /x | user_id=42 host=inner facility=app \
    version=1.1 gelf.host=web1";

#[test]
fn a_datagram_is_plain_compressed_or_in_chunks() {
    let bytes = MESSAGE.as_bytes();
    for datagram in [
        bytes.to_vec(),
        gzip(bytes),
        zlib(bytes, 0),
        zlib(bytes, 1),
        zlib(bytes, 9),
        [bytes, b"\0\n"].concat(),
    ] {
        assert_eq!(read(&[&datagram]), Ok(vec![RECORD.to_owned()]));
        let mut pieces = chunks(&datagram, 7);
        pieces.reverse();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        assert_eq!(read(&pieces), Ok(vec![RECORD.to_owned()]));
    }
}

#[test]
fn messages_keep_everything_that_they_say() {
    for (message, expected) in [
        (json!({"short_message": "a", "level": 7}), "DEBUG - a | level=7"),
        (json!({"short_message": "a", "level": 0}), "CRITICAL - a | "),
        (json!({"short_message": "a", "level": "3"}), "ERROR - a | "),
        (json!({"short_message": "a", "level": "warning"}), "WARNING - a | "),
        (json!({"short_message": "a", "full_message": "b"}), "INFO - a\nb | "),
        (json!({"short_message": "", "full_message": "b"}), "INFO - b | "),
        (json!({"full_message": "b"}), "INFO - b | "),
        (json!({"short_message": "a", "message": "b"}), "INFO - a | message=b"),
        (json!({"message": "b", "full_message": "c"}), "INFO - b | full_message=c"),
        (json!({"short_message": 5}), "INFO - 5 | "),
        (
            json!({"short_message": "a", "_time": 1_795_410_148, "_level": "x"}),
            "INFO - a | _level=x time=1795410148",
        ),
        (
            json!({"short_message": "a", "_o": {"b": {"c": 1}}, "_l": [1], "_n": null, "_": 1}),
            "INFO - a | _=1 l=[1] o.b.c=1",
        ),
        (json!({"short_message": "a", "timestamp": "x"}), "INFO - a | timestamp=x"),
    ] {
        assert_eq!(read(&[message.to_string().as_bytes()]), Ok(vec![expected.to_owned()]), "{message}");
    }
    let broken = b"\xef\xbb\xbf{\"short_message\":\"\xff\",\"_x\":NaN}";
    assert_eq!(read(&[broken]), Ok(vec!["INFO - \u{fffd} | x=NaN utf8=replaced".to_owned()]));
    assert_eq!(read(&[b"{}"]), Ok(Vec::new()));
}

#[test]
fn malformed_datagrams_and_bombs_are_refused() {
    let bomb = gzip(&vec![b' '; 20_000_000]);
    let cut = gzip(MESSAGE.as_bytes());
    for datagram in
        [&b""[..], b"text", b"[1]", b"{\"a\":", b"\x1e\x0f", &bomb, &cut[..cut.len() - 9], b"\x1f\x8b"]
    {
        assert!(read(&[datagram]).is_err());
    }
}

#[test]
fn a_connection_has_one_message_after_another() {
    let input = [
        MESSAGE.as_bytes(),
        b"\0",
        b"{\"short_message\":\"b\"}\nno json\0\0\n{\"a\":\0{\"short_message\":\"c\"}",
    ]
    .concat();
    let rules = stream_rules(&ReadRules::default());
    let (mut parser, mut found, mut buffer) = (Connection::default(), Vec::new(), Vec::new());
    for (index, byte) in input.iter().enumerate() {
        buffer.push(*byte);
        let mut batch = Batch::default();
        let is_end = index + 1 == input.len();
        let done = parser.read(&buffer, is_end, &rules, &mut batch, &mut Vec::new()).unwrap();
        found.extend(shown(&batch));
        drop(batch);
        buffer.drain(..done);
    }
    let expected = [
        RECORD,
        "INFO - b | ",
        "INFO - no json | parse=failed",
        "INFO - {\"a\": | parse=failed",
        "INFO - c | ",
    ];
    assert_eq!(found, expected);
    assert!(buffer.is_empty());
}

proptest! {
    #[test]
    fn any_datagrams_are_read_or_refused(
        datagrams in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), Just(0x1e), Just(0x0f), Just(b'{')], 0..40), 0..6),
        text in r#"\{[\[\]{}:,"\\a-z_0-9 ]{0,60}"#,
    ) {
        for datagram in &datagrams {
            drop(read(&[datagram]));
        }
        drop(read(&[text.as_bytes()]));
    }

    #[test]
    fn generated_messages_come_back(short in ".{1,30}", value in ".{1,20}", size in 1..50_usize) {
        let message = json!({"short_message": short, "_a": value, "level": 3}).to_string();
        let compressed = gzip(message.as_bytes());
        let size = size.max(compressed.len().div_ceil(128));
        let pieces = chunks(&compressed, size);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let (mut parser, mut batch) = (Datagrams::default(), Batch::default());
        for datagram in pieces {
            prop_assert_eq!(parser.read("a", datagram, &stream_rules(&ReadRules::default()), &mut batch), Ok(()));
        }
        let entries = batch.entries(Level::Debug);
        prop_assert_eq!(entries.len(), 1);
        prop_assert_eq!(entries[0].message, short);
        prop_assert_eq!(entries[0].fields[0].value(), value);
    }
}
