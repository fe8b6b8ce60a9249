//! Decodes `Content-Encoding` (RFC 9110, section 8.4). The codings are gzip, deflate and zstd, and
//! a body may have several of them in a row.
//!
//! Some clients list the codings between which they choose, such as `gzip,deflate` for a zlib body. A
//! body that the listed codings in a row do not fit is therefore read in the one of them that its
//! first bytes show.
//!
//! The limits of an uncompressed body apply to the output. No coding may produce more than the
//! limit of one body, and the output counts against the memory budget as it grows. A decompression
//! bomb therefore costs at most the limit of one body. A stream that is truncated or damaged is
//! refused. So is one that other bytes follow, but for gzip: some writers pad its end.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use super::body::{BodyLimits, Collected, INITIAL_BUFFER_BYTES};
use super::cpu_pool::CpuPool;
use super::memory_budget::MemoryShare;
use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Maximum number of codings of one body.
const MAX_CODINGS: usize = 3;

/// Maximum size, before and after decoding, of a body that is decoded on the event loop. Decoding
/// it takes half a millisecond.
const MAX_INLINE_BYTES: u64 = 64 * 1024;

/// Binary logarithm of the maximum zstd window. RFC 8878 recommends that every decoder supports
/// 8 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Maximum number of members of one gzip body. Each member costs microseconds in addition to its
/// bytes. Block-wise gzip has one member for each 64 KiB.
const MAX_MEMBERS: u32 = 16_384;
/// Maximum number of gzip members of a body that is decoded on the event loop.
const MAX_INLINE_MEMBERS: u32 = 64;

/// Number of bytes that are decoded between two checks for cancellation.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// zlib (RFC 1950), as HTTP defines it, or raw deflate (RFC 1951), as some clients send it.
    Deflate,
    Zstd,
}

/// Lists the codings of a body. The coding that the client applied last comes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(Vec<Coding>);

impl Codings {
    /// Returns the codings in `Content-Encoding`, without `own`, which the dialect decodes.
    ///
    /// # Errors
    /// Fails with 415, which names the supported codings, for an unknown coding or too many.
    pub(crate) fn of(headers: &HeaderMap, own: Option<&str>) -> Result<Self, Problem> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| unsupported())?.split(',') {
                let name = name.trim_ascii();
                let is = |known: &str| name.eq_ignore_ascii_case(known);
                codings.push(match () {
                    () if name.is_empty() || is("identity") || own.is_some_and(is) => continue,
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

    /// Returns the one coding with this name.
    ///
    /// # Errors
    /// Fails with 415 for an unknown coding.
    pub(crate) fn named(name: &'static str) -> Result<Self, Problem> {
        let mut headers = HeaderMap::with_capacity(1);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        Self::of(&headers, None)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the one of several codings in which a body with these first bytes is.
    fn shown_by(&self, body: &[u8]) -> Option<Coding> {
        let Self(codings) = self;
        let shown = match body {
            [0x1f, 0x8b, ..] => Coding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Coding::Zstd,
            // Raw deflate has no mark.
            _ => Coding::Deflate,
        };
        (codings.len() > 1 && codings.contains(&shown)).then_some(shown)
    }
}

/// Returns the refusal of a coding, with the supported codings in `Accept-Encoding` (RFC 9110,
/// section 12.5.3).
fn unsupported() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This Content-Encoding is not supported.")
        .counted_as(Reason::UnsupportedCompression)
        .because("gzip, deflate and zstd are, and up to three of them in a row")
        .with(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, zstd"))
}

/// Decodes a body. Small bodies are decoded on the event loop, others on the CPU pool.
///
/// # Errors
/// Fails with 413 for a body beyond the limits, 400 for a damaged one, and 503 when the memory of
/// all bodies is used up.
pub(crate) async fn decode(
    body: Collected,
    codings: Codings,
    limits: BodyLimits,
    cpu_pool: &CpuPool,
) -> Result<Collected, Problem> {
    let (bytes, mut share) = body.into_parts();
    let memory = limits.memory_for_this();
    let held = share.bytes();
    // Input and output are in memory together. The output buffer has one byte more than the limit,
    // because only a read into that byte shows that an output of the maximum size has ended.
    let available = memory.saturating_sub(held + 1);
    let max = limits.max_body_bytes().min(available);
    let refusal = move |error: DecodeError| match error {
        DecodeError::TooLarge if available < limits.max_body_bytes() => Problem::no_room(memory),
        error => error.problem(max),
    };
    let first = INITIAL_BUFFER_BYTES.min(max + 1);
    share.wait_for(first, memory).await?;
    if bytes.len() as u64 <= MAX_INLINE_BYTES {
        let mut output_memory = OutputMemory { share: &mut share, granted: first, memory };
        let work = WorkLimits { output: max.min(MAX_INLINE_BYTES), members: MAX_INLINE_MEMBERS };
        match inflate(bytes.clone(), &codings, work, &mut output_memory, None) {
            // This is too much work for the event loop. The CPU pool decodes the body from the
            // start.
            Err(DecodeError::TooLarge | DecodeError::TooManyMembers) => share.shrink_to(held + first),
            Err(error) => return Err(refusal(error)),
            Ok(decoded) => return Ok(Collected::new(decoded, share)),
        }
    }
    let inflated = cpu_pool.run(move |cancelled| {
        let mut output_memory = OutputMemory { share: &mut share, granted: first, memory };
        let work = WorkLimits { output: max, members: MAX_MEMBERS };
        let decoded = inflate(bytes, &codings, work, &mut output_memory, Some(cancelled))?;
        Ok(Collected::new(decoded, share))
    });
    inflated.await?.map_err(refusal)
}

/// Says why decoding ended without a whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecodeError {
    TooLarge,
    TooManyMembers,
    NoMemory,
    Corrupt,
    /// The request was dropped, because its client has left.
    Cancelled,
}

impl DecodeError {
    fn problem(self, max: u64) -> Problem {
        match self {
            Self::TooLarge => Problem::too_large(max),
            Self::NoMemory | Self::Cancelled => Problem::overloaded("Too many large bodies at once."),
            Self::TooManyMembers => Problem::bad_request("The body can't be decompressed.")
                .counted_as(Reason::MalformedCompression)
                .because("it consists of too many gzip members"),
            Self::Corrupt => Problem::bad_request("The body can't be decompressed.")
                .counted_as(Reason::MalformedCompression)
                .because(
                    "damaged, cut short or in another coding than the header names, or a zstd window above 8 MiB",
                ),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for DecodeError {}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or(Self::Corrupt)
    }
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::other(error)
    }
}

/// Limits the work for one body.
#[derive(Debug, Clone, Copy)]
struct WorkLimits {
    /// Maximum output of each coding, in bytes.
    output: u64,
    /// Maximum number of members of each gzip coding.
    members: u32,
}

/// Accounts for the memory of the output.
struct OutputMemory<'s> {
    share: &'s mut MemoryShare,
    /// Bytes of the share that belong to the output.
    granted: u64,
    /// Maximum memory of all bodies together, in bytes.
    memory: u64,
}

impl OutputMemory<'_> {
    fn grow_to(&mut self, bytes: u64) -> Result<(), DecodeError> {
        if bytes > self.granted {
            if !self.share.try_grow(bytes - self.granted, self.memory) {
                return Err(DecodeError::NoMemory);
            }
            self.granted = bytes;
        }
        Ok(())
    }
}

