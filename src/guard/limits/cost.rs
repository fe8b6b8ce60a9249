//! What a request costs in the limits of its key.

use std::num::NonZeroU64;

/// The number of hits that one request counts as in every limit of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost(NonZeroU64);

impl Cost {
    /// The cost of a request over HTTP, however many records it holds.
    pub const REQUEST: Self = Self(NonZeroU64::MIN);

    /// Returns the cost of `hits` hits. A limit with a smaller amount never admits it.
    #[must_use]
    pub const fn of(hits: NonZeroU64) -> Self {
        Self(hits)
    }

    /// Returns the number of hits.
    #[must_use]
    pub const fn hits(self) -> u64 {
        self.0.get()
    }
}
