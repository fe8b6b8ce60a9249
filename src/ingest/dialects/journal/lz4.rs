//! Decodes LZ4 in pieces: frames, and the blobs that systemd makes.
//!
//! A blob is the length of its content as 64 bits in little endian, and one block. Nothing tells where
//! the block ends but its content.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use lz4_flex::frame::FrameDecoder;

use super::coding_error::Undecodable;

const FRAME_MAGIC: u32 = 0x184d_2204;

/// The magic numbers of frames that are skipped. The lowest four bits may be any.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

/// Maximum content of a blob. A sender fills a buffer of at most 2 MiB.
const MAX_BLOB_BYTES: usize = 4 * 1024 * 1024;

/// Length of the magic number, the flags and the block size of a frame, and of the checksum of its
/// header.
const MIN_HEADER_BYTES: usize = 7;

/// Number of bytes that tell whether a frame or a blob begins, and how long its header is.
const BEGIN_BYTES: usize = 5;

/// Decodes a row of frames and blobs.
pub(super) struct Lz4Decoder {
    /// The unit that is collected: a header, a block, or a blob.
    unit: Vec<u8>,
    next: Unit,
    frame: FrameDecoder<Feed>,
    /// The content of a blob, and how much of it was read.
    blob: Vec<u8>,
    blob_at: usize,
}

/// The unit that comes next.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// The header of a frame, or the length of a blob.
    Begin,
    /// A block of a frame, or its end.
    Block(Frame),
    /// Bytes that are skipped.
    Skipped(u64),
    /// The block of a blob.
    Blob(Sequences),
}

/// What the header of a frame says of its blocks.
#[derive(Debug, Clone, Copy)]
struct Frame {
    max_block_bytes: usize,
    has_block_checksum: bool,
    has_content_checksum: bool,
}

impl Default for Lz4Decoder {
    fn default() -> Self {
        Self {
            unit: Vec::new(),
            next: Unit::Begin,
            frame: FrameDecoder::new(Feed::default()),
            blob: Vec::new(),
            blob_at: 0,
        }
    }
}

impl Lz4Decoder {
    /// Returns the memory that the decoder may need, in bytes: a unit, its copy, and the content of two
    /// blocks.
    pub(super) fn memory_bytes(&self) -> u64 {
        let block = match self.next {
            Unit::Block(frame) => frame.max_block_bytes,
            Unit::Blob(sequences) => sequences.size,
            Unit::Begin | Unit::Skipped(_) => self.unit.capacity().max(64 * 1024),
        };
        4 * block as u64
    }

    /// Returns whether the bytes so far are whole frames and blobs.
    pub(super) const fn is_between_frames(&self) -> bool {
        matches!(self.next, Unit::Begin) && self.unit.is_empty()
    }

    /// Decodes from the front of `input` into `output`. Returns the number of bytes of the output.
    /// Without any, all of `input` was read.
    pub(super) fn decode(&mut self, input: &mut Bytes, output: &mut [u8]) -> Result<usize, Undecodable> {
        loop {
            let len = self.read_content(output)?;
            if len > 0 || input.is_empty() {
                return Ok(len);
            }
            self.read_unit(input)?;
        }
    }

    /// Reads from what is decoded already.
    fn read_content(&mut self, output: &mut [u8]) -> Result<usize, Undecodable> {
        let mut rest = self.blob.get(self.blob_at..).unwrap_or_default();
        if !rest.is_empty() {
            let len = rest.read(output).map_err(|_| Undecodable)?;
            self.blob_at += len;
            return Ok(len);
        }
        loop {
            match self.frame.read(output) {
                // A block without content, or the end of a frame.
                Ok(0) if self.frame.get_ref().is_empty() => return Ok(0),
                Ok(0) => {}
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(_) => return Err(Undecodable),
            }
        }
    }

    /// Collects the next unit. Decodes it when it is whole.
    fn read_unit(&mut self, input: &mut Bytes) -> Result<(), Undecodable> {
        let next = self.next;
        match next {
            Unit::Skipped(missing) => {
                let len = usize::try_from(missing).map_or(input.len(), |missing| missing.min(input.len()));
                input.advance(len);
                let missing = missing - len as u64;
                self.next = if missing == 0 { Unit::Begin } else { Unit::Skipped(missing) };
                Ok(())
            }
            Unit::Blob(sequences) => self.read_blob(input, sequences),
            Unit::Begin if self.collect(input, BEGIN_BYTES) => {
                let header = self.header_len();
                if self.collect(input, header) { self.end_header() } else { Ok(()) }
            }
            Unit::Block(frame) if self.collect(input, 4) => {
                let size = le_u32(&self.unit, 0);
                let block = (size & 0x7fff_ffff) as usize;
                if block > frame.max_block_bytes {
                    return Err(Undecodable);
                }
                let checksum = if size == 0 { frame.has_content_checksum } else { frame.has_block_checksum };
                if self.collect(input, 4 + block + 4 * usize::from(checksum)) {
                    self.feed();
                    if size == 0 {
                        self.next = Unit::Begin;
                    }
                }
                Ok(())
            }
            Unit::Begin | Unit::Block(_) => Ok(()),
        }
    }