/// Decodes a whole body: the codings in a row, or else the one that the first bytes show.
fn inflate(
    body: Bytes,
    codings: &Codings,
    work: WorkLimits,
    output_memory: &mut OutputMemory<'_>,
    cancelled: Option<&CancellationToken>,
) -> Result<Bytes, DecodeError> {
    let shown = codings.shown_by(&body);
    let alternative = shown.map(|coding| (coding, body.clone()));
    match (inflate_stack(body, &codings.0, work, output_memory, cancelled), alternative) {
        (Err(DecodeError::Corrupt), Some((shown, body))) => {
            inflate_stack(body, &[shown], work, output_memory, cancelled)
        }
        (outcome, _) => outcome,
    }
}

/// Decodes codings in a row. The share of the budget grows before the output buffer does.
fn inflate_stack(
    body: Bytes,
    codings: &[Coding],
    work: WorkLimits,
    output_memory: &mut OutputMemory<'_>,
    cancelled: Option<&CancellationToken>,
) -> Result<Bytes, DecodeError> {
    let mut stages = codings.iter();
    let source: Box<dyn BufRead> = Box::new(Source { body, at: 0, cancelled: cancelled.cloned() });
    let Some(first) = stages.next() else { return Err(DecodeError::Corrupt) };
    let mut stream = open(*first, source, work)?;
    for coding in stages {
        stream = open(*coding, Box::new(BufReader::with_capacity(CHUNK_BYTES / 2, stream)), work)?;
    }
    let mut decoded = Vec::new();
    loop {
        if decoded.len() == decoded.capacity() {
            // The buffer gets one byte more than the limit, as in `decode`.
            let capacity = INITIAL_BUFFER_BYTES.max(2 * decoded.capacity() as u64).min(work.output + 1);
            if capacity == decoded.capacity() as u64 {
                return Err(DecodeError::TooLarge);
            }
            output_memory.grow_to(capacity)?;
            decoded.reserve_exact(capacity as usize - decoded.len());
        }
        if cancelled.is_some_and(CancellationToken::is_cancelled) {
            return Err(DecodeError::Cancelled);
        }
        let chunk = CHUNK_BYTES.min(decoded.capacity() - decoded.len());
        if stream.by_ref().take(chunk as u64).read_to_end(&mut decoded)? < chunk {
            break;
        }
    }
    drop(stream);
    // The compressed body is freed by now. Only the output remains in memory.
    output_memory.share.shrink_to(decoded.capacity() as u64);
    Ok(Bytes::from(decoded))
}

