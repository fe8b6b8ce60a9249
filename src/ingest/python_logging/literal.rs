//! Reads a tuple or a dictionary of literals from the text that Python prints for it.

/// Maximum depth of nested containers.
const MAX_DEPTH: usize = 16;

/// A literal, with the text that Python printed for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Literal<'a> {
    /// The text, which is the literal's `repr`.
    pub(crate) text: &'a str,
    pub(crate) value: Value,
}

/// A value, as far as formatting needs it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    /// `None`, bytes, a container, or an integer of more than 127 bits.
    Other,
}

/// The arguments of a format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arguments<'a> {
    Tuple(Vec<Literal<'a>>),
    /// Names and values, and the dictionary itself.
    Dictionary(Vec<(String, Literal<'a>)>, Literal<'a>),
}

/// Reads the text of the attribute `args`. `None` for a text that holds anything but literals.
pub(crate) fn arguments(text: &str) -> Option<Arguments<'_>> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let arguments = match reader.peek()? {
        b'(' => Arguments::Tuple(reader.items(b')', 0)?),
        b'{' => {
            let pairs = reader.pairs(0)?;
            let named = pairs.into_iter().filter_map(|(name, value)| match name.value {
                Value::Text(name) => Some((name, value)),
                _ => None,
            });
            Arguments::Dictionary(named.collect(), Literal { text: text.trim(), value: Value::Other })
        }
        _ => return None,
    };
    reader.skip_space();
    (reader.at == text.len()).then_some(arguments)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Skips a byte if it is the next one.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads the items of a container up to `close`.
    fn items(&mut self, close: u8, depth: usize) -> Option<Vec<Literal<'a>>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.skip(close) {
                return Some(items);
            }
            items.push(self.literal(depth + 1)?);
            self.skip_space();
            if !self.skip(b',') {
                return self.skip(close).then_some(items);
            }
        }
    }

    /// Reads a dictionary.
    fn pairs(&mut self, depth: usize) -> Option<Vec<(Literal<'a>, Literal<'a>)>> {
        self.at += 1;
        let mut pairs = Vec::new();
        loop {
            self.skip_space();
            if self.skip(b'}') {
                return Some(pairs);
            }
            let name = self.literal(depth + 1)?;
            self.skip_space();
            if !self.skip(b':') {
                return None;
            }
            self.skip_space();
            pairs.push((name, self.literal(depth + 1)?));
            self.skip_space();
            if !self.skip(b',') {
                return self.skip(b'}').then_some(pairs);
            }
        }
    }

    fn literal(&mut self, depth: usize) -> Option<Literal<'a>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let start = self.at;
        let value = match self.peek()? {
            b'\'' | b'"' => Value::Text(self.string()?),
            b'b' if matches!(self.text.as_bytes().get(start + 1), Some(b'\'' | b'"')) => {
                self.at += 1;
                self.string()?;
                Value::Other
            }
            b'(' => self.items(b')', depth).map(|_| Value::Other)?,
            b'[' => self.items(b']', depth).map(|_| Value::Other)?,
            b'{' => self.braces(depth)?,
            b'0'..=b'9' | b'-' | b'+' => self.number()?,
            _ => self.word()?,
        };
        Some(Literal { text: self.text.get(start..self.at)?, value })
    }

    /// Reads a dictionary or a set.
    fn braces(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        if self.pairs(depth).is_none() {
            self.at = start;
            self.items(b'}', depth)?;
        }
        Some(Value::Other)
    }

    fn word(&mut self) -> Option<Value> {
        const WORDS: [(&str, Value); 5] = [
            ("None", Value::Other),
            ("True", Value::Bool(true)),
            ("False", Value::Bool(false)),
            ("nan", Value::Float(f64::NAN)),
            ("inf", Value::Float(f64::INFINITY)),
        ];
        let (word, value) = WORDS.into_iter().find(|(word, _)| self.rest().starts_with(word))?;
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Option<Value> {
        if self.rest().starts_with("-inf") {
            self.at += 4;
            return Some(Value::Float(f64::NEG_INFINITY));
        }
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let len = self.rest().bytes().take_while(|byte| is_part(byte)).count();
        let text = self.rest().get(..len)?;
        self.at += len;
        if text.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
            return Some(text.parse().map_or(Value::Other, Value::Integer));
        }
        text.parse().ok().map(Value::Float)
    }

    /// Reads a string with the escapes of `repr`. Its opening quote is the next byte.
    fn string(&mut self) -> Option<String> {
        let quote = char::from(self.peek()?);
        self.at += 1;
        let mut text = String::new();
        loop {
            let next = self.rest().chars().next()?;
            self.at += next.len_utf8();
            match next {
                '\\' => text.push(self.escape()?),
                _ if next == quote => return Some(text),
                _ => text.push(next),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        let digits = match letter {
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            other => return Some(other),
        };
        let code = u32::from_str_radix(self.rest().get(..digits)?, 16).ok()?;
        self.at += digits;
        Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(text: &str) -> Option<Vec<(String, Value)>> {
        match arguments(text)? {
            Arguments::Tuple(items) => {
                Some(items.into_iter().map(|item| (item.text.to_owned(), item.value)).collect())
            }
            Arguments::Dictionary(..) => None,
        }
    }

    #[test]
    fn tuples_of_literals_are_read() {
        let text = r#"('bob', "it's", 12, -1.5, True, None, b'x', (1,), [2, 'a'], {'k': {1, 2}}, 1e+20, 'a\'\n\x1b\u20ac')"#;
        let items = tuple(text).unwrap();
        let texts: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "'bob'",
                "\"it's\"",
                "12",
                "-1.5",
                "True",
                "None",
                "b'x'",
                "(1,)",
                "[2, 'a']",
                "{'k': {1, 2}}",
                "1e+20",
                r"'a\'\n\x1b\u20ac'"
            ]
        );
        assert_eq!(items[1].1, Value::Text("it's".to_owned()));
        assert_eq!(items[3].1, Value::Float(-1.5));
        assert_eq!(items[11].1, Value::Text("a'\n\u{1b}€".to_owned()));
        assert_eq!(tuple("()").unwrap().len(), 0);
        assert_eq!(tuple("(1,)").unwrap().len(), 1);
    }

    #[test]
    fn dictionaries_are_read_and_objects_are_not() {
        let Some(Arguments::Dictionary(pairs, whole)) = arguments("{'a': 1, 'b': [1], 2: 3}") else {
            panic!()
        };
        assert_eq!(pairs.len(), 2);
        assert_eq!((pairs[1].0.as_str(), pairs[1].1.text), ("b", "[1]"));
        assert_eq!(whole.text, "{'a': 1, 'b': [1], 2: 3}");
        for other in [
            "",
            "None",
            "(",
            "(1",
            "(1 2)",
            "('a",
            "('\\x1')",
            "(<object at 0x1>,)",
            "(datetime.date(2026, 1, 1),)",
            "(1,) x",
            "{'a'}",
            "{'a': }",
        ] {
            assert_eq!(arguments(other), None, "{other}");
        }
        assert_eq!(arguments(&"(".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text in ".{0,40}", near in r#"[(\[{]('[a\\x']{0,4}'|[0-9.e+-]{1,5}|None|[,: (\[{}\])])*[)\]}]"#) {
            drop((arguments(&text), arguments(&near)));
        }
    }
}
