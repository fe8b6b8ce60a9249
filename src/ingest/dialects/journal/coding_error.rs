//! The error of all decoders.

/// A body that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged, cut short or in another coding than the header names, or a window that is too large")]
pub(super) struct Undecodable;
