//! How a file begins: what tells it from another one in the same place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// How much of a file's beginning its fingerprint covers: the time and sequence number of its first line are in it.
const HEAD: u64 = 256;

/// What tells a file from another one in the same place, under the same inode number: its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fingerprint {
    len: u64,
    hash: String,
}

impl Fingerprint {
    /// Of a file of `len` bytes.
    pub(crate) fn of(file: &File, len: u64) -> io::Result<Self> {
        let mut head = vec![0; len.min(HEAD) as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok(Self::of_bytes(&head))
    }

    /// Of a file, or of what is in it, that begins with these bytes and ends with them or is longer than all that
    /// matters.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(HEAD as usize)];
        Self { len: head.len() as u64, hash: HEXLOWER.encode(&Sha256::digest(head)[..16]) }
    }

    /// Whether something begins as the file of this fingerprint did.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.len as usize).is_some_and(|head| Self::of_bytes(head) == *self)
    }

    /// The one that takes most room when it is written down.
    #[cfg(test)]
    pub(crate) fn largest() -> Self {
        Self::of_bytes(&[0; HEAD as usize])
    }

    /// No byte was seen of the file yet: nothing can be told by it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a file of `len` bytes begins as the file of this fingerprint did. An empty file is continued by an
    /// empty file only.
    pub(crate) fn continues_in(&self, file: &File, len: u64) -> bool {
        if self.is_empty() {
            return len == 0;
        }
        len >= self.len && Self::of(file, self.len).is_ok_and(|found| found == *self)
    }
}
