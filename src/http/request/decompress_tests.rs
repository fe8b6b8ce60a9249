use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;
use crate::http::request::memory_budget::MemoryBudget;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 1).unwrap()
}

fn codings(text: &str) -> Option<Codings> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, text.parse().unwrap());
    Codings::of(&headers, None).ok()
}

/// Decodes `body` with a limit of `cap` bytes of output and `memory` bytes of memory, and checks
/// that the share covers the output.
fn inflated(coding: &str, body: Vec<u8>, cap: u64, memory: u64) -> Result<Vec<u8>, DecodeError> {
    let budget = Arc::new(MemoryBudget::default());
    let mut share = budget.share();
    let outcome = {
        let mut output_memory = OutputMemory { share: &mut share, granted: 0, memory };
        let work = WorkLimits { output: cap, members: MAX_MEMBERS };
        inflate(body.into(), &codings(coding).unwrap(), work, &mut output_memory, None)
    };
    assert!(share.bytes() <= memory);
    if let Ok(plain) = &outcome {
        assert!(share.bytes() >= plain.len() as u64);
    }
    outcome.map(|plain| plain.to_vec())
}

const UNLIMITED: u64 = 1 << 30;

type Coder = fn(&[u8]) -> Vec<u8>;

const CODERS: [(&str, Coder); 4] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate), ("zstd", zstd)];

#[test]
fn codings_are_decoded_in_reverse_order_and_unknown_ones_are_refused() {
    assert_eq!(codings(" X-GZIP ,identity,, zstd"), Some(Codings(vec![Coding::Zstd, Coding::Gzip])));
    assert_eq!(codings("identity"), Some(Codings::default()));
    for unknown in ["br", "gzip, br", "gzip;q=1", "gzip,gzip,gzip,gzip", "compress"] {
        assert_eq!(codings(unknown), None, "{unknown}");
    }
    let body = zstd(&gzip(b"inner"));
    assert_eq!(inflated("gzip, zstd", body.clone(), 100, UNLIMITED), Ok(b"inner".to_vec()));
    assert_eq!(inflated("gzip", body, 100, UNLIMITED), Err(DecodeError::Corrupt));
}

#[test]
fn codings_that_are_alternatives_are_decided_by_the_first_bytes() {
    for list in [
        "gzip,deflate",
        "deflate, gzip",
        "gzip, deflate, zstd",
        "zstd,deflate,gzip",
        "identity, gzip, deflate",
    ] {
        for (name, code) in CODERS.into_iter().filter(|(name, _)| list.contains(name)) {
            let plain = br#"{"message":"a text that is long enough, long enough"}"#.to_vec();
            assert_eq!(inflated(list, code(&plain), 1000, UNLIMITED), Ok(plain.clone()), "{list} {name}");
            assert_eq!(
                inflated(list, code(&plain), 10, UNLIMITED),
                Err(DecodeError::TooLarge),
                "{list} {name}"
            );
        }
        assert_eq!(inflated(list, b"plain text".to_vec(), 1000, UNLIMITED), Err(DecodeError::Corrupt));
    }
    assert_eq!(inflated("gzip, gzip", gzip(b"once"), 100, UNLIMITED), Ok(b"once".to_vec()));
    assert_eq!(inflated("deflate, gzip", zstd(b"not named"), 100, UNLIMITED), Err(DecodeError::Corrupt));
}

#[test]
fn bytes_behind_gzip_that_are_no_member_are_ignored() {
    let two = [gzip(b"one "), gzip(b"two")].concat();
    for behind in [&b"\0"[..], &[0; 1000], b"trailing garbage", b"{}", b"\x1f", b"\x1f\x8a more", b"\r\n"] {
        let body = [&two[..], behind].concat();
        assert_eq!(inflated("gzip", body.clone(), 100, UNLIMITED), Ok(b"one two".to_vec()), "{behind:?}");
        assert_eq!(
            inflated("gzip, zstd", zstd(&body), 2000, UNLIMITED),
            Ok(b"one two".to_vec()),
            "{behind:?}"
        );
    }
    let cut = &gzip(b"cut short")[..12];
    assert_eq!(inflated("gzip", [&two[..], cut].concat(), 100, UNLIMITED), Err(DecodeError::Corrupt));
    assert_eq!(inflated("gzip", [&two[..], &cut[..2]].concat(), 100, UNLIMITED), Err(DecodeError::Corrupt));
    // The mark of the second member lies across the buffers of the outer coding.
    for len in CHUNK_BYTES / 2 - 64..CHUNK_BYTES / 2 + 8 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&vec![b'x'; len - 28]).unwrap();
        let body = [encoder.finish().unwrap(), gzip(b"y")].concat();
        let plain = inflated("gzip, zstd", zstd(&body), UNLIMITED, UNLIMITED).unwrap();
        assert_eq!((plain.len(), plain.last()), (len - 27, Some(&b'y')));
    }
}

#[test]
fn output_of_the_maximum_size_passes_and_one_byte_more_is_refused() {
    let plain = vec![b'x'; 200_000];
    for (name, code) in CODERS {
        assert_eq!(inflated(name, code(&plain), 200_000, UNLIMITED).as_deref(), Ok(&plain[..]), "{name}");
        assert_eq!(inflated(name, code(&plain), 199_999, UNLIMITED), Err(DecodeError::TooLarge), "{name}");
        assert_eq!(inflated(name, code(&plain), UNLIMITED, 199_999), Err(DecodeError::NoMemory), "{name}");
    }
}

