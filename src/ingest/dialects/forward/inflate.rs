//! Decompresses the events of a message in pieces, in bounded memory.

use std::io::Write;

use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::ingest::socket_dialect::SocketError;

/// Maximum size of the decompressed events of one message, in bytes. A chunk of Fluentd has at most
/// 256 MiB by default.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Number of bytes that are decompressed at once. One step of gzip yields about a thousand times as many
/// at most, and one of zstd up to 128 KiB for four bytes.
const GZIP_STEP_BYTES: usize = 1024;
const ZSTD_STEP_BYTES: usize = 128;

/// Maximum base-2 logarithm of the window of zstd.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

const CORRUPT: SocketError = SocketError::Malformed("The compressed events are damaged.");

/// A coding, and the bytes that it has yielded.
enum Coding {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

/// Decompresses one message.
pub(super) struct Inflater {
    coding: Coding,
    /// Bytes that the coding has yielded, in all.
    total: u64,
}

impl Inflater {
    /// Returns the decompressor of events that begin with these bytes. `None`: they are not compressed,
    /// because an event begins with the head of an array.
    pub(super) fn of(first: &[u8]) -> Result<Option<Self>, SocketError> {
        let coding = match first {
            [0x1f, 0x8b, ..] => Coding::Gzip(MultiGzDecoder::new(Vec::new())),
            [0x78, ..] => Coding::Zlib(ZlibDecoder::new(Vec::new())),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let mut decoder = zstd::stream::write::Decoder::new(Vec::new()).map_err(|_| CORRUPT)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(|_| CORRUPT)?;
                Coding::Zstd(Box::new(decoder))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { coding, total: 0 }))
    }

    /// Decompresses the start of `input`. Returns how many of its bytes are done with.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<usize, SocketError> {
        let step = if matches!(self.coding, Coding::Zstd(_)) { ZSTD_STEP_BYTES } else { GZIP_STEP_BYTES };
        let piece = input.get(..step).unwrap_or(input);
        let before = self.output().len();
        let outcome = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Coding::Zlib(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Coding::Zstd(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
        };
        outcome.map_err(|_| CORRUPT)?;
        self.total += self.output().len().saturating_sub(before) as u64;
        if self.total > MAX_BYTES {
            return Err(SocketError::TooLarge("The decompressed events are too large."));
        }
        Ok(piece.len())
    }

    /// Ends the input.
    pub(super) fn finish(&mut self) -> Result<(), SocketError> {
        let outcome = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.try_finish(),
            Coding::Zlib(decoder) => decoder.try_finish(),
            Coding::Zstd(decoder) => decoder.flush(),
        };
        outcome.map_err(|_| CORRUPT)
    }

    /// Returns the bytes that were decompressed and not removed.
    pub(super) fn output(&self) -> &[u8] {
        match &self.coding {
            Coding::Gzip(decoder) => decoder.get_ref(),
            Coding::Zlib(decoder) => decoder.get_ref(),
            Coding::Zstd(decoder) => decoder.get_ref(),
        }
    }

    /// Removes decompressed bytes that were read.
    pub(super) fn remove(&mut self, bytes: usize) {
        let output = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.get_mut(),
            Coding::Zlib(decoder) => decoder.get_mut(),
            Coding::Zstd(decoder) => decoder.get_mut(),
        };
        output.drain(..bytes.min(output.len()));
    }
}
