//! Derives from a selection a few texts of which each admitted record has at least one in its lines.
//! A search for them over a whole block is much faster than reading its records one by one.

use memchr::memmem::Finder;

use crate::record::{LineFormat, escaped_message, escaped_value};
use crate::store::Selection;
use crate::store::pattern::{Literals, search_speed};

/// Returns texts of which each record, or line, that `selection` admits has at least one in its
/// lines. Empty: such texts are not known.
pub(super) fn needles(selection: &Selection) -> Vec<Finder<'static>> {
    let of_texts = selection.contains.iter().filter_map(|text| forms([text.as_bytes()]));
    let of_regex =
        selection.regex.iter().filter_map(|pattern| forms(pattern.literals()?.iter().map(Vec::as_slice)));
    let best = of_texts.chain(of_regex).max_by_key(search_speed);
    best.iter().flatten().map(|needle| Finder::new(needle).into_owned()).collect()
}

/// Returns the forms that the texts may have in a line. `None`: no part of a text has known forms.
fn forms<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> Option<Literals> {
    let mut all = Literals::new();
    for text in texts {
        // The last character may be cut.
        let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        // A backslash has two forms in text lines: one that separates no fields is not escaped. The
        // other character stands for bytes that are not UTF-8.
        let longest = text.split(['\\', char::REPLACEMENT_CHARACTER]).max_by_key(|piece| piece.len())?;
        all.extend([longest.as_bytes().to_vec(), escaped_value(longest)]);
        all.extend([LineFormat::Text, LineFormat::Json].map(|format| escaped_message(longest, format)));
    }
    all.iter().all(|form| !form.is_empty()).then_some(all)
}
