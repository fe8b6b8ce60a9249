//! Decodes the codings of a body in pieces: zstd, xz and LZ4.
//!
//! A sender compresses each buffer that it sends by itself, so a body is a row of frames.

use bytes::{Buf, Bytes};
use liblzma::stream::{Action, CONCATENATED, Error as XzError, Status, Stream as XzStream};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::coding_error::Undecodable;
use super::lz4::Lz4Decoder;

/// Binary logarithm of the maximum zstd window. RFC 8878 recommends that every decoder supports
/// 8 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Memory of the first attempt to decode xz, in bytes. Enough for the levels up to 6.
const XZ_MEMORY_BYTES: u64 = 12 * 1024 * 1024;

/// Maximum memory for decoding xz, in bytes. Enough for level 9.
const MAX_XZ_MEMORY_BYTES: u64 = 96 * 1024 * 1024;

/// Decodes one coding.
pub(super) enum Decoder {
    Zstd {
        decoder: Box<ZstdDecoder<'static>>,
        /// Whether a frame has begun and not ended.
        is_open: bool,
    },
    Xz {
        stream: Box<XzStream>,
        has_begun: bool,
    },
    Lz4(Box<Lz4Decoder>),
}

/// What one step decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Number of bytes of the output.
    pub(super) len: usize,
    /// Whether another step gives more without further input.
    pub(super) has_more: bool,
}

impl Decoder {
    /// Returns the decoder for a coding. `None`: the coding is not known.
    pub(super) fn new(coding: &str) -> Option<Result<Self, Undecodable>> {
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        if is("zstd") {
            Some(zstd_decoder())
        } else if is("xz") {
            Some(xz_decoder())
        } else if is("lz4") {
            Some(Ok(Self::Lz4(Box::default())))
        } else {
            None
        }
    }

    /// Returns the memory that the decoder may need, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Zstd { .. } => (1 << MAX_ZSTD_WINDOW_LOG) + 256 * 1024,
            Self::Xz { stream, .. } => stream.memlimit(),
            Self::Lz4(decoder) => decoder.memory_bytes(),
        }
    }

    /// Decodes from the front of `input` into `output`.
    pub(super) fn decode(&mut self, input: &mut Bytes, output: &mut [u8]) -> Result<Decoded, Undecodable> {
        let room = output.len();
        let len = match self {
            Self::Zstd { decoder, is_open } => {
                if input.is_empty() && !*is_open {
                    return Ok(Decoded { len: 0, has_more: false });
                }
                let mut source = InBuffer::around(input);
                let mut sink = OutBuffer::around(output);
                let hint = decoder.run(&mut source, &mut sink).map_err(|_| Undecodable)?;
                *is_open = hint != 0;
                let (read, written) = (source.pos(), sink.pos());
                input.advance(read);
                written
            }
            Self::Xz { stream, has_begun } => {
                *has_begun |= !input.is_empty();
                xz_step(stream, input, output, Action::Run)?.0
            }
            Self::Lz4(decoder) => decoder.decode(input, output)?,
        };
        Ok(Decoded { len, has_more: len == room || !input.is_empty() })
    }

    /// Ends the body.
    pub(super) fn end(&mut self) -> Result<(), Undecodable> {
        let is_whole = match self {
            Self::Zstd { is_open, .. } => !*is_open,
            Self::Xz { stream, has_begun } => {
                let (len, has_ended) = xz_step(stream, &mut Bytes::new(), &mut [0; 16], Action::Finish)?;
                !*has_begun || (has_ended && len == 0)
            }
            Self::Lz4(decoder) => decoder.is_between_frames(),
        };
        if is_whole { Ok(()) } else { Err(Undecodable) }
    }
}

fn zstd_decoder() -> Result<Decoder, Undecodable> {
    let mut decoder = ZstdDecoder::new().map_err(|_| Undecodable)?;
    decoder.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG)).map_err(|_| Undecodable)?;
    Ok(Decoder::Zstd { decoder: Box::new(decoder), is_open: false })
}

fn xz_decoder() -> Result<Decoder, Undecodable> {
    let stream = XzStream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED).map_err(|_| Undecodable)?;
    Ok(Decoder::Xz { stream: Box::new(stream), has_begun: false })
}

/// Raises the memory limit to the next step that is enough.
fn raise_memory_limit(stream: &mut XzStream) -> Result<(), Undecodable> {
    let mut limit = 2 * stream.memlimit();
    while limit <= MAX_XZ_MEMORY_BYTES {
        if stream.set_memlimit(limit).is_ok() {
            return Ok(());
        }
        limit *= 2;
    }
    Err(Undecodable)
}

/// Decodes xz. Returns the number of bytes of the output, and whether the last stream has ended.
fn xz_step(
    stream: &mut XzStream,
    input: &mut Bytes,
    output: &mut [u8],
    action: Action,
) -> Result<(usize, bool), Undecodable> {
    let written_before = stream.total_out();
    loop {
        let read_before = stream.total_in();
        let written = usize::try_from(stream.total_out() - written_before).map_err(|_| Undecodable)?;
        let room = output.get_mut(written..).unwrap_or_default();
        let status = stream.process(input, room, action);
        input.advance(usize::try_from(stream.total_in() - read_before).map_err(|_| Undecodable)?);
        let written = usize::try_from(stream.total_out() - written_before).map_err(|_| Undecodable)?;
        match status {
            Ok(Status::StreamEnd) => return Ok((written, true)),
            // `MemNeeded` says that there was nothing to do.
            Ok(_) => return Ok((written, false)),
            Err(XzError::MemLimit) => raise_memory_limit(stream)?,
            // An end without any input.
            Err(_) if matches!(action, Action::Finish) && stream.total_in() == 0 => return Ok((0, true)),
            Err(_) => return Err(Undecodable),
        }
    }
}