    /// Collects until the unit has `len` bytes. Returns whether it has.
    fn collect(&mut self, input: &mut Bytes, len: usize) -> bool {
        let missing = len.saturating_sub(self.unit.len()).min(input.len());
        self.unit.extend_from_slice(&input.split_to(missing));
        self.unit.len() >= len
    }

    /// Gives the unit to the decoder of frames.
    fn feed(&mut self) {
        self.frame.get_mut().add(&mut self.unit);
    }

    fn header_len(&self) -> usize {
        if le_u32(&self.unit, 0) != FRAME_MAGIC {
            return 8;
        }
        let flags = self.unit.get(4).copied().unwrap_or_default();
        let has = |bit: u8| usize::from(flags >> bit & 1);
        MIN_HEADER_BYTES + 8 * has(3) + 4 * has(0)
    }

    fn end_header(&mut self) -> Result<(), Undecodable> {
        let magic = le_u32(&self.unit, 0);
        if magic == FRAME_MAGIC {
            let byte = |at: usize| self.unit.get(at).copied().unwrap_or_default();
            let (flags, block_size) = (byte(4), byte(5) >> 4 & 7);
            if !(4..=7).contains(&block_size) {
                return Err(Undecodable);
            }
            self.next = Unit::Block(Frame {
                max_block_bytes: 1 << (8 + 2 * block_size),
                has_block_checksum: flags >> 4 & 1 == 1,
                has_content_checksum: flags >> 2 & 1 == 1,
            });
            self.feed();
            return Ok(());
        }
        let (low, high) = (magic, le_u32(&self.unit, 4));
        self.unit.clear();
        if low & !0xf == SKIPPABLE_MAGIC {
            self.next = if high == 0 { Unit::Begin } else { Unit::Skipped(u64::from(high)) };
            return Ok(());
        }
        let size = low as usize;
        if high != 0 || size == 0 || size > MAX_BLOB_BYTES {
            return Err(Undecodable);
        }
        self.next = Unit::Blob(Sequences { size, at: 0, content: 0 });
        Ok(())
    }

    fn read_blob(&mut self, input: &mut Bytes, mut sequences: Sequences) -> Result<(), Undecodable> {
        let before = self.unit.len();
        self.unit.extend_from_slice(input);
        // Each byte of a block that is whole stands for at least as much content, but for one in 255.
        if self.unit.len() - input.len() > sequences.size + sequences.size / 128 + 64 {
            return Err(Undecodable);
        }
        let end = sequences.walk(&self.unit)?;
        let Some(end) = end else {
            input.clear();
            self.next = Unit::Blob(sequences);
            return Ok(());
        };
        self.unit.truncate(end);
        input.advance(end - before);
        self.blob = lz4_flex::block::decompress(&self.unit, sequences.size).map_err(|_| Undecodable)?;
        self.blob_at = 0;
        self.unit = Vec::new();
        self.next = Unit::Begin;
        if self.blob.len() == sequences.size { Ok(()) } else { Err(Undecodable) }
    }
}

/// Walks the sequences of a block to find its end.
#[derive(Debug, Clone, Copy)]
struct Sequences {
    /// Length of the content.
    size: usize,
    /// Where the next sequence begins.
    at: usize,
    /// Length of the content of the sequences before it.
    content: usize,
}

impl Sequences {
    /// Returns the end of the block, which is the sequence without a match. `None` when it is not among
    /// these bytes.
    fn walk(&mut self, block: &[u8]) -> Result<Option<usize>, Undecodable> {
        while let Some(&token) = block.get(self.at) {
            let mut at = self.at + 1;
            let Some(literals) = length(block, &mut at, token >> 4) else { return Ok(None) };
            at += literals;
            let mut content = self.content + literals;
            if content > self.size {
                return Err(Undecodable);
            }
            if at > block.len() {
                return Ok(None);
            }
            if content == self.size {
                return Ok(Some(at));
            }
            // The offset of the match.
            at += 2;
            let Some(matched) = length(block, &mut at, token & 15) else { return Ok(None) };
            content += matched + 4;
            if content > self.size {
                return Err(Undecodable);
            }
            if at > block.len() {
                return Ok(None);
            }
            (self.at, self.content) = (at, content);
        }
        Ok(None)
    }
}

/// Reads a length, whose first four bits are in the token.
fn length(block: &[u8], at: &mut usize, bits: u8) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let byte = *block.get(*at)?;
            *at += 1;
            length += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(bytes.copied().unwrap_or_default())
}

/// Whole units for the decoder of frames. Between two units it is not at its end, but has to wait.
#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    at: usize,
}

impl Feed {
    const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes the bytes of a unit. Those before were read.
    fn add(&mut self, unit: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, unit);
        self.at = 0;
        unit.clear();
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = rest.read(into)?;
        self.at += len;
        Ok(len)
    }
}
