//! Parses a line that [`write_line`](super::write_line) has written.

use std::borrow::Cow;

use super::clock::{self, STAMP_LEN, Time};
use super::escape::{EscapeRules, FIELD, JSON, JSON_FIELD, MESSAGE};
use super::level::Level;
use super::line::{JSON_START, Record};
use super::line_fields::{JSON_FIELDS_START, LineFields};

/// The error for bytes that are not a line of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The bytes are not UTF-8.
    #[error(
        "not a line of this log: not UTF-8 from byte {at} on; the file was changed or written by another program"
    )]
    NotUtf8 {
        /// The index of the first invalid byte.
        at: usize,
    },
    /// The text does not follow the grammar.
    #[error(
        "not a line of this log: {expected} expected at byte {at}; the file was changed or written by another program"
    )]
    Foreign {
        /// The index of the byte at which parsing stopped.
        at: usize,
        /// The text that the grammar requires there.
        expected: &'static str,
    },
}

/// Parses a line of either format, given without its `\n`.
///
/// # Errors
/// Fails if the bytes do not follow the grammar.
pub fn parse_line(line: &[u8]) -> Result<Record, LineError> {
    let Record { time, level, client, key, route, pid, seq, message, fields } = read_line(line)?;
    let (client, key, route) = (client.into_owned(), key.into_owned(), route.into_owned());
    let (message, fields) = (message.into_owned(), fields.into_owned());
    Ok(Record { time, level, client, key, route, pid, seq, message, fields })
}

/// Parses like [`parse_line`], but copies only texts with escapes. Values of fields are not
/// unescaped before a caller reads them.
///
/// # Errors
/// Fails if the bytes do not follow the grammar.
pub fn read_line(line: &[u8]) -> Result<Record<Cow<'_, str>>, LineError> {
    let mut reader = Reader::of(line)?;
    if line.starts_with(b"{") { reader.json() } else { reader.text() }
}

/// The part of a record behind its level and time.
pub(super) struct LineBody<'a> {
    pub(super) client: Cow<'a, str>,
    pub(super) key: Cow<'a, str>,
    pub(super) route: Cow<'a, str>,
    pub(super) pid: u32,
    pub(super) seq: u64,
    pub(super) message: Cow<'a, str>,
    pub(super) fields: LineFields<Cow<'a, str>>,
}

impl<'a> LineBody<'a> {
    fn with(self, time: Time, level: Level) -> Record<Cow<'a, str>> {
        let Self { client, key, route, pid, seq, message, fields } = self;
        Record { time, level, client, key, route, pid, seq, message, fields }
    }
}

/// Reads a line from the `<` of a text line on, or from the message of a JSON line on.
///
/// # Errors
/// Fails if the bytes do not follow the grammar.
pub(super) fn read_body(rest: &[u8], is_json: bool) -> Result<LineBody<'_>, LineError> {
    let mut reader = Reader::of(rest)?;
    if is_json { reader.json_body() } else { reader.text_body() }
}

/// Reads a JSON line from the quote on that ends its message.
///
/// # Errors
/// Fails if the bytes do not follow the grammar.
pub(super) fn read_json_tail<'a>(message: Cow<'a, str>, tail: &'a str) -> Result<LineBody<'a>, LineError> {
    Reader { whole: tail.len(), rest: tail }.json_tail(message)
}

