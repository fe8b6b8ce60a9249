//! Defines cursors, the opaque names of positions in a log. Only the engine that returned a cursor
//! knows its meaning. No code outside the store makes a cursor of numbers or reads its parts. Clients
//! hold its text form, and [`ReadLog::is_before`](super::ReadLog::is_before) knows the order of two.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// The position in a log right after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Changes when positions get another meaning. In a file, this is when another program replaced
    /// it.
    pub(super) epoch: u32,
    /// A number that only grows within an epoch, also through clears and restarts. In a file, it is a
    /// byte offset.
    pub(super) position: u64,
}

impl Cursor {
    /// Returns a key by which an engine orders its cursors.
    pub(super) const fn order(self) -> (u32, u64) {
        (self.epoch, self.position)
    }

    /// Returns a cursor, for tests of code that only passes cursors on.
    #[cfg(test)]
    pub(crate) const fn fixed(position: u64) -> Self {
        Self { epoch: 1, position }
    }
}

/// The secret of one log that authenticates its cursors. With it, the log refuses altered cursors
/// and cursors of other logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorKey(pub(crate) [u8; 16]);

/// The text is not a cursor of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this log")]
pub struct CursorError;

/// Bytes of the checksum in the text form.
const CHECK_LEN: usize = 6;

impl CursorKey {
    /// Returns a key with this secret, for tests.
    #[cfg(test)]
    pub(crate) const fn of(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// Returns a fixed key, for the fuzz targets.
    #[cfg(any(fuzzing, test))]
    #[doc(hidden)]
    #[must_use]
    pub const fn fixed() -> Self {
        Self([7; 16])
    }

    fn check(&self, body: &[u8]) -> [u8; CHECK_LEN] {
        let digest = Sha256::new().chain_update(self.0).chain_update(body).finalize();
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&digest[..CHECK_LEN]);
        check
    }

    /// Returns the text form: 24 characters, safe in URLs and headers.
    #[must_use]
    pub fn encode(&self, cursor: Cursor) -> String {
        let mut bytes = Vec::with_capacity(18);
        bytes.extend_from_slice(&cursor.epoch.to_be_bytes());
        bytes.extend_from_slice(&cursor.position.to_be_bytes());
        let check = self.check(&bytes);
        bytes.extend_from_slice(&check);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// Fails when [`encode`](Self::encode) did not make the text with the same key.
    pub fn decode(&self, text: &str) -> Result<Cursor, CursorError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| CursorError)?;
        let (body, check) = bytes.split_at_checked(12).ok_or(CursorError)?;
        if check != self.check(body) {
            return Err(CursorError);
        }
        let (epoch, position) = body.split_at(4);
        Ok(Cursor {
            epoch: u32::from_be_bytes(epoch.try_into().map_err(|_| CursorError)?),
            position: u64::from_be_bytes(position.try_into().map_err(|_| CursorError)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(epoch: u32, position: u64, key: [u8; 16]) {
            let (key, cursor) = (CursorKey(key), Cursor { epoch, position });
            prop_assert_eq!(key.decode(&key.encode(cursor)), Ok(cursor));
        }

        #[test]
        fn altered_text_is_refused(position: u64, at in 0_usize..24, with in "[A-Za-z0-9_-]") {
            let key = CursorKey([7; 16]);
            let text = key.encode(Cursor { epoch: 1, position });
            let mut altered = text.clone();
            altered.replace_range(at..=at, &with);
            prop_assume!(altered != text);
            prop_assert_eq!(key.decode(&altered), Err(CursorError));
        }

        #[test]
        fn arbitrary_text_is_refused(text in ".*") {
            prop_assert!(CursorKey([7; 16]).decode(&text).is_err());
        }
    }

    #[test]
    fn cursor_of_another_log_is_refused() {
        let text = CursorKey([1; 16]).encode(Cursor { epoch: 0, position: 9 });
        assert_eq!(CursorKey([2; 16]).decode(&text), Err(CursorError));
    }
}
