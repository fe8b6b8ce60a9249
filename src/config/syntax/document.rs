//! Parses the text of one configuration file into a type, with a position for each error and each
//! unknown option.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::finding::{Finding, near_miss};
use super::formats::{Json, Syntax, Toml, without_position};
use super::jsonc;
use super::step::{Step, display, steps_of_error};

/// A configuration file with valid syntax.
pub(crate) struct Document<'t, S> {
    /// The name of the file.
    pub(crate) file: &'static str,
    /// The text as written, without a byte order mark.
    source: &'t str,
    /// The text for the parser. Each byte has the same position as in `source`.
    text: String,
    syntax: PhantomData<S>,
}

/// The options that a file may contain.
pub(crate) struct KnownOptions {
    /// Returns the options that are known in the object that contains the option at this path.
    pub(crate) siblings: fn(&[Step]) -> &'static [&'static str],
    /// Options that are accepted without any effect, each with the reason.
    pub(crate) ignored: &'static [(&'static str, &'static str)],
}

impl<'t> Document<'t, Json> {
    /// Checks the syntax of a JSON file. Comments and trailing commas are allowed.
    ///
    /// # Errors
    /// Fails if the text is empty, is not valid JSON, or names an option twice.
    pub(crate) fn json(file: &'static str, source: &'t str) -> Result<Self, Finding> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let document = Self { file, source, text: jsonc::blank(source), syntax: PhantomData };
        if document.text.trim().is_empty() {
            return Err(
                Finding::of_file(file, "the file is empty").with_remedy("write JSON, or remove the file")
            );
        }
        document.check_json_syntax()?;
        Ok(document)
    }

    /// Checks that the text is one well-formed value without duplicate names.
    fn check_json_syntax(&self) -> Result<(), Finding> {
        let mut json = serde_json::Deserializer::from_str(&self.text);
        let mut track = serde_path_to_error::Track::new();
        let checked =
            NoDuplicates::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
        checked.and_then(|NoDuplicates| json.end()).map_err(|error| {
            let line_start = match error.line() {
                0 | 1 => 0,
                line => self.text.match_indices('\n').nth(line - 2).map_or(0, |(newline, _)| newline + 1),
            };
            let mut offset = (line_start + error.column().saturating_sub(1)).min(self.text.len());
            while !self.source.is_char_boundary(offset) {
                offset -= 1;
            }
            let what = if error.is_data() { "" } else { "not valid JSON: " };
            let message = format!("{what}{}", without_position(&error.to_string()));
            let path = display(&steps_of_error(&track.path()));
            Finding::of_option(self.file, path, message).at(self.source, offset)
        })
    }
}

impl<'t> Document<'t, Toml> {
    /// Checks the syntax of a TOML file.
    ///
    /// # Errors
    /// Fails if the text is not valid TOML.
    pub(crate) fn toml(file: &'static str, source: &'t str) -> Result<Self, Finding> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        match toml::de::DeTable::parse(source) {
            Ok(_) => Ok(Self { file, source, text: source.to_owned(), syntax: PhantomData }),
            Err(error) => {
                let finding = Finding::of_file(file, format!("not valid TOML: {}", error.message()));
                Err(finding.at(source, error.span().map_or(0, |span| span.start)))
            }
        }
    }
}

impl<S: Syntax> Document<'_, S> {
    /// Deserializes the document, and adds a warning for each unknown option and each option
    /// without effect.
    ///
    /// # Errors
    /// Returns the first invalid value.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        known_options: &KnownOptions,
        warnings: &mut Vec<Finding>,
    ) -> Result<T, Finding> {
        let mut unknown = Vec::new();
        let read = S::read(&self.text, |path| unknown.push(path));
        let value = read.map_err(|(path, message)| {
            self.finding(&path, message.replace("missing field", "missing option"))
        })?;
        for path in unknown.iter().take(MAX_UNKNOWN_OPTIONS_LISTED) {
            warnings.push(self.unknown(path, known_options));
        }
        if let Some(more) = unknown.len().checked_sub(MAX_UNKNOWN_OPTIONS_LISTED + 1) {
            let message = format!("{} more unknown options, ignored", more + 1);
            warnings.push(Finding::of_file(self.file, message));
        }
        for (option, why) in known_options.ignored {
            let path = [Step::Name((*option).to_owned())];
            let known = (known_options.siblings)(&path).contains(option);
            if known && S::offset(&self.text, &path).is_some() {
                warnings.push(self.finding(&path, (*why).to_owned()));
            }
        }
        Ok(value)
    }

    /// Creates a finding about the value at `path`, with its position.
    pub(crate) fn finding(&self, path: &[Step], message: impl Into<String>) -> Finding {
        let finding = Finding::of_option(self.file, display(path), message);
        match S::offset(&self.text, path) {
            Some(offset) => finding.at(self.source, offset),
            None => finding,
        }
    }

    fn unknown(&self, path: &[Step], known_options: &KnownOptions) -> Finding {
        let Some(Step::Name(name)) = path.last() else { return self.finding(path, "this is not used") };
        if let Some((_, why)) = known_options.ignored.iter().find(|(option, _)| option == name) {
            return self.finding(path, *why);
        }
        let known = (known_options.siblings)(path);
        let finding = self.finding(path, "unknown option, ignored");
        match known.iter().find(|option| option.eq_ignore_ascii_case(name)) {
            Some(option) => finding.with_remedy(format!("options are written in lower case: `{option}`")),
            None => match near_miss(name, known) {
                Some(option) => finding.with_remedy(format!("did you mean `{option}`?")),
                None => finding,
            },
        }
    }
}

/// Number of unknown options of a file that get a separate warning.
///
/// For each of them the text is parsed again, so a file of thousands of unknown options would take
/// minutes without this limit.
const MAX_UNKNOWN_OPTIONS_LISTED: usize = 100;

/// Returns the names of the fields that the struct `T` deserializes.
pub(crate) fn options_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The probe notes the names and then always fails.
    let _refused = T::deserialize(FieldProbe(&mut names)).is_err();
    names
}

/// Deserializes from any JSON value in which no object names a member twice.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("`{name}` occurs twice, expected it once")));
            }
            names.insert(name);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// A deserializer that notes the fields of a struct and then fails.
struct FieldProbe<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldProbe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("a probe holds nothing"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
