//! Reads MessagePack over borrowed bytes. A length is compared with the bytes that are there before
//! anything is made of it, so a false length costs no memory.

use rmp::Marker;

/// Maximum depth of nested arrays and maps.
pub(super) const MAX_DEPTH: usize = 64;

/// Why bytes are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The value goes on behind the bytes.
    Short,
    /// No value begins so, or it is nested too deeply.
    Invalid,
}

/// The first bytes of a value: a value without a payload, or the size of its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A float of 32 bits, which has a shorter text than the same number in 64 bits.
    ShortFloat(f32),
    Text(usize),
    Binary(usize),
    Extension(i8, usize),
    Array(usize),
    Map(usize),
}

impl Head {
    /// Reads the head at the start of `bytes`, and returns its length too.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), Broken> {
        let (first, rest) = bytes.split_first().ok_or(Broken::Short)?;
        let head = match Marker::from_u8(*first) {
            Marker::Null => Self::Nil,
            Marker::True => Self::Bool(true),
            Marker::False => Self::Bool(false),
            Marker::FixPos(number) => Self::Unsigned(number.into()),
            Marker::FixNeg(number) => Self::Signed(number.into()),
            Marker::FixStr(len) => Self::Text(len.into()),
            Marker::FixArray(len) => Self::Array(len.into()),
            Marker::FixMap(len) => Self::Map(len.into()),
            Marker::Reserved => return Err(Broken::Invalid),
            marker => return Self::read_long(marker, rest).map(|(head, len)| (head, len + 1)),
        };
        Ok((head, 1))
    }

    /// Reads a head with a number behind its first byte.
    fn read_long(marker: Marker, rest: &[u8]) -> Result<(Self, usize), Broken> {
        let size = |bytes: usize| usize::try_from(number(rest, bytes)?).map_err(|_| Broken::Invalid);
        let extension = |bytes: usize| Ok(Self::Extension(kind(rest, bytes)?, size(bytes)?));
        Ok(match marker {
            Marker::U8 => (Self::Unsigned(number(rest, 1)?), 1),
            Marker::U16 => (Self::Unsigned(number(rest, 2)?), 2),
            Marker::U32 => (Self::Unsigned(number(rest, 4)?), 4),
            Marker::U64 => (Self::Unsigned(number(rest, 8)?), 8),
            Marker::I8 => (Self::Signed(i8::from_be_bytes(array(rest)?).into()), 1),
            Marker::I16 => (Self::Signed(i16::from_be_bytes(array(rest)?).into()), 2),
            Marker::I32 => (Self::Signed(i32::from_be_bytes(array(rest)?).into()), 4),
            Marker::I64 => (Self::Signed(i64::from_be_bytes(array(rest)?)), 8),
            Marker::F32 => (Self::ShortFloat(f32::from_be_bytes(array(rest)?)), 4),
            Marker::F64 => (Self::Float(f64::from_be_bytes(array(rest)?)), 8),
            Marker::Str8 => (Self::Text(size(1)?), 1),
            Marker::Str16 => (Self::Text(size(2)?), 2),
            Marker::Str32 => (Self::Text(size(4)?), 4),
            Marker::Bin8 => (Self::Binary(size(1)?), 1),
            Marker::Bin16 => (Self::Binary(size(2)?), 2),
            Marker::Bin32 => (Self::Binary(size(4)?), 4),
            Marker::Array16 => (Self::Array(size(2)?), 2),
            Marker::Array32 => (Self::Array(size(4)?), 4),
            Marker::Map16 => (Self::Map(size(2)?), 2),
            Marker::Map32 => (Self::Map(size(4)?), 4),
            Marker::FixExt1 => (Self::Extension(kind(rest, 0)?, 1), 1),
            Marker::FixExt2 => (Self::Extension(kind(rest, 0)?, 2), 1),
            Marker::FixExt4 => (Self::Extension(kind(rest, 0)?, 4), 1),
            Marker::FixExt8 => (Self::Extension(kind(rest, 0)?, 8), 1),
            Marker::FixExt16 => (Self::Extension(kind(rest, 0)?, 16), 1),
            Marker::Ext8 => (extension(1)?, 2),
            Marker::Ext16 => (extension(2)?, 3),
            Marker::Ext32 => (extension(4)?, 5),
            _ => return Err(Broken::Invalid),
        })
    }

    /// Returns the number of bytes behind the head that belong to the value.
    const fn payload(self) -> usize {
        match self {
            Self::Text(len) | Self::Binary(len) | Self::Extension(_, len) => len,
            _ => 0,
        }
    }

    /// Returns the number of values inside.
    const fn children(self) -> u64 {
        match self {
            Self::Array(len) => len as u64,
            Self::Map(len) => 2 * len as u64,
            _ => 0,
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Broken> {
    bytes.first_chunk().copied().ok_or(Broken::Short)
}

/// Reads an unsigned number of up to 8 bytes.
fn number(bytes: &[u8], len: usize) -> Result<u64, Broken> {
    let digits = bytes.get(..len).ok_or(Broken::Short)?;
    Ok(digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
}

/// Reads the type of an extension.
fn kind(bytes: &[u8], at: usize) -> Result<i8, Broken> {
    bytes.get(at).map(|byte| i8::from_be_bytes([*byte])).ok_or(Broken::Short)
}

/// A value whose payload is there. Arrays and maps are their lengths, and their elements follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    /// A value without a payload, an array or a map.
    Head(Head),
    /// Text, which may be no UTF-8.
    Text(&'a [u8]),
    /// Bytes. Old clients send texts so.
    Binary(&'a [u8]),
    /// An extension: its type and its bytes.
    Extension(i8, &'a [u8]),
}

/// Reads values one by one.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the bytes that were not read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the next value, or the length of an array or a map.
    pub(super) fn token(&mut self) -> Result<Token<'a>, Broken> {
        let (head, len) = Head::read(self.rest)?;
        let behind = self.rest.get(len..).ok_or(Broken::Short)?;
        let (payload, rest) = behind.split_at_checked(head.payload()).ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(match head {
            Head::Text(_) => Token::Text(payload),
            Head::Binary(_) => Token::Binary(payload),
            Head::Extension(kind, _) => Token::Extension(kind, payload),
            head => Token::Head(head),
        })
    }

    /// Reads the length of an array.
    pub(super) fn array(&mut self) -> Result<usize, Broken> {
        match self.token()? {
            Token::Head(Head::Array(len)) => Ok(len),
            _ => Err(Broken::Invalid),
        }
    }

    /// Reads a text, which some clients send as bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        match self.token()? {
            Token::Text(bytes) | Token::Binary(bytes) => Ok(bytes),
            _ => Err(Broken::Invalid),
        }
    }

    /// Skips a whole value and returns its bytes.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], Broken> {
        let mut scan = Scan::default();
        let end = scan.end_of(self.rest)?.ok_or(Broken::Short)?;
        let (value, rest) = self.rest.split_at_checked(end).ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(value)
    }
}

