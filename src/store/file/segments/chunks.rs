//! Reads and writes compressed segments: chunks of the same size, each compressed separately, and
//! an index of them at the end. So reading any byte decompresses one chunk, and `zstdcat` and
//! `zcat` read the whole file, as a sequence of frames or members.
//!
//! - zstd: a frame with a checksum for each chunk, then the seek table of the zstd seekable format
//!   in a skippable frame.
//! - gzip (RFC 1952): a member for each chunk, then empty members whose extra fields hold the
//!   index. `MI` holds compressed sizes, 32 bits each. The last member, `ML`, holds the offset of
//!   the `MI` members, the length of all chunks, the size of a chunk and the number of chunks.
//!
//! Numbers are little-endian. An inconsistent index is an error, so a file that another program
//! changed is never read as lines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use zstd::zstd_safe::CParameter;

use super::segment::Coding;

/// Uncompressed bytes of every chunk but the last. They are few enough to read single lines
/// cheaply, and enough to compress well.
pub(crate) const CHUNK_BYTES: u64 = 256 * 1024;

/// Maximum compressed size of a chunk.
const MAX_PACKED_CHUNK_BYTES: u64 = CHUNK_BYTES + CHUNK_BYTES / 8 + 1024;

/// The default level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// Magic number of a skippable frame.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// Magic number at the end of a seek table.
const SEEKABLE: u32 = 0x8F92_EAB1;

/// Bytes of the footer: number of frames, a descriptor without checksums, `SEEKABLE`.
const ZSTD_FOOT: u64 = 9;

/// The header of an empty member with an extra field, up to the length of the field.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// An empty deflate stream, and the checksum and length of an empty content.
const GZIP_FOOT: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Maximum number of sizes in one index member, whose extra field has a length of 16 bits.
const GZIP_SIZES: usize = 8_000;
/// Bytes of the extra field `ML`.
const GZIP_END: usize = 24;

/// The index of a compressed file.
#[derive(Debug)]
pub(crate) struct Chunks {
    coding: Coding,
    /// The offset of each chunk in the file, then the end of the last chunk.
    starts: Vec<u64>,
    len: u64,
}

impl Chunks {
    /// Reads the index of a file of `stored` bytes.
    pub(crate) fn of(file: &File, coding: Coding, stored: u64) -> io::Result<Self> {
        let (sizes, len, index) = match coding {
            Coding::Plain => return Err(broken()),
            Coding::Zstd => zstd_index(file, stored)?,
            Coding::Gzip => gzip_index(file, stored)?,
        };
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        let mut at = 0;
        for size in &sizes {
            starts.push(at);
            at += u64::from(*size);
        }
        starts.push(at);
        let fits = at == index
            && sizes.iter().all(|size| u64::from(*size) <= MAX_PACKED_CHUNK_BYTES)
            && len.div_ceil(CHUNK_BYTES) == sizes.len() as u64;
        fits.then_some(Self { coding, starts, len }).ok_or_else(broken)
    }

    /// Returns the uncompressed bytes of all chunks.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the index of the chunk that holds the byte at `at`.
    pub(crate) const fn index(at: u64) -> u64 {
        at / CHUNK_BYTES
    }

    /// Returns the uncompressed range of a chunk.
    pub(crate) const fn range(&self, index: u64) -> Range<u64> {
        let end = (index + 1) * CHUNK_BYTES;
        index * CHUNK_BYTES..if end < self.len { end } else { self.len }
    }

    /// Decompresses one chunk.
    pub(crate) fn read(&self, file: &File, index: u64) -> io::Result<Vec<u8>> {
        let place = usize::try_from(index).map_err(|_| broken())?;
        let (Some(start), Some(end)) = (self.starts.get(place), self.starts.get(place + 1)) else {
            return Err(broken());
        };
        let mut packed = vec![0; (end - start) as usize];
        file.read_exact_at(&mut packed, *start)?;
        let range = self.range(index);
        let len = (range.end - range.start) as usize;
        let bytes = match self.coding {
            Coding::Zstd => zstd::bulk::decompress(&packed, len)?,
            Coding::Plain | Coding::Gzip => {
                let mut bytes = Vec::with_capacity(len);
                GzDecoder::new(&packed[..]).take(len as u64 + 1).read_to_end(&mut bytes)?;
                bytes
            }
        };
        if bytes.len() == len { Ok(bytes) } else { Err(broken()) }
    }
}

