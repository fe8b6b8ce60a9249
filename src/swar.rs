//! Eight bytes tested at once in one register, whatever the processor (SWAR), for what is too short for the vectors
//! that a compiler makes of a loop over a block.
//!
//! A test gives a mask with the highest bit of each byte that it is for. Bytes behind the first of these may be in it
//! by mistake: a mask tells whether there is one and which is the first, and masks may be joined by `|` for that.

/// A byte at each place.
const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Eight bytes, the first one lowest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word(u64);

impl Word {
    /// What `bytes` begin with; `None` where they are fewer than eight.
    pub(crate) fn at(bytes: &[u8], from: usize) -> Option<Self> {
        let bytes = bytes.get(from..)?.first_chunk()?;
        Some(Self(u64::from_le_bytes(*bytes)))
    }

    /// Bytes below `bound`, which is 0x80 at most.
    pub(crate) const fn below(self, bound: u8) -> u64 {
        self.0.wrapping_sub(splat(bound)) & !self.0 & splat(0x80)
    }

    /// Bytes equal to `byte`.
    pub(crate) const fn equal(self, byte: u8) -> u64 {
        Self(self.0 ^ splat(byte)).below(1)
    }

    /// Bytes that are not ASCII.
    pub(crate) const fn beyond_ascii(self) -> u64 {
        self.0 & splat(0x80)
    }
}

/// Where the first byte of a mask stands; `None` for none.
pub(crate) const fn first(mask: u64) -> Option<usize> {
    if mask == 0 { None } else { Some(mask.trailing_zeros() as usize / 8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_found(bytes: [u8; 8], near in prop::array::uniform8(0x1eu8..0x24), bound in 0..=0x80u8, byte: u8) {
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
    fn fewer_than_eight_are_no_word() {
        assert!(Word::at(&[0; 8], 1).is_none());
        assert!(Word::at(&[0; 8], 9).is_none());
        assert!(Word::at(&[0; 9], 1).is_some());
    }
}
