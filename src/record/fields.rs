//! The fields of an entry: rules for their names, and limits.
//!
//! A name or value of a sender can never end its field, the fields or the line: names keep no
//! character that means something in a line, and values are quoted and escaped when they are
//! written.

use std::borrow::Cow;

use super::logfmt::{MAX_NAME_CHARS, is_name, is_name_char, written_len};

/// Maximum number of fields that a sender can give to one record.
pub const MAX_SENDER_FIELDS: usize = 128;

/// Maximum length of the sender's fields of one record, in bytes of a text line.
pub const MAX_FIELDS_BYTES: usize = 64 * 1024;

/// The names of the server's own fields, in lines and in answers.
const OWN_NAMES: [&str; 6] = ["at", "level", "cut", "utf8", "parse", "fields_dropped"];

/// A field that the server adds to a record. The sender's time, `at`, is a part of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnField {
    /// `level`: the level as the sender gave it, when it is not one of the five.
    Level,
    /// `cut`: the number of characters of a message that was cut.
    Cut,
    /// `utf8`: bytes that are not UTF-8 were replaced.
    Utf8,
    /// `parse`: a text that was announced as JSON is none.
    Parse,
    /// `fields_dropped`: the number of fields that were left out.
    FieldsDropped,
}

impl OwnField {
    /// Returns the name in lines and in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Cut => "cut",
            Self::Utf8 => "utf8",
            Self::Parse => "parse",
            Self::FieldsDropped => "fields_dropped",
        }
    }
}

/// A named value of a record. The name keeps the rules of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Field<'a> {
    /// Returns a field of the server.
    #[must_use]
    pub fn own(field: OwnField, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name: Cow::Borrowed(field.name()), value: value.into() }
    }

    /// Returns a field of a sender. The name is cut at [`MAX_NAME_CHARS`]. White space, control
    /// characters, `=`, `"`, `\` and `|` in it become `_`, and so does an empty name. A name of the
    /// server's own fields gets a `_` in front.
    #[must_use]
    pub fn of_sender(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name: sender_name(name.into()), value: value.into() }
    }

    /// Returns a field of a parsed line.
    #[cfg(any(fuzzing, test))]
    pub(super) fn of_line(name: &'a str, value: Cow<'a, str>) -> Self {
        Self { name: Cow::Borrowed(name), value }
    }

    /// Returns the field with copies of its texts.
    #[must_use]
    pub fn into_owned(self) -> Field<'static> {
        Field { name: Cow::Owned(self.name.into_owned()), value: Cow::Owned(self.value.into_owned()) }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

fn sender_name(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.is_empty() {
        return Cow::Borrowed("_");
    }
    if OWN_NAMES.contains(&&*name) {
        return Cow::Owned(format!("_{name}"));
    }
    if is_name(&name) {
        return name;
    }
    let kept = |character| if is_name_char(character) { character } else { '_' };
    Cow::Owned(name.chars().take(MAX_NAME_CHARS).map(kept).collect())
}

/// Appends the fields of one entry to a list that the entries of a batch share, and keeps their
/// limits.
///
/// The shared list saves an allocation for each record with fields.
#[derive(Debug)]
pub struct FieldsBuilder<'l, 'a> {
    list: &'l mut Vec<Field<'a>>,
    /// The index of the first field of this entry.
    start: usize,
    /// Number of the sender's fields in the list.
    count: usize,
    /// Length of the sender's fields in a text line. At least that, while not `is_exact`.
    text_bytes: usize,
    is_exact: bool,
    left_out: usize,
}

impl<'l, 'a> FieldsBuilder<'l, 'a> {
    /// Begins the fields of an entry at the end of `list`.
    pub fn new(list: &'l mut Vec<Field<'a>>) -> Self {
        let start = list.len();
        Self { list, start, count: 0, text_bytes: 0, is_exact: false, left_out: 0 }
    }

    /// Adds a field of the server. The caller adds each of them at most once.
    pub fn push_own(&mut self, field: OwnField, value: impl Into<Cow<'a, str>>) {
        self.list.push(Field::own(field, value));
    }