/// Compresses the first `len` bytes of `from` into `to`. Calls `each` with every chunk before it is
/// compressed. An error of `each` ends the work. Returns the bytes written.
pub(crate) fn pack(
    from: &File,
    len: u64,
    mut to: &File,
    coding: Coding,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    zstd.set_parameter(CParameter::ChecksumFlag(true))?;
    let mut sizes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(len) as usize];
    let (mut at, mut stored) = (0, 0);
    while at < len {
        let want = CHUNK_BYTES.min(len - at) as usize;
        let chunk = &mut chunk[..want];
        from.read_exact_at(chunk, at)?;
        each(chunk)?;
        let packed = match coding {
            Coding::Zstd => zstd.compress(chunk)?,
            Coding::Plain | Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(want / 4), Compression::default());
                encoder.write_all(chunk)?;
                encoder.finish()?
            }
        };
        to.write_all(&packed)?;
        sizes.push(packed.len() as u32);
        stored += packed.len() as u64;
        at += want as u64;
    }
    let index = match coding {
        Coding::Zstd => zstd_table(&sizes, len),
        Coding::Plain | Coding::Gzip => gzip_table(&sizes, len, stored),
    };
    to.write_all(&index)?;
    Ok(stored + index.len() as u64)
}

fn zstd_table(sizes: &[u32], len: u64) -> Vec<u8> {
    let mut table = Vec::with_capacity(sizes.len() * 8 + 17);
    table.extend_from_slice(&SKIPPABLE.to_le_bytes());
    table.extend_from_slice(&(sizes.len() as u32 * 8 + ZSTD_FOOT as u32).to_le_bytes());
    for (index, size) in sizes.iter().enumerate() {
        let rest = len - index as u64 * CHUNK_BYTES;
        table.extend_from_slice(&size.to_le_bytes());
        table.extend_from_slice(&(rest.min(CHUNK_BYTES) as u32).to_le_bytes());
    }
    table.extend_from_slice(&(sizes.len() as u32).to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE.to_le_bytes());
    table
}

/// Compressed sizes, the uncompressed length of all chunks, and the offset of the index.
type Index = (Vec<u32>, u64, u64);

fn zstd_index(file: &File, stored: u64) -> io::Result<Index> {
    let foot = read(file, stored.checked_sub(ZSTD_FOOT).ok_or_else(broken)?..stored)?;
    let (count, descriptor, magic) = (number(&foot, 0)?, foot[4], number(&foot, 5)?);
    let table = u64::from(count) * 8 + ZSTD_FOOT + 8;
    if magic != SEEKABLE || descriptor != 0 || table > stored {
        return Err(broken());
    }
    let table = read(file, stored - table..stored)?;
    if number(&table, 0)? != SKIPPABLE || u64::from(number(&table, 4)?) + 8 != table.len() as u64 {
        return Err(broken());
    }
    let mut sizes = Vec::with_capacity(count as usize);
    let mut len = 0;
    for (index, entry) in table[8..table.len() - ZSTD_FOOT as usize].chunks_exact(8).enumerate() {
        let plain = u64::from(number(entry, 4)?);
        // All chunks but the last are full.
        if plain > CHUNK_BYTES || len != index as u64 * CHUNK_BYTES {
            return Err(broken());
        }
        sizes.push(number(entry, 0)?);
        len += plain;
    }
    Ok((sizes, len, stored - table.len() as u64))
}

fn gzip_table(sizes: &[u32], len: u64, stored: u64) -> Vec<u8> {
    let mut table = Vec::with_capacity(sizes.len() * 4 + 128);
    for sizes in sizes.chunks(GZIP_SIZES) {
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        gzip_member(&mut table, *b"MI", &bytes);
    }
    let mut end = [0; GZIP_END];
    end[..8].copy_from_slice(&stored.to_le_bytes());
    end[8..16].copy_from_slice(&len.to_le_bytes());
    end[16..20].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    end[20..].copy_from_slice(&(sizes.len() as u32).to_le_bytes());
    gzip_member(&mut table, *b"ML", &end);
    table
}

/// Appends a member without content, whose extra field `name` holds `bytes`.
fn gzip_member(out: &mut Vec<u8>, name: [u8; 2], bytes: &[u8]) {
    out.extend_from_slice(&GZIP_HEAD);
    out.extend_from_slice(&(bytes.len() as u16 + 4).to_le_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(&GZIP_FOOT);
}

/// Returns the extra field of the member at the start of `bytes`, and the bytes after the member.
fn gzip_extra(bytes: &[u8], name: [u8; 2]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&GZIP_HEAD)?;
    let (field, rest) = rest.split_first_chunk::<2>()?;
    let (found, rest) = rest.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let len = u16::from_le_bytes(*len);
    (found == &name && u16::from_le_bytes(*field) == len.checked_add(4)?).then_some(())?;
    let (extra, rest) = rest.split_at_checked(usize::from(len))?;
    Some((extra, rest.strip_prefix(&GZIP_FOOT)?))
}

