use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::record::Level;

/// Reads a body in pieces of this length. Returns the messages.
fn read(coding: Option<&str>, body: &[u8], piece: usize) -> (Vec<String>, Result<(), IngestError>) {
    let decoder = coding.map(|coding| Decoder::new(coding).unwrap().unwrap());
    let mut stream = JournalStream::new(decoder);
    let rules = ReadRules::default();
    let mut messages = Vec::new();
    let mut outcome = Ok(());
    for piece in body.chunks(piece.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            let step = stream.read(&mut piece, &rules);
            assert!(stream.held_bytes() <= 2 * 1024 * 1024, "{}", stream.held_bytes());
            take(&mut stream, &mut messages);
            match step {
                Ok(StreamStep::HasMore) => {}
                Ok(StreamStep::NeedsBytes) => break,
                Err(error) => outcome = Err(error),
            }
            if outcome.is_err() {
                return (messages, outcome);
            }
        }
        assert!(piece.is_empty());
    }
    outcome = stream.end(&rules);
    take(&mut stream, &mut messages);
    (messages, outcome)
}

fn take(stream: &mut JournalStream, messages: &mut Vec<String>) {
    let entries = stream.take();
    let batch = entries.batch(&stream_rules(&ReadRules::default()));
    messages.extend(batch.entries(Level::Debug).iter().map(|entry| entry.message.to_owned()));
}

fn entries(count: usize) -> (Vec<u8>, Vec<String>) {
    let messages: Vec<String> = (0..count).map(|n| format!("message {n} {}", "x".repeat(n % 300))).collect();
    let body =
        messages.iter().map(|message| format!("__REALTIME_TIMESTAMP=1\nMESSAGE={message}\n_PID=1\n\n"));
    (body.collect::<String>().into_bytes(), messages)
}

fn xz(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn lz4_frame(plain: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A blob of systemd.
fn lz4_blob(plain: &[u8]) -> Vec<u8> {
    [&(plain.len() as u64).to_le_bytes()[..], &lz4_flex::block::compress(plain)].concat()
}

type Coder = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn coders() -> Vec<(&'static str, Coder)> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
    let checked = || {
        let info = FrameInfo::new().block_checksums(true).content_checksum(true);
        info.block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked)
    };
    vec![
        ("zstd", Box::new(|plain| zstd::stream::encode_all(plain, 3).unwrap())),
        ("ZSTD", Box::new(|plain| zstd::stream::encode_all(plain, 19).unwrap())),
        ("XZ", Box::new(|plain| xz(plain, 6))),
        ("xz", Box::new(|plain| xz(plain, 9))),
        ("lz4", Box::new(|plain| lz4_frame(plain, FrameInfo::new()))),
        ("lz4", Box::new(move |plain| lz4_frame(plain, checked()))),
        ("LZ4", Box::new(lz4_blob)),
    ]
}

#[test]
fn codings_are_decoded_at_every_cut_and_in_rows_of_frames() {
    let (plain, messages) = entries(3000);
    for (coding, code) in coders() {
        let whole = code(&plain);
        let row: Vec<u8> = plain.chunks(10_000).flat_map(code).collect();
        for body in [&whole, &row] {
            for piece in [1, 7, 1000, usize::MAX] {
                let (read, outcome) = read(Some(coding), body, piece);
                assert_eq!(outcome, Ok(()), "{coding} {piece}");
                assert!(read == messages, "{coding} {piece}: {} messages", read.len());
            }
        }
        assert_eq!(read(Some(coding), b"", 1), (vec![], Ok(())), "{coding}");
    }
}

#[test]
fn cut_and_damaged_codings_are_refused_behind_what_was_whole() {
    let (plain, messages) = entries(500);
    for (coding, code) in coders() {
        let frame = code(&plain);
        for end in [1, frame.len() / 2, frame.len() - 1] {
            let body = [&frame[..], &frame[..end]].concat();
            let (read, outcome) = read(Some(coding), &body, 999);
            assert!(outcome.is_err(), "{coding} {end}");
            assert!(read.starts_with(&messages), "{coding} {end}");
        }
        let (read, outcome) = read(Some(coding), b"MESSAGE=plain\n\n and some more bytes behind it", 999);
        assert!(outcome.is_err() && read.is_empty(), "{coding}");
    }
}

#[test]
fn bombs_are_decoded_in_small_steps() {
    let message = vec![b'a'; 30_000_000];
    let plain = [b"MESSAGE=", &message[..], b"\n\nMESSAGE=next\n\n"].concat();
    for (coding, code) in coders().into_iter().take(5) {
        let (read, outcome) = read(Some(coding), &code(&plain), 65_536);
        assert_eq!(outcome, Ok(()), "{coding}");
        assert_eq!((read.len(), read[0].len(), read[1].as_str()), (2, 262_144, "next"), "{coding}");
    }
}

#[test]
fn other_codings_are_refused() {
    let stream = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(value));
        let head = RequestHead { route: &ROUTES[0], path: "/upload", query: None, headers: &headers };
        Journal.stream(&head).unwrap().map(|_| ())
    };
    for known in ["zstd", "ZSTD", "lz4", "xz", "identity", "", "identity, xz"] {
        assert_eq!(stream(known), Ok(()), "{known}");
    }
    for unknown in ["br", "zstd, lz4", "zstd,zstd"] {
        assert_eq!(stream(unknown).unwrap_err().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{unknown}");
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_coding_end(
        body in prop::collection::vec(any::<u8>(), 0..300),
        frame in 0_usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        piece in 1_usize..100,
    ) {
        let (coding, code) = &coders()[frame];
        let _outcome = read(Some(coding), &body, piece);
        let mut coded = code(&entries(20).0);
        for (index, byte) in flips {
            let at = index.index(coded.len());
            coded[at] = byte;
        }
        let _outcome = read(Some(coding), &coded, piece);
    }
}