    /// Adds a field of the sender, as [`Field::of_sender`] makes it. It replaces an earlier field of
    /// the same name. A field past the limits is left out and counted.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let field = Field::of_sender(name, value);
        let earlier = self.fields().iter().position(|earlier| earlier.name == field.name);
        if let Some(earlier) = earlier {
            let earlier = self.list.remove(self.start + earlier);
            self.count -= 1;
            self.text_bytes -= if self.is_exact { text_len(&earlier) } else { max_text_len(&earlier) };
        }
        if self.count < MAX_SENDER_FIELDS && self.fits(&field) {
            self.count += 1;
            self.list.push(field);
        } else {
            self.left_out += 1;
        }
    }

    /// Counts fields of the sender that were left out before they came here.
    pub fn left_out(&mut self, count: usize) {
        self.left_out += count;
    }

    /// Ends the fields of the entry. Adds `fields_dropped` if any were left out. Returns the index
    /// behind the last field, and the number of fields that were left out.
    pub fn finish(mut self) -> (usize, usize) {
        if self.left_out > 0 {
            self.push_own(OwnField::FieldsDropped, self.left_out.to_string());
        }
        (self.list.len(), self.left_out)
    }

    fn fields(&self) -> &[Field<'a>] {
        self.list.get(self.start..).unwrap_or_default()
    }

    /// Reports whether the text of the field fits, and counts it if so.
    fn fits(&mut self, field: &Field<'_>) -> bool {
        if !self.is_exact {
            // The exact length needs a look at each character. It is needed near the limit only.
            let most = self.text_bytes + max_text_len(field);
            if most <= MAX_FIELDS_BYTES {
                self.text_bytes = most;
                return true;
            }
            let of_sender = self.fields().iter().filter(|field| !OWN_NAMES.contains(&field.name()));
            self.text_bytes = of_sender.map(text_len).sum();
            self.is_exact = true;
        }
        let exact = self.text_bytes + text_len(field);
        let fits = exact <= MAX_FIELDS_BYTES;
        if fits {
            self.text_bytes = exact;
        }
        fits
    }
}

/// Returns the length of a field in a text line, with the space before it.
fn text_len(field: &Field<'_>) -> usize {
    2 + field.name.len() + written_len(&field.value)
}

/// Returns an upper limit of [`text_len`]: no byte of a value takes more than six bytes.
fn max_text_len(field: &Field<'_>) -> usize {
    field.name.len() + 6 * field.value.len() + 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn built<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
        let mut list = vec![Field::of_sender("earlier", "entry")];
        let mut builder = FieldsBuilder::new(&mut list);
        for (name, value) in fields {
            builder.push(*name, *value);
        }
        let (end, _) = builder.finish();
        assert_eq!(end, list.len());
        list.drain(1..).map(|field| (field.name.into_owned(), field.value.into_owned())).collect()
    }

    #[test]
    fn names_of_senders_lose_what_means_something_in_a_line() {
        for (sent, name) in [
            ("user", "user"),
            ("http.request.method", "http.request.method"),
            ("größe", "größe"),
            ("", "_"),
            ("a b\tc", "a_b_c"),
            ("a=b\"c\\d|e\nf\u{85}g\u{2028}h\u{3000}i", "a_b_c_d_e_f_g_h_i"),
            ("at", "_at"),
            ("level", "_level"),
            ("fields_dropped", "_fields_dropped"),
            ("Level", "Level"),
            ("_at", "_at"),
        ] {
            assert_eq!(Field::of_sender(sent, "").name(), name, "{sent:?}");
        }
        let long = "é".repeat(MAX_NAME_CHARS + 1);
        assert_eq!(Field::of_sender(&*long, "").name(), "é".repeat(MAX_NAME_CHARS));
        assert_eq!(Field::of_sender(&long[..2 * MAX_NAME_CHARS], "").name(), &long[..2 * MAX_NAME_CHARS]);
    }

    #[test]
    fn last_of_two_fields_of_one_name_is_kept() {
        let fields = built(&[("a", "1"), ("b c", "2"), ("a", "3"), ("b=c", "4")]);
        assert_eq!(fields, [("a".into(), "3".into()), ("b_c".into(), "4".into())]);
    }

    #[test]
    fn fields_past_the_number_are_left_out_and_counted() {
        let names: Vec<String> = (0..MAX_SENDER_FIELDS + 2).map(|n| format!("n{n}")).collect();
        let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let kept = built(&fields[..MAX_SENDER_FIELDS]);
        assert_eq!(kept.len(), MAX_SENDER_FIELDS);
        let cut = built(&fields);
        assert_eq!(cut[..MAX_SENDER_FIELDS], kept);
        assert_eq!(cut[MAX_SENDER_FIELDS..], [("fields_dropped".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn whole_fields_past_the_length_are_left_out() {
        let half = "x".repeat(MAX_FIELDS_BYTES / 2);
        // A space separates the fields: `a=x…` and `b=x…` are exactly as long as the limit.
        let exact = &half[4..];
        assert_eq!(built(&[("a", &half[..half.len() - 2]), ("b", exact)]).len(), 2);
        let kept = built(&[("a", &half), ("b", exact), ("c", "fits")]);
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "c", "fields_dropped"]);
        let escaped = "\u{1}".repeat(MAX_FIELDS_BYTES / 5);
        assert_eq!(built(&[("a", &escaped)]), [("fields_dropped".to_owned(), "1".to_owned())]);
    }

    proptest! {
        #[test]
        fn sender_cannot_set_a_field_of_the_server(fields in prop::collection::vec(("(at|level|cut|utf8|parse|fields_dropped|_|a| |.){1,2}", ".{0,3}"), 0..20)) {
            let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let built = built(&pairs);
            for (name, _) in &built {
                prop_assert!(!OWN_NAMES.contains(&name.as_str()), "{name}");
                prop_assert_eq!(built.iter().filter(|(other, _)| other == name).count(), 1);
                let again = Field::of_sender(name.as_str(), "");
                prop_assert_eq!(again.name(), name.as_str());
            }
        }
    }
}
