//! Reads the labels of a stream in the notation of Prometheus: `{app="x", pod="y"}`.

use std::borrow::Cow;
use std::str::CharIndices;

/// The text is no set of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a set of labels. `add` gets each name and value. Values stand in double quotes, in single
/// quotes or in backticks, as Go reads strings. Names may stand in quotes too.
///
/// # Errors
/// Fails for a text that is no set of labels. Some labels may have been added before.
pub(super) fn read<'a>(
    text: &'a str,
    mut add: impl FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Result<(), Malformed> {
    let inside = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or(Malformed)?;
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let (name, behind) = name(rest)?;
        let behind = behind.trim_start().strip_prefix('=').ok_or(Malformed)?.trim_start();
        let (value, behind) = quoted(behind)?;
        add(name, value);
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if behind.is_empty() => behind,
            None => return Err(Malformed),
        };
    }
    Ok(())
}

/// Reads a name, and returns the text behind it.
fn name(text: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    if text.starts_with(['"', '\'', '`']) {
        return quoted(text);
    }
    let end = text.find(|c: char| c == '=' || c == ',' || c.is_whitespace()).ok_or(Malformed)?;
    if end == 0 {
        return Err(Malformed);
    }
    Ok((Cow::Borrowed(text.get(..end).unwrap_or_default()), text.get(end..).unwrap_or_default()))
}

/// Reads a string in quotes, and returns the text behind it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or(Malformed)?;
    let inside = text.get(1..).unwrap_or_default();
    let stop = |c: char| c == quote || (c == '\\' && quote != '`');
    let end = inside.find(stop).ok_or(Malformed)?;
    let plain = inside.get(..end).unwrap_or_default();
    let rest = inside.get(end..).unwrap_or_default();
    if let Some(behind) = rest.strip_prefix(quote) {
        return Ok((Cow::Borrowed(plain), behind));
    }
    let mut value = plain.to_owned();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(escaped(&mut chars)?),
            c if c == quote => {
                return Ok((Cow::Owned(value), rest.get(at + 1..).unwrap_or_default()));
            }
            c => value.push(c),
        }
    }
    Err(Malformed)
}

/// Reads an escape behind its backslash.
fn escaped(chars: &mut CharIndices<'_>) -> Result<char, Malformed> {
    let (_, kind) = chars.next().ok_or(Malformed)?;
    let digits = match kind {
        'a' => return Ok('\u{7}'),
        'b' => return Ok('\u{8}'),
        'f' => return Ok('\u{c}'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        '\\' | '"' | '\'' => return Ok(kind),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return Err(Malformed),
    };
    let mut code = 0;
    for _ in 0..digits {
        let digit = chars.next().and_then(|(_, c)| c.to_digit(16)).ok_or(Malformed)?;
        code = code * 16 + digit;
    }
    Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let mut list = Vec::new();
        read(text, |name, value| list.push((name.into_owned(), value.into_owned())))?;
        Ok(list)
    }

    #[test]
    fn labels_are_read_as_promtail_and_others_write_them() {
        for (text, expected) in [
            ("{}", &[][..]),
            (r#"{app="x"}"#, &[("app", "x")]),
            (r#" { app = "x" , pod="a,b}" ,} "#, &[("app", "x"), ("pod", "a,b}")]),
            (r#"{a="\"q\"\n\\\u00e9\x41\U0001F600"}"#, &[("a", "\"q\"\n\\é😀".replace("é", "éA").as_str())]),
            (r#"{a='x',b=`\n`}"#, &[("a", "x"), ("b", "\\n")]),
            (r#"{"http.status"="200"}"#, &[("http.status", "200")]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(labels(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "a",
            "{a}",
            "{a=x}",
            r#"{a="x"#,
            r#"{a="x" b="y"}"#,
            r#"{="x"}"#,
            r#"{a="\q"}"#,
            r#"{a="\u1"}"#,
        ] {
            assert_eq!(labels(text), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_labels_come_back(list in prop::collection::vec(("[a-z_][a-z0-9_]{0,8}", ".{0,12}"), 0..5)) {
            let inside: Vec<String> = list.iter().map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            }).collect();
            prop_assert_eq!(labels(&format!("{{{}}}", inside.join(", "))), Ok(list));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", near in r#"\{([a-c"'`=,\\ux0-9 ]|\}){0,24}\}"#) {
            drop((labels(&text), labels(&near)));
        }
    }
}
