//! Renders message templates (messagetemplates.org): `{Name}` stands for a property.

use std::borrow::Cow;

use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::Scanner;

/// Maximum length of a rendered message, in bytes. A template may name a long property many times.
const MAX_RENDERED_BYTES: usize = 1024 * 1024;

/// Renders a template. A hole without a property stays as it is. `renderings` is the JSON list of the
/// texts of the holes with a format, in their order.
pub(super) fn render(
    template: &str,
    properties: &[(Cow<'_, str>, Value<'_>)],
    renderings: Option<&str>,
) -> String {
    let mut renderings = renderings.map(texts).unwrap_or_default().into_iter();
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        if out.len() > MAX_RENDERED_BYTES {
            break;
        }
        if let Some(after) = found.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = found.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else if let Some((hole, after)) = found.strip_prefix('{').and_then(|hole| hole.split_once('}')) {
            match text_of(hole, properties, &mut renderings) {
                Some(text) => out.push_str(&text),
                None => {
                    out.push('{');
                    out.push_str(hole);
                    out.push('}');
                }
            }
            rest = after;
        } else {
            let (one, after) = found.split_at(1);
            out.push_str(one);
            rest = after;
        }
    }
    if out.len() <= MAX_RENDERED_BYTES {
        out.push_str(rest);
    }
    out
}

/// Returns the text of a hole: `Name`, `@Name` or `$Name`, with `,ALIGNMENT` or `:FORMAT` behind it.
fn text_of<'p>(
    hole: &str,
    properties: &'p [(Cow<'_, str>, Value<'_>)],
    renderings: &mut impl Iterator<Item = String>,
) -> Option<Cow<'p, str>> {
    let end = hole.find([',', ':']).unwrap_or(hole.len());
    let name = hole.get(..end)?.trim_start_matches(['@', '$']);
    if name.is_empty() || name.contains(|character: char| character.is_whitespace() || character == '{') {
        return None;
    }
    if hole.contains(':')
        && let Some(text) = renderings.next()
    {
        return Some(Cow::Owned(text));
    }
    let (_, value) = properties.iter().rev().find(|(property, _)| property == name)?;
    Some(match value {
        Value::Text(text) => Cow::Borrowed(&**text),
        Value::Number(text) | Value::Other(text) => Cow::Borrowed(text),
    })
}

/// Returns the texts of a JSON list.
fn texts(list: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let read = Scanner::new(list).list(|scanner| {
        texts.extend(scanner.value()?.map(|value| value.into_text().into_owned()));
        Ok(())
    });
    read.map(|()| texts).unwrap_or_default()
}
