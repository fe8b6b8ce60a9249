//! Parses the lines of a log by their documented grammar, without code of the server.

/// Holds a parsed line of the text format.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) time: String,
    pub(crate) client: String,
    pub(crate) key: String,
    pub(crate) route: String,
    pub(crate) pid: u32,
    pub(crate) seq: u64,
    /// The message as it is in the file.
    pub(crate) escaped: String,
    /// The message as it was sent.
    pub(crate) message: String,
    /// The names and values of the fields.
    pub(crate) fields: Vec<(String, String)>,
}

impl Line {
    /// Parses a line. Panics when it breaks the grammar.
    pub(crate) fn parse(line: &str) -> Self {
        Self::try_parse(line).unwrap_or_else(|why| panic!("not a whole line ({why}): {line:?}"))
    }

    /// Returns the fields as `NAME=VALUE`, joined by spaces. The values stand as they were sent.
    pub(crate) fn shown_fields(&self) -> String {
        let shown: Vec<String> = self.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.join(" ")
    }

    /// Returns the value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Parses `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`, with ` \| NAME=VALUE …` behind it.
    pub(crate) fn try_parse(line: &str) -> Result<Self, &'static str> {
        let rest = line.strip_prefix('[').ok_or("no [")?;
        let (level, rest) = rest.split_once("](").ok_or("no level")?;
        if !["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].contains(&level) {
            return Err("unknown level");
        }
        let (time, rest) = rest.split_once(")<").ok_or("no time")?;
        if !is_time(time) {
            return Err("malformed time");
        }
        let (source, rest) = rest.split_once('>').ok_or("no source")?;
        let source: Vec<&str> = source.split('|').collect();
        let [client, key, route, pid, seq] = source[..] else { return Err("not five parts") };
        let (escaped, fields) = rest.split_once(" \\| ").unwrap_or((rest, ""));
        let fields = parse_fields(fields)?;
        Ok(Self {
            level: level.to_owned(),
            time: time.to_owned(),
            client: client.to_owned(),
            key: key.to_owned(),
            route: route.to_owned(),
            pid: pid.parse().map_err(|_| "pid")?,
            seq: seq.parse().map_err(|_| "seq")?,
            escaped: escaped.to_owned(),
            message: unescape(escaped)?,
            fields,
        })
    }
}

/// Parses `NAME=VALUE NAME="VALUE"`.
fn parse_fields(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("a field without =")?;
        if name.is_empty() || name.contains([' ', '"', '\\', '|']) {
            return Err("a malformed name");
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = end_of_quoted(quoted).ok_or("a value without an end")?;
                (unescape_value(&quoted[..end])?, &quoted[end + 1..])
            }
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                if end == 0 || after[..end].contains(['"', '\\', '=']) {
                    return Err("a value that needs quotes");
                }
                (after[..end].to_owned(), &after[end..])
            }
        };
        fields.push((name.to_owned(), value));
        rest = match after.strip_prefix(' ') {
            Some(next) if !next.is_empty() => next,
            None if after.is_empty() => after,
            _ => return Err("no space between fields"),
        };
    }
    Ok(fields)
}

/// Returns the position of the closing quote.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// Returns whether the text has the form `2026-11-23 05:02:29.805789+00:00`.
fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-dd dd:dd:dd.ddddddsdd:dd";
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| match p {
            'd' => c.is_ascii_digit(),
            's' => c == '+' || c == '-',
            _ => c == p,
        })
}

/// Reverses the escapes of a message, and `\"`.
fn unescape_value(text: &str) -> Result<String, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = end_of_escaped_quote(rest) {
        parts.push(unescape(&rest[..at])?);
        rest = &rest[at + 2..];
    }
    parts.push(unescape(rest)?);
    Ok(parts.join("\""))
}

/// Returns the position of the first `\"` whose backslash is no second half of `\\`.
fn end_of_escaped_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_quote = c == '"' && is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_quote.then(|| at - 1)
    })
}

/// Reverses `\\`, `\n`, `\r` and `\u{HEX}`. Returns an error for a character that must be escaped.
fn unescape(text: &str) -> Result<String, &'static str> {
    let mut message = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if must_be_escaped(c) {
            return Err("a control character stands unescaped");
        }
        if c != '\\' {
            message.push(c);
            continue;
        }
        match rest.next() {
            Some('\\') => message.push('\\'),
            Some('n') => message.push('\n'),
            Some('r') => message.push('\r'),
            Some('u') => {
                let digits: String = rest.by_ref().take_while(|&c| c != '}').collect();
                let digits = digits.strip_prefix('{').ok_or("\\u without {")?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| "\\u without hex digits")?;
                message.push(char::from_u32(code).ok_or("\\u of no character")?);
            }
            _ => return Err("unknown escape"),
        }
    }
    Ok(message)
}

/// Returns whether a character must be escaped: C0 except TAB, DEL, C1, U+2028 and U+2029.
pub(crate) fn must_be_escaped(c: char) -> bool {
    (c.is_control() && c != '\t') || c == '\u{2028}' || c == '\u{2029}'
}
