//! Counts the memory that is made of a body: decoded texts, entries and their lines.

/// The memory of all bodies is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutOfMemory {
    /// There may be room later.
    #[error("Too many large bodies at once.")]
    Now,
    /// The body needs more than all bodies together may have, in bytes.
    #[error("The body needs more memory than all bodies may have, {0} bytes.")]
    Ever(u64),
}

/// Grants memory for the decoded texts, entries and lines of a body.
pub(crate) trait BodyMemory: Send + Sync {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// Fails when the memory of all bodies together would be exceeded.
    fn take(&self, bytes: usize) -> Result<(), OutOfMemory>;

    /// Returns the maximum size of a body, in bytes, also after decoding.
    fn max_body_bytes(&self) -> u64 {
        u64::MAX
    }
}

/// Memory without a limit, for callers that hold one body only.
#[derive(Debug)]
pub(crate) struct Unlimited;

impl BodyMemory for Unlimited {
    fn take(&self, _bytes: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }
}
