//! Tests eight bytes at once in one 64-bit register (SWAR, SIMD within a register), on any
//! processor.
//!
//! The compiler vectorises loops over whole blocks. This module covers the rest of a text that is
//! too short for a block.
//!
//! Each test returns a mask in which the highest bit of every matching byte is set. Bytes after the
//! first match may be set by mistake. So a mask shows exactly whether there is a match and where
//! the first one is, and nothing else. [`first`] returns that position. Masks can be joined by `|`.

/// Returns a word with `byte` in all eight positions.
const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Eight bytes of a text, the first byte in the lowest bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word(u64);

impl Word {
    /// Reads the eight bytes that start at `from`; `None` if fewer than eight are left.
    pub(crate) fn at(bytes: &[u8], from: usize) -> Option<Self> {
        let bytes = bytes.get(from..)?.first_chunk()?;
        Some(Self(u64::from_le_bytes(*bytes)))
    }

    /// Marks bytes below `bound`, which must be at most 0x80.
    pub(crate) const fn below(self, bound: u8) -> u64 {
        self.0.wrapping_sub(splat(bound)) & !self.0 & splat(0x80)
    }

    /// Marks bytes equal to `byte`.
    pub(crate) const fn equal(self, byte: u8) -> u64 {
        Self(self.0 ^ splat(byte)).below(1)
    }

    /// Marks bytes that are not ASCII.
    pub(crate) const fn beyond_ascii(self) -> u64 {
        self.0 & splat(0x80)
    }
}

/// Returns the index of the first marked byte, or `None` if the mask is empty.
pub(crate) const fn first(mask: u64) -> Option<usize> {
    if mask == 0 { None } else { Some(mask.trailing_zeros() as usize / 8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn first_match_is_exact(bytes: [u8; 8], near in prop::array::uniform8(0x1eu8..0x24), bound in 0..=0x80u8, byte: u8) {
            for bytes in [bytes, near] {
                let word = Word::at(&bytes, 0).unwrap();
                let position = |is: &dyn Fn(u8) -> bool| bytes.iter().position(|byte| is(*byte));
                prop_assert_eq!(first(word.below(bound)), position(&|at| at < bound));
                prop_assert_eq!(first(word.equal(byte)), position(&|at| at == byte));
                prop_assert_eq!(first(word.equal(0x21)), position(&|at| at == 0x21));
                prop_assert_eq!(first(word.beyond_ascii()), position(&|at| !at.is_ascii()));
                let joined = word.below(0x20) | word.equal(byte) | word.beyond_ascii();
                prop_assert_eq!(first(joined), position(&|at| at < 0x20 || at == byte || !at.is_ascii()));
            }
        }
    }

    #[test]
    fn fewer_than_eight_bytes_are_no_word() {
        assert!(Word::at(&[0; 8], 1).is_none());
        assert!(Word::at(&[0; 8], 9).is_none());
        assert!(Word::at(&[0; 9], 1).is_some());
    }
}
