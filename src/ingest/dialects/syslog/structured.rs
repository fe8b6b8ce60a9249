//! Structured data (RFC 5424, section 6.3): `[id name="value" …][…]`.

/// A parameter of an element. `name` is empty for an element without parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Param<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    /// The value, still escaped.
    pub(super) value: &'a str,
}

/// Returns the structured data at the start of `text`, and the text behind it. `None` when there is none,
/// or it is malformed.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('-') {
        return is_end(rest).then_some(("", rest));
    }
    let mut rest = text;
    while rest.starts_with('[') {
        let mut element = Element::begin(rest)?;
        while element.next_param()?.is_some() {}
        rest = element.rest;
    }
    let len = text.len() - rest.len();
    (len > 0 && is_end(rest)).then(|| text.split_at(len))
}

/// Returns whether nothing or a space follows the structured data.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

/// Returns the parameters of structured data that [`split`] has found.
pub(super) fn params(data: &str) -> impl Iterator<Item = Param<'_>> {
    let mut rest = data;
    let mut element: Option<Element<'_>> = None;
    std::iter::from_fn(move || {
        loop {
            if element.is_none() {
                element = Some(Element::begin(rest)?);
            }
            let current = element.as_mut()?;
            match current.next_param()? {
                Some((name, value)) => return Some(Param { id: current.id, name, value }),
                None => {
                    let (id, count) = (current.id, current.count);
                    rest = current.rest;
                    element = None;
                    if count == 0 {
                        return Some(Param { id, name: "", value: "" });
                    }
                }
            }
        }
    })
}

/// An element that is being read.
struct Element<'a> {
    id: &'a str,
    /// The text behind what was read.
    rest: &'a str,
    /// Number of parameters that were read.
    count: usize,
}

impl<'a> Element<'a> {
    /// Begins the element at the start of `text`.
    fn begin(text: &'a str) -> Option<Self> {
        let (id, rest) = name(text.strip_prefix('[')?)?;
        Some(Self { id, rest, count: 0 })
    }

    /// Returns the next parameter, or `Some(None)` behind the end of the element. `None` when the element
    /// is malformed.
    fn next_param(&mut self) -> Option<Option<(&'a str, &'a str)>> {
        let text = self.rest.trim_start_matches(' ');
        if let Some(rest) = text.strip_prefix(']') {
            self.rest = rest;
            return Some(None);
        }
        let (name, rest) = name(text)?;
        let rest = rest.strip_prefix("=\"")?;
        let mut is_escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        self.rest = rest.get(end + 1..)?;
        self.count += 1;
        Some(Some((name, rest.get(..end)?)))
    }
}

/// Splits the name of an element or of a parameter off.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| matches!(byte, b' ' | b'=' | b']' | b'"' | b'['))?;
    (end > 0).then(|| text.split_at(end))
}
