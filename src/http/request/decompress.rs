//! Undoing `Content-Encoding` (RFC 9110, section 8.4): gzip, deflate, zstd, also several of them in a row.
//!
//! What comes out is bounded like a body that was sent plain: no coding gives more than the cap of one body, and what
//! is kept counts in the memory of all bodies as it grows, so a bomb costs at most the cap. A stream that is cut short,
//! damaged or followed by something else is refused.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use super::body::{BodyLimits, Collected, FIRST_ROOM};
use super::cpu_pool::CpuPool;
use super::memory_budget::MemoryShare;
use crate::http::response::problem::Problem;

/// Codings of one body.
const MAX_CODINGS: usize = 3;

/// Compressed or not, a body up to this size is decoded where the request is: half a millisecond of work.
const INLINE: u64 = 64 * 1024;

/// What RFC 8878 recommends that every decoder can do: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Members of one gzip body. Each costs microseconds beside its bytes; block-wise gzip has one for 64 KiB.
const MAX_MEMBERS: u32 = 16_384;
const INLINE_MEMBERS: u32 = 64;

/// How much is decoded between two looks at whether anybody still waits for it.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// zlib (RFC 1950), as HTTP means it, or bare (RFC 1951), as some clients send it
    Deflate,
    Zstd,
}

/// The codings of a body, the one that was applied last first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(Vec<Coding>);

impl Codings {
    /// Those that the headers name.
    ///
    /// # Errors
    /// 415 with the codings that would do, for an unknown one or too many.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| unsupported())?.split(',') {
                let name = name.trim_ascii();
                let is = |known: &str| name.eq_ignore_ascii_case(known);
                codings.push(match () {
                    () if name.is_empty() || is("identity") => continue,
                    () if is("gzip") || is("x-gzip") => Coding::Gzip,
                    () if is("deflate") => Coding::Deflate,
                    () if is("zstd") => Coding::Zstd,
                    () => return Err(unsupported()),
                });
                if codings.len() > MAX_CODINGS {
                    return Err(unsupported());
                }
            }
        }
        codings.reverse();
        Ok(Self(codings))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// RFC 9110, section 12.5.3: the answer tells what would do.
fn unsupported() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This Content-Encoding is not supported.")
        .because("gzip, deflate and zstd are, and up to three of them in a row")
        .with(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, zstd"))
}

/// Undoes the codings of a body.
pub(crate) async fn decode(
    body: Collected,
    codings: Codings,
    caps: BodyLimits,
    cpu_pool: &CpuPool,
) -> Result<Collected, Problem> {
    let (bytes, mut share) = body.into_parts();
    let memory = caps.memory_for_this();
    let held = share.bytes();
    // Both forms are in memory at once, and a byte beyond the cap is where an output that fits ends.
    let beside = memory.saturating_sub(held + 1);
    let cap = caps.whole().min(beside);
    let refusal = move |stop: Stop| match stop {
        Stop::TooLarge if beside < caps.whole() => Problem::no_room(memory),
        stop => stop.problem(cap),
    };
    let first = FIRST_ROOM.min(cap + 1);
    share.wait_for(first, memory).await?;
    if bytes.len() as u64 <= INLINE {
        let mut room = Room { share: &mut share, granted: first, memory };
        let bounds = Bounds { output: cap.min(INLINE), members: INLINE_MEMBERS };
        match inflate(bytes.clone(), &codings, bounds, &mut room, None) {
            // Begun anew elsewhere, where it may take its time.
            Err(Stop::TooLarge | Stop::TooMany) => share.shrink_to(held + first),
            Err(stop) => return Err(refusal(stop)),
            Ok(plain) => return Ok(Collected::new(plain, share)),
        }
    }
    let inflated = cpu_pool.run(move |stop| {
        let mut room = Room { share: &mut share, granted: first, memory };
        let bounds = Bounds { output: cap, members: MAX_MEMBERS };
        let plain = inflate(bytes, &codings, bounds, &mut room, Some(stop))?;
        Ok(Collected::new(plain, share))
    });
    inflated.await?.map_err(refusal)
}

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    TooLarge,
    /// members
    TooMany,
    NoMemory,
    Corrupt,
    /// nobody waits for it any more
    Left,
}

impl Stop {
    fn problem(self, cap: u64) -> Problem {
        match self {
            Self::TooLarge => Problem::too_large(cap),
            Self::NoMemory | Self::Left => Problem::overloaded("Too many large bodies at once."),
            Self::TooMany => Problem::bad_request("The body can't be decompressed.")
                .because("it consists of too many gzip members"),
            Self::Corrupt => Problem::bad_request("The body can't be decompressed.")
                .because("damaged, cut short or followed by something else, or a zstd window above 8 MiB"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Stop {}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or(Self::Corrupt)
    }
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        Self::other(stop)
    }
}

/// How much work a body may be.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// bytes, of each coding
    output: u64,
    /// of each gzip
    members: u32,
}

