//! Accepts JSON with comments (`//`, `/* */`) and trailing commas, as people write it by hand.
//!
//! Replaces both by spaces, so that a strict JSON parser reads the rest and every byte keeps its
//! position.

/// Returns `text` with comments and trailing commas replaced by spaces. The result has the same
/// length and the same line breaks.
pub(crate) fn blank(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    // The position of a comma that may turn out to be a trailing one, and the last byte that is
    // neither white space nor part of a comment.
    let mut comma = None;
    let mut last = b'[';
    while let Some(&byte) = bytes.get(at) {
        let end = match (byte, bytes.get(at + 1)) {
            (b'"', _) => string_end(&bytes, at),
            (b'/', Some(b'/')) => {
                let end = bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n);
                blank_out(&mut bytes[at..end]);
                at = end;
                continue;
            }
            (b'/', Some(b'*')) => {
                // A comment without an end stays, so that the parser reports its start.
                let Some(length) = bytes[at + 2..].windows(2).position(|w| w == b"*/") else { break };
                let end = at + 2 + length + 2;
                blank_out(&mut bytes[at..end]);
                at = end;
                continue;
            }
            _ => at + 1,
        };
        if !byte.is_ascii_whitespace() {
            match (byte, comma.take()) {
                (b'}' | b']', Some(comma)) => bytes[comma] = b' ',
                (b',', _) if !matches!(last, b'[' | b'{' | b',' | b':') => comma = Some(at),
                _ => {}
            }
            last = byte;
        }
        at = end;
    }
    // Only whole characters were replaced, so the bytes are still UTF-8.
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Returns the index after the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn blank_out(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| !matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn comments_and_trailing_commas_are_blanked() {
        let text = "{ // ä \"\n \"a/*//\\\"\": \"//,]\", /* , */ \"b\": [1, 2 , /*x*/ ] , // c\n }";
        let blanked = blank(text);
        assert_eq!(blanked.len(), text.len());
        assert_eq!(blanked.find("\"b\""), text.find("\"b\""));
        let value: Value = serde_json::from_str(&blanked).unwrap();
        assert_eq!(value, serde_json::json!({"a/*//\"": "//,]", "b": [1, 2]}));
    }

    #[test]
    fn invalid_json_stays_invalid() {
        for wrong in
            ["[,]", "{,}", "[1,,]", "{\"a\":,}", "[1,", "1,", "[1] /* x", "/", "[1/]", "\"a", "[1 2]", "[//]"]
        {
            assert!(serde_json::from_str::<Value>(&blank(wrong)).is_err(), "{wrong}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[a-z/*,"\\\]}é]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((r#"[a/*,"\\]{0,4}"#, inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn strict_json_is_unchanged(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            prop_assert_eq!(blank(&text), text);
        }

        #[test]
        fn comments_and_commas_do_not_change_the_value(value in json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            // Pretty-printed JSON has line breaks only between its tokens.
            let decorated = text.replace('\n', " // \"x\" , ]\n/* } \" */");
            let read: Value = serde_json::from_str(&blank(&decorated)).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn every_text_keeps_its_places(text in ".*", near in r#"[/*,"\\\[\]{}a:é \n]{0,40}"#) {
            for text in [text, near] {
                let blanked = blank(&text);
                prop_assert_eq!(blanked.len(), text.len());
                let breaks = |t: &str| t.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
                prop_assert_eq!(breaks(&blanked), breaks(&text));
            }
        }
    }
}