/// Looks for the end of a value that arrives in pieces. It remembers its place, so each byte is looked at
/// once.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: usize,
    has_begun: bool,
    /// The number of values that each open array and map still needs.
    open: Vec<u64>,
}

impl Scan {
    /// Returns the end of the value that begins at the start of `bytes`, and starts anew. `None`: it goes
    /// on behind `bytes`. The next call gets the same bytes and more behind them.
    pub(super) fn end_of(&mut self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        loop {
            if self.has_begun && self.open.is_empty() {
                // The payload of the last value may be missing.
                return Ok((self.at <= bytes.len()).then(|| std::mem::take(self).at));
            }
            let Some(rest) = bytes.get(self.at..) else { return Ok(None) };
            let (head, len) = match Head::read(rest) {
                Ok(head) => head,
                Err(Broken::Short) => return Ok(None),
                Err(Broken::Invalid) => return Err(Broken::Invalid),
            };
            self.has_begun = true;
            self.at = self.at.saturating_add(len).saturating_add(head.payload());
            if head.children() > 0 {
                if self.open.len() >= MAX_DEPTH {
                    return Err(Broken::Invalid);
                }
                self.open.push(head.children());
            } else {
                self.close();
            }
        }
    }

    /// Counts a value that is complete.
    fn close(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_value_is_read() {
        let cases: [(&[u8], Token<'_>); 14] = [
            (b"\xc0", Token::Head(Head::Nil)),
            (b"\xc3", Token::Head(Head::Bool(true))),
            (b"\x7f", Token::Head(Head::Unsigned(127))),
            (b"\xe0", Token::Head(Head::Signed(-32))),
            (b"\xcd\x01\x00", Token::Head(Head::Unsigned(256))),
            (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", Token::Head(Head::Signed(-2))),
            (b"\xca\x3f\x80\x00\x00", Token::Head(Head::ShortFloat(1.0))),
            (b"\xa2ab", Token::Text(b"ab")),
            (b"\xd9\x01a", Token::Text(b"a")),
            (b"\xc4\x01a", Token::Binary(b"a")),
            (b"\xd7\x00abcdefgh", Token::Extension(0, b"abcdefgh")),
            (b"\xc7\x01\xffa", Token::Extension(-1, b"a")),
            (b"\xdc\x00\x10", Token::Head(Head::Array(16))),
            (b"\x82", Token::Head(Head::Map(2))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Reader::new(bytes).token(), Ok(expected), "{bytes:x?}");
            let cut = bytes.get(..bytes.len() - 1).unwrap_or_default();
            assert_eq!(Reader::new(cut).token(), Err(Broken::Short), "{bytes:x?}");
        }
        assert_eq!(Reader::new(b"\xc1").token(), Err(Broken::Invalid));
    }

    #[test]
    fn false_lengths_and_depths_are_refused() {
        for bytes in [&b"\xdb\xff\xff\xff\xffab"[..], b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x00"] {
            assert_eq!(Reader::new(bytes).token(), Err(Broken::Short));
            assert_eq!(Scan::default().end_of(bytes), Ok(None));
        }
        assert_eq!(Scan::default().end_of(b"\xdd\xff\xff\xff\xff\xc0"), Ok(None));
        assert_eq!(Scan::default().end_of(&[0x91; MAX_DEPTH + 1]), Err(Broken::Invalid));
        assert_eq!(Scan::default().end_of(&[0x91; MAX_DEPTH]), Ok(None));
    }

    proptest! {
        #[test]
        fn a_value_ends_at_the_same_place_in_any_pieces(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x92), Just(0x81), Just(0xa1)], 0..60),
        ) {
            let whole = Scan::default().end_of(&bytes);
            let mut scan = Scan::default();
            let mut found = Ok(None);
            for len in 0..=bytes.len() {
                found = scan.end_of(&bytes[..len]);
                if found != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
            if let Ok(Some(end)) = whole {
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(reader.skip().map(<[u8]>::len), Ok(end));
                prop_assert_eq!(reader.rest().len(), bytes.len() - end);
            }
        }
    }
}