#[test]
fn output_of_an_inner_coding_is_limited_too() {
    // The members are empty, so the final output is small and the output of the inner coding is
    // large.
    let inner = gzip(b"").repeat(2_000);
    assert_eq!(inflated("gzip, gzip", gzip(&inner), UNLIMITED, UNLIMITED), Ok(Vec::new()));
    assert_eq!(inflated("gzip, gzip", gzip(&inner), 10_000, UNLIMITED), Err(DecodeError::TooLarge));
}

#[test]
fn concatenated_members_and_frames_are_decoded_up_to_the_maximum() {
    let two = |code: Coder| [code(b"one "), code(b""), code(b"two")].concat();
    assert_eq!(inflated("gzip", two(gzip), 100, UNLIMITED), Ok(b"one two".to_vec()));
    assert_eq!(inflated("zstd", two(zstd), 100, UNLIMITED), Ok(b"one two".to_vec()));
    let most = gzip(b"").repeat(MAX_MEMBERS as usize);
    assert_eq!(inflated("gzip", most.clone(), 100, UNLIMITED), Ok(Vec::new()));
    assert_eq!(
        inflated("gzip", [most, gzip(b"")].concat(), 100, UNLIMITED),
        Err(DecodeError::TooManyMembers)
    );
}

#[test]
fn truncated_damaged_or_trailed_stream_is_refused() {
    let plain: Vec<u8> = (0..5_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (name, code) in CODERS {
        let whole = code(&plain);
        for end in [0, 1, 2, 5, 10, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let cut = whole[..end].to_vec();
            assert_eq!(inflated(name, cut, UNLIMITED, UNLIMITED), Err(DecodeError::Corrupt), "{name} {end}");
        }
        for more in [&b"\0"[..], b"trailing garbage", b"{}"].iter().filter(|_| name != "gzip") {
            let more = [&whole[..], more].concat();
            assert_eq!(inflated(name, more, UNLIMITED, UNLIMITED), Err(DecodeError::Corrupt), "{name}");
        }
    }
    for (name, code) in [CODERS[0], CODERS[1]] {
        let mut damaged = code(&plain);
        // The flipped bit is in the checksum.
        let at = damaged.len() - if name == "gzip" { 8 } else { 1 };
        damaged[at] ^= 1;
        assert_eq!(inflated(name, damaged, UNLIMITED, UNLIMITED), Err(DecodeError::Corrupt), "{name}");
    }
}

#[test]
fn zstd_window_above_8_mib_is_refused() {
    let frame = |log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        // The input comes in pieces, so that the encoder does not know its total size.
        for _ in 0..10 {
            encoder.write_all(&[b'x'; 1000]).unwrap();
        }
        encoder.finish().unwrap()
    };
    assert_eq!(inflated("zstd", frame(23), UNLIMITED, UNLIMITED), Ok(vec![b'x'; 10_000]));
    assert_eq!(inflated("zstd", frame(24), UNLIMITED, UNLIMITED), Err(DecodeError::Corrupt));
}

#[test]
fn cancelled_work_ends() {
    let budget = Arc::new(MemoryBudget::default());
    let mut share = budget.share();
    let mut output_memory = OutputMemory { share: &mut share, granted: 0, memory: UNLIMITED };
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let work = WorkLimits { output: 100, members: 1 };
    let outcome =
        inflate(gzip(b"x").into(), &codings("gzip").unwrap(), work, &mut output_memory, Some(&cancelled));
    assert_eq!(outcome, Err(DecodeError::Cancelled));
}

proptest! {
    #[test]
    fn any_compressed_body_is_decoded(plain in proptest::collection::vec(any::<u8>(), 0..3000), times in 1_usize..100, which in 0_usize..4) {
        let plain = plain.repeat(times);
        let (name, code) = CODERS[which];
        prop_assert_eq!(inflated(name, code(&plain), UNLIMITED, UNLIMITED), Ok(plain));
    }

    #[test]
    fn any_bytes_behind_gzip_are_ignored_or_a_member(plain: Vec<u8>, behind: Vec<u8>) {
        prop_assume!(!behind.starts_with(&GZIP_MARK));
        prop_assert_eq!(inflated("gzip", [gzip(&plain), behind].concat(), UNLIMITED, UNLIMITED), Ok(plain));
    }

    #[test]
    fn any_body_in_one_of_the_named_codings_is_decoded(plain in "[ -~]{0,200}", which in 0_usize..4) {
        let plain = format!("{{\"message\":\"{plain}");
        let (_, code) = CODERS[which];
        for list in ["gzip, deflate, zstd", "zstd, gzip, deflate", "deflate, zstd, gzip"] {
            prop_assert_eq!(inflated(list, code(plain.as_bytes()), UNLIMITED, UNLIMITED), Ok(plain.clone().into_bytes()), "{}", list);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300), flip in 0_usize..100, which in 0_usize..4) {
        let (name, code) = CODERS[which];
        drop(inflated(name, body.clone(), 10_000, UNLIMITED));
        fuzz("gzip, deflate, zstd", &body);
        let mut damaged = code(b"a text that is long enough to be compressed, compressed, compressed");
        let at = flip % damaged.len();
        damaged[at] ^= 0x55;
        drop(inflated(name, damaged, 10_000, UNLIMITED));
    }
}