/// The memory that the output may take.
struct Room<'s> {
    share: &'s mut MemoryShare,
    /// of the share, for the output
    granted: u64,
    memory: u64,
}

impl Room<'_> {
    fn grow_to(&mut self, bytes: u64) -> Result<(), Stop> {
        if bytes > self.granted {
            if !self.share.try_grow(bytes - self.granted, self.memory) {
                return Err(Stop::NoMemory);
            }
            self.granted = bytes;
        }
        Ok(())
    }
}

/// Decodes all of it. The output's size counts in `room` before it is allocated.
fn inflate(
    body: Bytes,
    codings: &Codings,
    bounds: Bounds,
    room: &mut Room<'_>,
    stop: Option<&CancellationToken>,
) -> Result<Bytes, Stop> {
    let mut stages = codings.0.iter();
    let source: Box<dyn BufRead> = Box::new(Source { body, at: 0, stop: stop.cloned() });
    let Some(first) = stages.next() else { return Err(Stop::Corrupt) };
    let mut stream = open(*first, source, bounds)?;
    for coding in stages {
        stream = open(*coding, Box::new(BufReader::with_capacity(PIECE / 2, stream)), bounds)?;
    }
    let mut plain = Vec::new();
    loop {
        if plain.len() == plain.capacity() {
            // One byte beyond the cap is where an output that fits ends.
            let wanted = FIRST_ROOM.max(2 * plain.capacity() as u64).min(bounds.output + 1);
            if wanted == plain.capacity() as u64 {
                return Err(Stop::TooLarge);
            }
            room.grow_to(wanted)?;
            plain.reserve_exact(wanted as usize - plain.len());
        }
        if stop.is_some_and(CancellationToken::is_cancelled) {
            return Err(Stop::Left);
        }
        let piece = PIECE.min(plain.capacity() - plain.len());
        if stream.by_ref().take(piece as u64).read_to_end(&mut plain)? < piece {
            break;
        }
    }
    drop(stream);
    // The compressed body is gone by now: what is left is the output.
    room.share.shrink_to(plain.capacity() as u64);
    Ok(Bytes::from(plain))
}

fn open<'s>(
    coding: Coding,
    mut input: Box<dyn BufRead + 's>,
    bounds: Bounds,
) -> Result<Box<dyn Read + 's>, Stop> {
    let stream: Box<dyn Read + 's> = match coding {
        Coding::Gzip => Box::new(Members { member: Some(GzDecoder::new(input)), left: bounds.members }),
        Coding::Deflate => {
            // Compression method 8 in the lower half: no encoder begins bare deflate so.
            if input.fill_buf()?.first().is_some_and(|byte| byte & 0x8f == 8) {
                Box::new(Ended { stream: ZlibDecoder::new(input), rest: ZlibDecoder::get_mut })
            } else {
                Box::new(Ended { stream: DeflateDecoder::new(input), rest: DeflateDecoder::get_mut })
            }
        }
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Capped { stream, left: bounds.output }))
}

/// The body as it came, in pieces, as long as somebody waits for the result: of empty members and frames, a decoder
/// could read for a long time without giving anything.
struct Source {
    body: Bytes,
    at: usize,
    stop: Option<CancellationToken>,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.stop.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Err(Stop::Left.into());
        }
        let rest = self.body.get(self.at..).unwrap_or_default();
        Ok(&rest[..rest.len().min(PIECE)])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// An output that may be as long as a body.
struct Capped<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or(Stop::TooLarge)?;
        Ok(read)
    }
}

/// gzip members one after the other (RFC 1952, section 2.2).
struct Members<R> {
    member: Option<GzDecoder<R>>,
    left: u32,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let more = !member.get_mut().fill_buf()?.is_empty();
            let input = self.member.take().filter(|_| more).map(GzDecoder::into_inner);
            self.left = self.left.checked_sub(1).ok_or(Stop::TooMany)?;
            self.member = input.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// A stream after which nothing may follow.
struct Ended<D, R> {
    stream: D,
    rest: fn(&mut D) -> &mut R,
}

impl<D: Read, R: BufRead> Read for Ended<D, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        if read == 0 && !into.is_empty() && !(self.rest)(&mut self.stream).fill_buf()?.is_empty() {
            return Err(Stop::Corrupt.into());
        }
        Ok(read)
    }
}

#[cfg(test)]
#[path = "decompress_tests.rs"]
mod tests;
