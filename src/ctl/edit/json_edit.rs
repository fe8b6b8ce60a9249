//! Edits a JSON text and keeps every other byte of it, such as order, spacing and unknown options.
//!
//! Only strict JSON is edited, because a comment about an entry might no longer be true after an
//! edit.

use std::ops::Range;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Members;

/// Says that a text is not changed, because it is not strict JSON of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not plain JSON: it has comments, a trailing comma or a byte order mark, which a rewrite could not keep true; edit it by hand, or remove them first"
)]
pub(crate) struct NotStrictJson;

/// Returns the byte ranges of the elements of a list.
pub(crate) fn elements(text: &str) -> Result<Vec<Range<usize>>, NotStrictJson> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotStrictJson)?;
    elements.into_iter().map(|element| place(text, element)).collect()
}

/// Returns the list with one more element at its end.
pub(crate) fn push(text: &str, element: &impl Serialize) -> Result<String, NotStrictJson> {
    let ranges = elements(text)?;
    let Some(last) = ranges.last() else {
        return Ok(fill_empty(text, '[', &pretty(element, "  ")?));
    };
    let addition = match own_line_indent(text, last.start) {
        Some(indent) => format!(",{}{}", newline(text, indent), pretty(element, indent)?),
        None => format!(", {}", serde_json::to_string(element).map_err(|_| NotStrictJson)?),
    };
    Ok(insert(text, last.end, &addition))
}

/// Returns the list without the elements with these indices.
pub(crate) fn remove(text: &str, indices: &[usize]) -> Result<String, NotStrictJson> {
    let mut text = text.to_owned();
    let mut indices = indices.to_vec();
    indices.sort_unstable();
    indices.dedup();
    for &index in indices.iter().rev() {
        let ranges = elements(&text)?;
        let Some(place) = ranges.get(index) else { continue };
        let cut = match (index.checked_sub(1).and_then(|before| ranges.get(before)), ranges.get(index + 1)) {
            (_, Some(next)) => place.start..next.start,
            (Some(before), None) => before.end..place.end,
            (None, None) => place.clone(),
        };
        text.replace_range(cut, "");
    }
    Ok(text)
}

/// Returns the object with this member, in the place of the member with the same name, or at its
/// end.
pub(crate) fn set(text: &str, name: &str, value: &Value) -> Result<String, NotStrictJson> {
    let Members(members) = serde_json::from_str(text).map_err(|_| NotStrictJson)?;
    if let Some((_, old)) = members.iter().find(|(member, _)| member == name) {
        let mut changed = text.to_owned();
        changed.replace_range(place(text, old)?, &value.to_string());
        return Ok(changed);
    }
    let member = format!("{}: {value}", Value::from(name));
    let Some((_, last)) = members.last() else { return Ok(fill_empty(text, '{', &member)) };
    let last = place(text, last)?;
    let line = text[..last.start].rfind('\n').map(|newline| newline + 1);
    let indent = line.and_then(|line| {
        let blank = text[line..].len() - text[line..].trim_start_matches([' ', '\t']).len();
        text[line + blank..].starts_with('"').then(|| &text[line..line + blank])
    });
    let addition = match indent {
        Some(indent) => format!(",{}{member}", newline(text, indent)),
        None => format!(", {member}"),
    };
    Ok(insert(text, last.end, &addition))
}

/// Returns the list with the element at `index` replaced by the text that `change` returns.
pub(crate) fn change(
    text: &str,
    index: usize,
    change: impl FnOnce(&str) -> Result<String, NotStrictJson>,
) -> Result<String, NotStrictJson> {
    let place = elements(text)?.get(index).cloned().ok_or(NotStrictJson)?;
    let mut changed = text.to_owned();
    changed.replace_range(place.clone(), &change(&text[place])?);
    Ok(changed)
}

fn place(text: &str, value: &RawValue) -> Result<Range<usize>, NotStrictJson> {
    // A borrowed raw value points into the text from which it was read.
    let start = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize).ok_or(NotStrictJson)?;
    let range = start..start + value.get().len();
    if text.get(range.clone()) == Some(value.get()) { Ok(range) } else { Err(NotStrictJson) }
}

/// Returns the indent of a value, or `None` when the value does not begin its line.
fn own_line_indent(text: &str, at: usize) -> Option<&str> {
    let line = text[..at].rfind('\n')? + 1;
    let before = &text[line..at];
    before.bytes().all(|byte| matches!(byte, b' ' | b'\t')).then_some(before)
}

/// Returns a line end of the kind that the text uses, and the indent after it.
fn newline(text: &str, indent: &str) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    format!("{end}{indent}")
}

