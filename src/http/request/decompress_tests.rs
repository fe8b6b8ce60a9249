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
    Codings::of(&headers).ok()
}

/// Under a cap, with memory for so much; what is left of the memory afterwards has to be all of it.
fn inflated(coding: &str, body: Vec<u8>, cap: u64, memory: u64) -> Result<Vec<u8>, Stop> {
    let budget = Arc::new(MemoryBudget::default());
    let mut share = budget.share();
    let outcome = {
        let mut room = Room { share: &mut share, granted: 0, memory };
        let bounds = Bounds { output: cap, members: MAX_MEMBERS };
        inflate(body.into(), &codings(coding).unwrap(), bounds, &mut room, None)
    };
    assert!(share.bytes() <= memory);
    if let Ok(plain) = &outcome {
        assert!(share.bytes() >= plain.len() as u64);
    }
    outcome.map(|plain| plain.to_vec())
}

const MUCH: u64 = 1 << 30;

type Coder = fn(&[u8]) -> Vec<u8>;

const CODERS: [(&str, Coder); 4] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate), ("zstd", zstd)];

#[test]
fn names_and_order() {
    assert_eq!(codings(" X-GZIP ,identity,, zstd"), Some(Codings(vec![Coding::Zstd, Coding::Gzip])));
    assert_eq!(codings("identity"), Some(Codings::default()));
    for unknown in ["br", "gzip, br", "gzip;q=1", "gzip,gzip,gzip,gzip", "compress"] {
        assert_eq!(codings(unknown), None, "{unknown}");
    }
    let body = zstd(&gzip(b"inner"));
    assert_eq!(inflated("gzip, zstd", body.clone(), 100, MUCH), Ok(b"inner".to_vec()));
    assert_eq!(inflated("zstd, gzip", body, 100, MUCH), Err(Stop::Corrupt));
}

#[test]
fn the_cap_is_exact() {
    let plain = vec![b'x'; 200_000];
    for (name, code) in CODERS {
        assert_eq!(inflated(name, code(&plain), 200_000, MUCH).as_deref(), Ok(&plain[..]), "{name}");
        assert_eq!(inflated(name, code(&plain), 199_999, MUCH), Err(Stop::TooLarge), "{name}");
        assert_eq!(inflated(name, code(&plain), MUCH, 199_999), Err(Stop::NoMemory), "{name}");
    }
}

#[test]
fn a_stage_in_between_has_the_cap_too() {
    // members of nothing: little comes out at the end, much on the way
    let inner = gzip(b"").repeat(2_000);
    assert_eq!(inflated("gzip, gzip", gzip(&inner), MUCH, MUCH), Ok(Vec::new()));
    assert_eq!(inflated("gzip, gzip", gzip(&inner), 10_000, MUCH), Err(Stop::TooLarge));
}

#[test]
fn members_and_frames_in_a_row() {
    let two = |code: Coder| [code(b"one "), code(b""), code(b"two")].concat();
    assert_eq!(inflated("gzip", two(gzip), 100, MUCH), Ok(b"one two".to_vec()));
    assert_eq!(inflated("zstd", two(zstd), 100, MUCH), Ok(b"one two".to_vec()));
    let most = gzip(b"").repeat(MAX_MEMBERS as usize);
    assert_eq!(inflated("gzip", most.clone(), 100, MUCH), Ok(Vec::new()));
    assert_eq!(inflated("gzip", [most, gzip(b"")].concat(), 100, MUCH), Err(Stop::TooMany));
}

#[test]
fn what_is_cut_short_or_followed_by_something_else() {
    let plain: Vec<u8> = (0..5_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (name, code) in CODERS {
        let whole = code(&plain);
        for end in [0, 1, 2, 5, 10, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let cut = whole[..end].to_vec();
            assert_eq!(inflated(name, cut, MUCH, MUCH), Err(Stop::Corrupt), "{name} {end}");
        }
        for more in [&b"\0"[..], b"trailing garbage", b"{}"] {
            let more = [&whole[..], more].concat();
            assert_eq!(inflated(name, more, MUCH, MUCH), Err(Stop::Corrupt), "{name}");
        }
    }
    for (name, code) in [CODERS[0], CODERS[1]] {
        let mut damaged = code(&plain);
        // the checksum
        let at = damaged.len() - if name == "gzip" { 8 } else { 1 };
        damaged[at] ^= 1;
        assert_eq!(inflated(name, damaged, MUCH, MUCH), Err(Stop::Corrupt), "{name}");
    }
}

#[test]
fn a_zstd_window_is_bounded() {
    let frame = |log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        // in pieces, so that the size of the whole is not known to the encoder
        for _ in 0..10 {
            encoder.write_all(&[b'x'; 1000]).unwrap();
        }
        encoder.finish().unwrap()
    };
    assert_eq!(inflated("zstd", frame(23), MUCH, MUCH), Ok(vec![b'x'; 10_000]));
    assert_eq!(inflated("zstd", frame(24), MUCH, MUCH), Err(Stop::Corrupt));
}

#[test]
fn nobody_waits_any_more() {
    let budget = Arc::new(MemoryBudget::default());
    let mut share = budget.share();
    let mut room = Room { share: &mut share, granted: 0, memory: MUCH };
    let stop = CancellationToken::new();
    stop.cancel();
    let bounds = Bounds { output: 100, members: 1 };
    let outcome = inflate(gzip(b"x").into(), &codings("gzip").unwrap(), bounds, &mut room, Some(&stop));
    assert_eq!(outcome, Err(Stop::Left));
}

proptest! {
    #[test]
    fn any_body_comes_back(plain in proptest::collection::vec(any::<u8>(), 0..3000), times in 1_usize..100, which in 0_usize..4) {
        let plain = plain.repeat(times);
        let (name, code) = CODERS[which];
        prop_assert_eq!(inflated(name, code(&plain), MUCH, MUCH), Ok(plain));
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300), flip in 0_usize..100, which in 0_usize..4) {
        let (name, code) = CODERS[which];
        drop(inflated(name, body, 10_000, MUCH));
        let mut damaged = code(b"a text that is long enough to be compressed, compressed, compressed");
        let at = flip % damaged.len();
        damaged[at] ^= 0x55;
        drop(inflated(name, damaged, 10_000, MUCH));
    }
}