/// The part of a line that is not parsed yet.
struct Reader<'a> {
    /// Length of the whole line, in bytes.
    whole: usize,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, LineError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
        Ok(Self { whole: text.len(), rest: text })
    }

    fn text(&mut self) -> Result<Record<Cow<'a, str>>, LineError> {
        self.expect("[")?;
        let level = self.level()?;
        self.expect("](")?;
        let time = self.time(b' ')?;
        self.expect(")")?;
        Ok(self.text_body()?.with(time, level))
    }

    /// Reads a text line from its `<` on.
    fn text_body(&mut self) -> Result<LineBody<'a>, LineError> {
        self.expect("<")?;
        let [client, key, route] = match self.plain_names() {
            Some(names) => names,
            None => [self.name()?, self.name()?, self.name()?],
        };
        let pid = self.number()?;
        self.expect("|")?;
        let seq = self.number()?;
        self.expect(">")?;
        let mut message = self.string(&MESSAGE);
        let fields =
            if self.rest.is_empty() { LineFields::default() } else { self.text_fields(&mut message) };
        self.end()?;
        Ok(LineBody { client, key, route, pid, seq, message, fields })
    }

    /// Reads client, key and route if they have no escapes, as in most lines.
    fn plain_names(&mut self) -> Option<[Cow<'a, str>; 3]> {
        let text = self.rest;
        let mut separators = memchr::memchr3_iter(b'|', b'<', b'>', text.as_bytes());
        let ends = [separators.next()?, separators.next()?, separators.next()?];
        let has_names = ends.iter().all(|end| text.as_bytes().get(*end) == Some(&b'|'));
        let [first, second, third] = ends;
        (has_names && is_plain(text.as_bytes().get(..third)?)).then_some(())?;
        self.rest = text.get(third + 1..)?;
        let names = [text.get(..first)?, text.get(first + 1..second)?, text.get(second + 1..third)?];
        Some(names.map(Cow::Borrowed))
    }

    fn name(&mut self) -> Result<Cow<'a, str>, LineError> {
        let name = self.string(&FIELD);
        self.expect("|")?;
        Ok(name)
    }

    /// Reads what follows the first part of `message`: the fields, if the whole rest is fields.
    /// Otherwise ` \| ` is text of the message.
    fn text_fields(&mut self, message: &mut Cow<'a, str>) -> LineFields<Cow<'a, str>> {
        const AFTER_SPACE: &str = "\\| ";
        // The space of the separator was read as the end of the message.
        let fields = self.rest.strip_prefix(AFTER_SPACE).and_then(LineFields::of_text);
        if let (Some(fields), Some(len)) = (fields, message.strip_suffix(' ').map(str::len)) {
            match message {
                Cow::Borrowed(text) => *text = text.get(..len).unwrap_or_default(),
                Cow::Owned(text) => text.truncate(len),
            }
            self.rest = "";
            return fields;
        }
        while message.ends_with(' ')
            && let Some(rest) = self.rest.strip_prefix(AFTER_SPACE)
        {
            self.rest = rest;
            let more = self.string(&MESSAGE);
            let message = message.to_mut();
            message.push_str(AFTER_SPACE);
            message.push_str(&more);
        }
        LineFields::default()
    }

    fn json(&mut self) -> Result<Record<Cow<'a, str>>, LineError> {
        self.expect(JSON_START)?;
        let time = self.time(b'T')?;
        self.expect("\",\"level\":\"")?;
        let level = self.level()?;
        self.expect("\",\"message\":\"")?;
        Ok(self.json_body()?.with(time, level))
    }

    /// Reads a JSON line from its message on.
    fn json_body(&mut self) -> Result<LineBody<'a>, LineError> {
        let message = self.string(&JSON);
        self.json_tail(message)
    }

    /// Reads a JSON line from the quote on that ends its message.
    fn json_tail(&mut self, message: Cow<'a, str>) -> Result<LineBody<'a>, LineError> {
        self.expect("\",\"client\":\"")?;
        let client = self.string(&JSON_FIELD);
        self.expect("\",\"key\":\"")?;
        let key = self.string(&JSON_FIELD);
        self.expect("\",\"route\":\"")?;
        let route = self.string(&JSON_FIELD);
        self.expect("\",\"pid\":")?;
        let pid = self.number()?;
        self.expect(",\"seq\":")?;
        let seq = self.number()?;
        let mut fields = LineFields::default();
        if let Some(inside) = self.rest.strip_prefix(JSON_FIELDS_START) {
            (fields, self.rest) = LineFields::of_json(inside).ok_or_else(|| self.foreign("fields"))?;
        }
        self.expect("}")?;
        self.end()?;
        Ok(LineBody { client, key, route, pid, seq, message, fields })
    }

    fn expect(&mut self, literal: &'static str) -> Result<(), LineError> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.foreign(literal))?;
        Ok(())
    }

    fn level(&mut self) -> Result<Level, LineError> {
        let found =
            Level::ALL.into_iter().find_map(|level| Some((level, self.rest.strip_prefix(level.as_str())?)));
        let (level, rest) = found.ok_or_else(|| self.foreign("a level"))?;
        self.rest = rest;
        Ok(level)
    }

    fn time(&mut self, separator: u8) -> Result<Time, LineError> {
        let text = self.rest.as_bytes().first_chunk::<STAMP_LEN>();
        let time =
            text.and_then(|text| clock::parse(text, separator)).ok_or_else(|| self.foreign("a time"))?;
        self.rest = self.rest.get(STAMP_LEN..).unwrap_or_default();
        Ok(time)
    }

    fn string(&mut self, rules: &EscapeRules) -> Cow<'a, str> {
        let (text, rest) = rules.unescape(self.rest);
        self.rest = rest;
        text
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, LineError> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(len);
        let canonical = digits == "0" || !digits.starts_with('0');
        let number = digits.parse().ok().filter(|_| canonical).ok_or_else(|| self.foreign("a number"))?;
        self.rest = rest;
        Ok(number)
    }

    fn end(&self) -> Result<(), LineError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.foreign("nothing more, or an escaped character")) }
    }

    fn foreign(&self, expected: &'static str) -> LineError {
        LineError::Foreign { at: self.whole - self.rest.len(), expected }
    }
}

/// Returns whether all bytes are printable ASCII and no backslash.
fn is_plain(text: &[u8]) -> bool {
    const BLOCK_BYTES: usize = 16;
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'\\');
    let are_plain = |bytes: &[u8]| bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    let blocks = text.as_chunks::<BLOCK_BYTES>().0;
    // The last block may overlap the one before it.
    match text.last_chunk::<BLOCK_BYTES>() {
        Some(last) => blocks.iter().all(|block| are_plain(block)) && are_plain(last),
        None => are_plain(text),
    }
}