fn insert(text: &str, at: usize, addition: &str) -> String {
    [&text[..at], addition, &text[at..]].concat()
}

/// Returns an empty list or object with one member added.
fn fill_empty(text: &str, open: char, member: &str) -> String {
    let start = text.find(open).map_or(0, |at| at + 1);
    let end = text.trim_end().len().saturating_sub(1).max(start);
    [&text[..start], "\n  ", member, "\n", &text[end..]].concat()
}

fn pretty(value: &impl Serialize, indent: &str) -> Result<String, NotStrictJson> {
    let text = serde_json::to_string_pretty(value).map_err(|_| NotStrictJson)?;
    Ok(text.replace('\n', &format!("\n{indent}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_added_element_follows_the_style_of_the_list() {
        let new = json!({"key": "k"});
        for (before, after) in [
            ("[]", "[\n  {\n    \"key\": \"k\"\n  }\n]"),
            (" [ \n ] \n", " [\n  {\n    \"key\": \"k\"\n  }\n] \n"),
            ("[1]", "[1, {\"key\":\"k\"}]"),
            ("[\n    {\"a\":  1}\n]\n", "[\n    {\"a\":  1},\n    {\n      \"key\": \"k\"\n    }\n]\n"),
        ] {
            assert_eq!(push(before, &new).unwrap(), after);
        }
        for not_strict_json in ["[1,]", "[1] // x", "{}", "\u{feff}[]", ""] {
            assert_eq!(push(not_strict_json, &new), Err(NotStrictJson), "{not_strict_json}");
        }
    }

    #[test]
    fn elements_are_removed_with_their_comma() {
        let list = "[\n  1,\n  {\"a\": [2]},\n  3\n]\n";
        assert_eq!(remove(list, &[0]).unwrap(), "[\n  {\"a\": [2]},\n  3\n]\n");
        assert_eq!(remove(list, &[2]).unwrap(), "[\n  1,\n  {\"a\": [2]}\n]\n");
        assert_eq!(remove(list, &[2, 0, 0]).unwrap(), "[\n  {\"a\": [2]}\n]\n");
        assert_eq!(remove("[1]", &[0]).unwrap(), "[]");
        assert_eq!(remove("[1]", &[7]).unwrap(), "[1]");
    }

    #[test]
    fn a_member_is_set_in_its_place() {
        let value = json!("v\"");
        for (before, after) in [
            ("{}", "{\n  \"n\": \"v\\\"\"\n}"),
            ("{\"n\":1, \"m\" :2}", "{\"n\":\"v\\\"\", \"m\" :2}"),
            ("{\"m\" :2 }", "{\"m\" :2, \"n\": \"v\\\"\" }"),
            (
                "{\r\n\t\"m\": {\r\n\t\t\"n\": 1 } }",
                "{\r\n\t\"m\": {\r\n\t\t\"n\": 1 },\r\n\t\"n\": \"v\\\"\" }",
            ),
        ] {
            assert_eq!(set(before, "n", &value).unwrap(), after);
        }
        assert_eq!(set("[]", "n", &value), Err(NotStrictJson));
        let list = change("[ {\"a\":1},{}]", 0, |text| set(text, "a", &json!(2)));
        assert_eq!(list.unwrap(), "[ {\"a\":2},{}]");
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[a-z,"\\\]}é\n]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-e]", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn other_elements_keep_their_bytes(
            list in prop::collection::vec(json_value(), 0..5),
            new in json_value(),
            index in 0_usize..6,
            pretty: bool,
        ) {
            let before = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
            let before = before.unwrap();
            let texts = |text: &str| -> Vec<String> {
                elements(text).unwrap().into_iter().map(|place| text[place].to_owned()).collect()
            };
            let more = push(&before, &new).unwrap();
            let mut expected = texts(&before);
            prop_assert_eq!(&texts(&more)[..list.len()], &expected[..]);
            prop_assert_eq!(serde_json::from_str::<Value>(texts(&more).last().unwrap()).unwrap(), new);
            if index < expected.len() {
                expected.remove(index);
            }
            prop_assert_eq!(texts(&remove(&before, &[index]).unwrap()), expected);
        }

        #[test]
        fn other_members_keep_their_values(object in json_value(), new in json_value(), name in "[a-g]") {
            let text = serde_json::to_string_pretty(&object).unwrap();
            let changed = set(&text, &name, &new);
            let Value::Object(mut expected) = object else {
                prop_assert!(changed.is_err());
                return Ok(());
            };
            expected.insert(name, new);
            prop_assert_eq!(serde_json::from_str::<Value>(&changed.unwrap()).unwrap(), Value::Object(expected));
        }
    }
}
