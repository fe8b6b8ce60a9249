//! Finds the end of a body in chunks (RFC 9112, section 7.1).

/// Finds the end of a body in chunks, in pieces of any size.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkScanner {
    place: Place,
    /// The size of the current chunk, and then the number of its bytes that are missing.
    size: u64,
}

/// The bytes are not a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotChunked;

/// The place of the next byte.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    /// Behind a digit of a size.
    Size,
    /// Behind a blank or in an extension.
    Extension,
    /// Behind the CR of the size.
    SizeLf,
    /// In the data.
    Data,
    /// Behind the data.
    DataCr,
    /// Behind the CR of the data.
    DataLf,
    /// At the start of a line of the trailer section.
    TrailerStart,
    /// In a line of the trailer section.
    Trailer,
    /// Behind the CR of a line of the trailer section.
    TrailerLf,
    /// Behind the CR of the last, blank line.
    EndLf,
}

impl ChunkScanner {
    /// Reads further bytes. Returns the number of bytes up to the end of the body, or `None` when it
    /// has not ended.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotChunked> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.place == Place::Data {
                let rest = bytes.len() - at;
                let taken = usize::try_from(self.size).map_or(rest, |size| size.min(rest));
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            at += 1;
            if (self.place, *byte) == (Place::EndLf, b'\n') {
                return Ok(Some(at));
            }
            self.place = self.step(*byte).ok_or(NotChunked)?;
        }
        Ok(None)
    }

    /// Returns the place behind `byte`, outside the data.
    fn step(&mut self, byte: u8) -> Option<Place> {
        Some(match (self.place, byte) {
            (Place::SizeStart | Place::Size, digit) if digit.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(digit).to_digit(16)?);
                let size = if self.place == Place::SizeStart { 0 } else { self.size };
                self.size = size.checked_mul(16)?.checked_add(digit)?;
                Place::Size
            }
            (Place::Size | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Size, b' ' | b'\t' | b';') => Place::Extension,
            (Place::Extension, byte) if byte != b'\n' => Place::Extension,
            (Place::SizeLf, b'\n') if self.size == 0 => Place::TrailerStart,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::SizeStart,
            (Place::TrailerStart, b'\r') => Place::EndLf,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerStart | Place::Trailer, _) => Place::Trailer,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            _ => return None,
        })
    }
}

/// Checks that the end of a body is the same however its bytes are divided. The fuzz target `chunks`
/// calls it.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8], piece_len: usize) {
    let end_in_pieces_of = |len: usize| -> Result<Option<usize>, NotChunked> {
        let mut scanner = ChunkScanner::default();
        for (n, piece) in bytes.chunks(len.max(1)).enumerate() {
            if let Some(end) = scanner.scan(piece)? {
                assert!(end <= piece.len());
                return Ok(Some(n * len.max(1) + end));
            }
        }
        Ok(None)
    };
    assert_eq!(end_in_pieces_of(piece_len), end_in_pieces_of(bytes.len()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_bytes_are_no_chunks() {
        for bytes in [
            "x",
            "\r\n",
            "-1\r\n",
            "1\nx",
            "1\r\nxy",
            "1\r\nx\n",
            "1;a\n",
            "fffffffffffffffff\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(ChunkScanner::default().scan(bytes.as_bytes()), Err(NotChunked), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_is_found_at_every_cut(
            chunks in prop::collection::vec(("[0]{0,3}", prop::collection::vec(any::<u8>(), 1..40), "(;[a-z=\"; ]{0,8}|[ \t]{0,2})"), 0..5),
            trailers in prop::collection::vec("[a-z]{1,5}: [ -~]{0,9}", 0..3),
            behind in prop::collection::vec(any::<u8>(), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut body = Vec::new();
            for (zeros, data, extension) in &chunks {
                body.extend(format!("{zeros}{:x}{extension}\r\n", data.len()).into_bytes());
                body.extend(data);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n");
            for trailer in &trailers {
                body.extend(format!("{trailer}\r\n").into_bytes());
            }
            body.extend(b"\r\n");
            let end = body.len();
            body.extend(&behind);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.push(body.len());
            cuts.sort_unstable();
            let (mut scanner, mut from, mut found) = (ChunkScanner::default(), 0, None);
            for cut in cuts {
                if let Some(length) = scanner.scan(&body[from..cut]).unwrap() {
                    found = Some(from + length);
                    break;
                }
                from = cut;
            }
            prop_assert_eq!(found, Some(end));
        }

        #[test]
        fn any_bytes_have_the_same_end_at_every_cut(bytes: Vec<u8>, text in "[0-9a-f\r\n; x]{0,40}", len in 0..9_usize) {
            fuzz(&bytes, len);
            fuzz(text.as_bytes(), len);
        }
    }
}
