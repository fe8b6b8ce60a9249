//! Reads JSON (RFC 8259) front to back without building a tree: the members of an object and the
//! elements of a list, one by one, over borrowed bytes. Nearly all values are strings without
//! escapes and whole numbers. The scanner reads these itself, which halves the time of a batch.
//! `serde_json` reads all other values, so both accept the same texts.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::object::Value;
use crate::swar::{Word, first};

/// The text is not JSON, or not the value that the caller expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A text and the position of the next unread byte.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of a text.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Starts at a position, which is a character boundary.
    pub(crate) const fn starting_at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// Returns the position of the next unread byte.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Returns the whole text.
    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }

    /// Reads an object. `member` reads the value of each member.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            return self.expect(b'}');
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(Malformed);
            }
            let name = self.string()?;
            self.expect(b':')?;
            member(self, name)?;
            if self.peek() != Some(b',') {
                return self.expect(b'}');
            }
            self.at += 1;
        }
    }

    /// Reads a list. `element` reads each element.
    pub(crate) fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'[')?;
        if self.peek() == Some(b']') {
            return self.expect(b']');
        }
        loop {
            element(self)?;
            if self.peek() != Some(b',') {
                return self.expect(b']');
            }
            self.at += 1;
        }
    }

    /// Reads any value. Returns `None` for null.
    pub(crate) fn value(&mut self) -> Result<Option<Value<'a>>, Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(|text| Some(Value::Text(text))),
            Some(first @ b'0'..=b'9') => {
                let number = self.rest();
                let len = number.bytes().take_while(u8::is_ascii_digit).count();
                let is_whole = !matches!(number.as_bytes().get(len), Some(b'.' | b'e' | b'E'));
                if is_whole && (first != b'0' || len == 1) {
                    self.at += len;
                    return Ok(number.get(..len).map(Value::Number));
                }
                self.raw().map(Value::of)
            }
            _ => self.raw().map(Value::of),
        }
    }

    /// Reads any value as JSON text.
    pub(crate) fn raw(&mut self) -> Result<&'a RawValue, Malformed> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter();
        let raw = values.next().and_then(Result::ok).ok_or(Malformed)?;
        self.at += values.byte_offset();
        Ok(raw)
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        if self.peek().is_none() { Ok(()) } else { Err(Malformed) }
    }

    /// Reads a string. Its opening quote is the next byte.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let inside = self.text.get(self.at + 1..).unwrap_or_default();
        let len = plain_len(inside.as_bytes());
        match (inside.get(..len), inside.as_bytes().get(len)) {
            (Some(text), Some(b'"')) => {
                self.at += len + 2;
                Ok(Cow::Borrowed(text))
            }
            _ => self.escaped_string(),
        }
    }

    #[cold]
    fn escaped_string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        match Value::of(self.raw()?) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Malformed),
        }
    }

    /// Returns the unread text. The scanner only skips whole values and ASCII, so the position is a
    /// character boundary.
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips white space and returns the next byte without reading it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }
}

/// Number of bytes that are tested together. The compiler turns the test of a block into a few
/// vector instructions.
const BLOCK_BYTES: usize = 32;

