//! Computes the fingerprint of the first bytes of a file, which distinguishes it from another file
//! with the same inode.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Maximum number of bytes that a fingerprint covers. They hold the time and sequence number of the
/// first line.
const HEAD_BYTES: u64 = 256;

/// The length and hash of the first bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fingerprint {
    len: u64,
    hash: String,
}

impl Fingerprint {
    /// Reads the fingerprint of a file of `len` bytes.
    pub(crate) fn of(file: &File, len: u64) -> io::Result<Self> {
        let mut head = vec![0; len.min(HEAD_BYTES) as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok(Self::of_bytes(&head))
    }

    /// Returns the fingerprint of a file that begins with `bytes`: the whole file, or at least the
    /// bytes that a fingerprint covers.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(HEAD_BYTES as usize)];
        Self { len: head.len() as u64, hash: HEXLOWER.encode(&Sha256::digest(head)[..16]) }
    }

    /// Returns whether `bytes` begin as the file of this fingerprint did.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.len as usize).is_some_and(|head| Self::of_bytes(head) == *self)
    }

    /// Returns the fingerprint with the longest text.
    #[cfg(test)]
    pub(crate) fn largest() -> Self {
        Self::of_bytes(&[0; HEAD_BYTES as usize])
    }

    /// Returns whether the file was empty. The fingerprint then identifies nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether a file of `len` bytes begins as the file of this fingerprint did. Only an
    /// empty file continues an empty file.
    pub(crate) fn continues_in(&self, file: &File, len: u64) -> bool {
        if self.is_empty() {
            return len == 0;
        }
        len >= self.len && Self::of(file, self.len).is_ok_and(|found| found == *self)
    }
}