fn gzip_index(file: &File, stored: u64) -> io::Result<Index> {
    let last = (GZIP_HEAD.len() + 6 + GZIP_END + GZIP_FOOT.len()) as u64;
    let last_at = stored.checked_sub(last).ok_or_else(broken)?;
    let member = read(file, last_at..stored)?;
    let (end, _) = gzip_extra(&member, *b"ML").filter(|(end, _)| end.len() == GZIP_END).ok_or_else(broken)?;
    let long = |at: usize| end[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(broken);
    let (index, len) = (long(0)?, long(8)?);
    if u64::from(number(end, 16)?) != CHUNK_BYTES || index > last_at {
        return Err(broken());
    }
    let table = read(file, index..last_at)?;
    let mut sizes = Vec::with_capacity(table.len() / 4);
    let mut rest = &table[..];
    while !rest.is_empty() {
        let (extra, following) = gzip_extra(rest, *b"MI").ok_or_else(broken)?;
        for size in extra.chunks_exact(4) {
            sizes.push(number(size, 0)?);
        }
        rest = following;
    }
    if sizes.len() != number(end, 20)? as usize {
        return Err(broken());
    }
    Ok((sizes, len, index))
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(broken)
}

fn read(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a compressed segment of this service, or damaged")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use proptest::prelude::*;

    fn packed(content: &[u8], coding: Coding) -> (File, u64, tempfile::NamedTempFile) {
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(content, 0).unwrap();
        let to = tempfile::NamedTempFile::new().unwrap();
        let mut seen = Vec::new();
        let stored = pack(&from, content.len() as u64, to.as_file(), coding, |chunk| {
            seen.extend_from_slice(chunk);
            Ok(())
        });
        let stored = stored.unwrap();
        assert!(seen == content);
        assert_eq!(to.as_file().metadata().unwrap().len(), stored);
        (to.reopen().unwrap(), stored, to)
    }

    fn text(len: usize) -> Vec<u8> {
        (0_u32..)
            .flat_map(|n| format!("line {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
            .take(len)
            .collect()
    }

    const LENS: [usize; 6] = [
        1,
        7,
        CHUNK_BYTES as usize - 1,
        CHUNK_BYTES as usize,
        CHUNK_BYTES as usize + 1,
        3 * CHUNK_BYTES as usize + 17,
    ];

    #[test]
    fn every_chunk_is_read_back() {
        for coding in [Coding::Zstd, Coding::Gzip] {
            for len in LENS {
                let content = text(len);
                let (file, stored, _kept) = packed(&content, coding);
                let chunks = Chunks::of(&file, coding, stored).unwrap();
                assert_eq!(chunks.len(), len as u64);
                for index in (0..=Chunks::index(len as u64 - 1)).rev() {
                    let range = chunks.range(index);
                    let expected = &content[range.start as usize..range.end as usize];
                    assert!(chunks.read(&file, index).unwrap() == expected, "{coding:?} {len} {index}");
                }
                chunks.read(&file, Chunks::index(len as u64 - 1) + 1).unwrap_err();
            }
        }
    }

    #[test]
    fn zstd_and_gzip_decompress_the_file() {
        for (program, coding) in [("zstd", Coding::Zstd), ("gzip", Coding::Gzip)] {
            // One chunk, and several chunks.
            for len in [7, 3 * CHUNK_BYTES as usize + 17] {
                let content = text(len);
                let (_, _, kept) = packed(&content, coding);
                let file = File::open(kept.path()).unwrap();
                match Command::new(program).arg("-dc").stdin(file).output() {
                    Ok(output) => {
                        assert!(output.status.success(), "{output:?}");
                        assert!(output.stdout == content, "{program} reads different bytes");
                    }
                    Err(error) => {
                        assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
                        eprintln!("skipped: {program}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn index_may_have_several_members() {
        let sizes: Vec<u32> = (0..20_001).map(|n| n % 50 + 1).collect();
        let stored: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let len = 20_000 * CHUNK_BYTES + 1;
        let table = gzip_table(&sizes, len, stored);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&table, stored).unwrap();
        let chunks = Chunks::of(&file, Coding::Gzip, stored + table.len() as u64).unwrap();
        assert_eq!((chunks.len(), chunks.starts.len()), (len, 20_002));
        let mut decoder = flate2::bufread::MultiGzDecoder::new(&table[..]);
        assert_eq!(decoder.read_to_end(&mut Vec::new()).unwrap(), 0, "other programs read nothing");
    }

    proptest! {
        #[test]
        fn damaged_file_is_refused_or_reads_the_same(at: usize, with: u8, cut in 0_usize..40, gzip: bool) {
            let coding = if gzip { Coding::Gzip } else { Coding::Zstd };
            let content = text(3000);
            let (_, stored, kept) = packed(&content, coding);
            let mut bytes = std::fs::read(kept.path()).unwrap();
            let at = at % bytes.len();
            bytes[at] = with;
            bytes.truncate(bytes.len() - cut);
            let damaged = tempfile::tempfile().unwrap();
            damaged.write_all_at(&bytes, 0).unwrap();
            if let Ok(chunks) = Chunks::of(&damaged, coding, stored - cut as u64)
                && let Ok(read) = chunks.read(&damaged, 0)
            {
                // Some bytes, such as a time stamp, have no effect on the content.
                prop_assert_eq!(read, content);
            }
        }

        #[test]
        fn arbitrary_file_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            for coding in Coding::ALL {
                prop_assert!(Chunks::of(&file, coding, bytes.len() as u64).is_err());
            }
        }
    }
}