/// Returns the length of the plain part of a string: up to its quote, an escape, or a control
/// character.
fn plain_len(text: &[u8]) -> usize {
    let stops = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let stop_in = |word: Word| first(word.below(0x20) | word.equal(b'"') | word.equal(b'\\'));
    // Most names end within the first word.
    if let Some(stop) = Word::at(text, 0).and_then(stop_in) {
        return stop;
    }
    let blocks = text.as_chunks::<BLOCK_BYTES>().0;
    let is_plain =
        |block: &&[u8; BLOCK_BYTES]| !block.iter().fold(false, |stops_here, byte| stops_here | stops(*byte));
    let mut at = blocks.iter().take_while(is_plain).count() * BLOCK_BYTES;
    while let Some(word) = Word::at(text, at) {
        if let Some(stop) = stop_in(word) {
            return at + stop;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| stops(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Members<'a> = Vec<(Cow<'a, str>, Option<Value<'a>>)>;

    /// Reads a whole text as an object, the top level only.
    fn members(text: &str) -> Result<Members<'_>, Malformed> {
        let mut scanner = Scanner::new(text);
        let mut members = Vec::new();
        scanner.object(|scanner, name| {
            members.push((name, scanner.value()?));
            Ok(())
        })?;
        scanner.end().map(|()| members)
    }

    fn elements(text: &str) -> Result<Vec<Option<Value<'_>>>, Malformed> {
        let mut scanner = Scanner::new(text);
        let mut elements = Vec::new();
        scanner.list(|scanner| {
            elements.push(scanner.value()?);
            Ok(())
        })?;
        scanner.end().map(|()| elements)
    }

    /// Reads the same with `serde_json` alone.
    fn expected_members(text: &str) -> Option<Members<'_>> {
        let object = crate::ingest::json::object::Object::parse(text).ok()?;
        Some(object.members.into_iter().map(|(name, raw)| (name, Value::of(raw))).collect())
    }

    fn expected_elements(text: &str) -> Option<Vec<Option<Value<'_>>>> {
        let list: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        Some(list.into_iter().map(Value::of).collect())
    }

    #[test]
    fn plain_text_ends_at_a_quote_an_escape_or_a_control_character() {
        for byte in 0..0x80u8 {
            for len in 0..=2 * BLOCK_BYTES + 1 {
                let text = [vec![b'x'; len], vec![byte], vec![b'"'; 2 * BLOCK_BYTES]].concat();
                let stops = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(plain_len(&text), if stops { len } else { len + 1 });
            }
        }
        assert_eq!(plain_len(&[b'x'; BLOCK_BYTES + 3]), BLOCK_BYTES + 3);
    }

    #[test]
    fn values_of_every_kind_are_read() {
        for text in [
            r#"{}"#,
            " {\r\n\t} ",
            r#"{"a":"x","b":12,"c":null,"d":true,"e":{"f":[1,"]}"]},"g":"\u00e9\"\n","a":"last"}"#,
            r#"{ "n" : -0 , "m":0,"o":-12,"p":1.50,"q":1e999,"r":12345678901234567890123,"s":0.0 }"#,
            r#"{"\u0061":"\ud800","é":"日本語 😀","":""}"#,
        ] {
            assert_eq!(members(text).ok(), expected_members(text), "{text}");
            assert!(members(text).is_ok(), "{text}");
        }
        for text in ["[]", "[ ]", "[1]", r#"["a",2,{"b":[]},null]"#] {
            assert_eq!(elements(text).ok(), expected_elements(text), "{text}");
            assert!(elements(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1"b":2}"#,
            r#"{"a":1}}"#,
            r#"{"a":01}"#,
            r#"{"a":1x}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":"x}"#,
            r#"{"a":"\x"}"#,
            r#"{a:1}"#,
            r#"{1:1}"#,
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(members(text), Err(Malformed), "{text}");
            assert_eq!(expected_members(text), None, "{text}");
        }
        for text in ["", "{}", "[", "[,]", "[1,]", "[1 2]", "[1]]", "[1"] {
            assert_eq!(elements(text), Err(Malformed), "{text}");
            assert_eq!(expected_elements(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_read_as_serde_json_reads_it(text in r#"[\[\]{}:,"\\a-fu0-9 .\-tne\n\u{1}\u{e9}]{0,40}"#, inside in r#"("[a\\"u]{0,5}"|[0-9e.\-]{0,4}|null|\{\}|\[1?\]| ){0,3}"#) {
            for text in [text, format!("{{\"a\":{inside}}}"), format!("{{\"a\":1,{inside}:2}}"), format!("[{inside},0]")] {
                prop_assert_eq!(members(&text).ok(), expected_members(&text));
                prop_assert_eq!(elements(&text).ok(), expected_elements(&text));
            }
        }

        #[test]
        fn any_string_comes_back(name: String, message: String) {
            let text = serde_json::to_string(&serde_json::json!({ &name: &message })).unwrap();
            prop_assert_eq!(members(&text).unwrap(), [(name.into(), Some(Value::Text(message.into())))]);
        }
    }
}
