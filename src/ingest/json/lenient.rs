//! Makes JSON of a text that holds `NaN` and `Infinity`, which many libraries write for floats that
//! are no numbers (Python's `json`, for one). RFC 8259 has no such values.

/// The words, longest first.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Returns the text with each of these words as a string. `None` when the text holds none of them
/// outside of its strings.
pub(crate) fn with_quoted_words(text: &str) -> Option<String> {
    if memchr::memmem::find(text.as_bytes(), b"NaN").is_none()
        && memchr::memmem::find(text.as_bytes(), b"Infinity").is_none()
    {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut is_changed = false;
    while let Some(at) = rest.find(['"', '-', 'I', 'N']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        if found.starts_with('"') {
            let len = string_len(found);
            let (string, after) = found.split_at(len);
            out.push_str(string);
            rest = after;
        } else if let Some(word) = WORDS.into_iter().find(|word| found.starts_with(word)) {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = found.get(word.len()..)?;
            is_changed = true;
        } else {
            let (one, after) = found.split_at(1);
            out.push_str(one);
            rest = after;
        }
    }
    out.push_str(rest);
    is_changed.then_some(out)
}

/// Returns the length of a string with its quotes. The text begins with a quote. A string without an
/// end has the length of the text.
fn string_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(offset) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        if bytes.get(at + offset) == Some(&b'"') {
            return at + offset + 1;
        }
        at += offset + 2;
    }
    // An escape may end behind the text.
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_outside_of_strings_are_quoted() {
        let text = r#"{"a":NaN,"b":[-Infinity, Infinity],"c":"NaN \" -Infinity","NaN":-1}"#;
        let expected = r#"{"a":"NaN","b":["-Infinity", "Infinity"],"c":"NaN \" -Infinity","NaN":-1}"#;
        assert_eq!(with_quoted_words(text).as_deref(), Some(expected));
        for other in ["", r#"{"a":1}"#, r#"{"a":"NaN"}"#, r#"{"a":"Infinity\"#, r#"["NaN"#] {
            assert_eq!(with_quoted_words(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn json_stays_as_it_is(texts in prop::collection::vec("(NaN|Infinity|[a\\\\\"é-]){0,6}", 0..5)) {
            let json = serde_json::to_string(&texts).unwrap();
            prop_assert_eq!(with_quoted_words(&json), None);
        }

        #[test]
        fn any_text_is_read(text in r#"(NaN|Infinity|-|"|\\|é|\{|[a-z]){0,12}"#) {
            if let Some(changed) = with_quoted_words(&text) {
                prop_assert!(changed.len() > text.len());
            }
        }
    }
}