fn open<'s>(
    coding: Coding,
    mut input: Box<dyn BufRead + 's>,
    work: WorkLimits,
) -> Result<Box<dyn Read + 's>, DecodeError> {
    let stream: Box<dyn Read + 's> = match coding {
        Coding::Gzip => {
            let first = GzDecoder::new((&[][..]).chain(input));
            Box::new(GzipMembers { member: Some(first), remaining: work.members })
        }
        Coding::Deflate => {
            // The first byte of zlib has compression method 8 in its lower half. No encoder starts
            // raw deflate with such a byte.
            if input.fill_buf()?.first().is_some_and(|byte| byte & 0x8f == 8) {
                Box::new(NoTrailingBytes { stream: ZlibDecoder::new(input), rest: ZlibDecoder::get_mut })
            } else {
                Box::new(NoTrailingBytes {
                    stream: DeflateDecoder::new(input),
                    rest: DeflateDecoder::get_mut,
                })
            }
        }
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Capped { stream, remaining: work.output }))
}

/// Reads the compressed body in chunks. It checks for cancellation on each chunk, because a decoder
/// can read empty members and frames for a long time without any output.
struct Source {
    body: Bytes,
    at: usize,
    cancelled: Option<CancellationToken>,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.cancelled.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Err(DecodeError::Cancelled.into());
        }
        let rest = self.body.get(self.at..).unwrap_or_default();
        Ok(&rest[..rest.len().min(CHUNK_BYTES)])
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

/// Reads a stream and fails when one coding exceeds its maximum output.
struct Capped<R> {
    stream: R,
    remaining: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        self.remaining = self.remaining.checked_sub(read as u64).ok_or(DecodeError::TooLarge)?;
        Ok(read)
    }
}

/// The bytes with which each gzip member begins.
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// A gzip member. The first byte of its mark may have been read already.
type Member<R> = GzDecoder<io::Chain<&'static [u8], R>>;

/// Decodes concatenated gzip members (RFC 1952, section 2.2). Bytes that begin no further member are
/// ignored, as gzip itself does.
struct GzipMembers<R> {
    member: Option<Member<R>>,
    remaining: u32,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            self.remaining = self.remaining.checked_sub(1).ok_or(DecodeError::TooManyMembers)?;
            let rest = self.member.take().map(|member| member.into_inner().into_inner().1);
            self.member = rest.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// Returns the member at the start of `rest`, if there is one.
fn next_member<R: BufRead>(mut rest: R) -> io::Result<Option<Member<R>>> {
    const FIRST: &[u8] = GZIP_MARK.split_at(1).0;
    // The input may end behind the first byte, so the bytes are looked at one by one.
    if rest.fill_buf()?.first() != GZIP_MARK.first() {
        return Ok(None);
    }
    rest.consume(1);
    let is_member = rest.fill_buf()?.first() == GZIP_MARK.get(1);
    Ok(is_member.then(|| GzDecoder::new(FIRST.chain(rest))))
}

/// Decodes a stream and refuses bytes after its end.
struct NoTrailingBytes<D, R> {
    stream: D,
    rest: fn(&mut D) -> &mut R,
}

impl<D: Read, R: BufRead> Read for NoTrailingBytes<D, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        if read == 0 && !into.is_empty() && !(self.rest)(&mut self.stream).fill_buf()?.is_empty() {
            return Err(DecodeError::Corrupt.into());
        }
        Ok(read)
    }
}

/// Decodes a body with these codings, and checks that the output keeps its limit. The fuzz target
/// `decompress` calls it.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(codings: &str, body: &[u8]) {
    const MAX: u64 = 100_000;
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_str(codings).ok().map(|value| (CONTENT_ENCODING, value)));
    let Ok(codings) = Codings::of(&headers, None) else { return };
    let budget = std::sync::Arc::new(super::memory_budget::MemoryBudget::default());
    let mut share = budget.share();
    let mut output_memory = OutputMemory { share: &mut share, granted: 0, memory: 2 * MAX };
    let work = WorkLimits { output: MAX, members: 100 };
    if let Ok(plain) = inflate(Bytes::copy_from_slice(body), &codings, work, &mut output_memory, None) {
        assert!(plain.len() as u64 <= MAX);
        assert!(share.bytes() >= plain.len() as u64);
    }
}

#[cfg(test)]
#[path = "decompress_tests.rs"]
mod tests;
