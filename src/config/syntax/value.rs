//! Deserializes the values of configuration files: scalars, lists, and objects with free names.
//!
//! All checks happen during deserialization, so that the error has the path of the value. Each
//! error says what was expected.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

/// A value that contains no other values.
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(u64),
    Negative(i64),
    Float(f64),
    Text(&'a str),
}

/// Deserializes a scalar and converts it by `read`.
///
/// If `read` returns `None`, the error contains the value and `expected`.
pub(crate) fn scalar<'de, D, T, F>(deserializer: D, expected: &str, read: F) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    F: FnOnce(Scalar<'_>) -> Option<T>,
{
    let found = read_scalar(deserializer, expected)?;
    read(found.scalar()).ok_or_else(|| found.invalid_value(expected))
}

/// Does the same as [`scalar`], but no error contains the value.
pub(crate) fn secret<'de, D, T, F>(deserializer: D, expected: &str, read: F) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    F: FnOnce(Scalar<'_>) -> Option<T>,
{
    let found = read_scalar(deserializer, expected)?;
    read(found.scalar()).ok_or_else(|| D::Error::custom(format_args!("invalid value, expected {expected}")))
}

/// Deserializes a string and converts it by `read`.
pub(crate) fn text<'de, D, T, F>(deserializer: D, expected: &str, read: F) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    F: FnOnce(&str) -> Option<T>,
{
    scalar(deserializer, expected, |value| match value {
        Scalar::Text(text) => read(text),
        _ => None,
    })
}

/// Deserializes `true` or `false`.
pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    scalar(deserializer, "true or false", |value| match value {
        Scalar::Bool(value) => Some(value),
        _ => None,
    })
}

/// Deserializes `true` or `false` for an option whose absence is not the same as `false`.
pub(crate) fn optional_boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    boolean(deserializer).map(Some)
}

/// Deserializes an integer in `range`. `what` names it in errors.
pub(crate) fn integer<'de, D, T>(
    deserializer: D,
    what: &str,
    range: RangeInclusive<u64>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let expected = match *range.end() {
        u64::MAX => format!("{what}, an integer from {}", range.start()),
        end => format!("{what}, an integer from {} to {end}", range.start()),
    };
    scalar(deserializer, &expected, |value| match value {
        Scalar::Integer(number) if range.contains(&number) => T::try_from(number).ok(),
        _ => None,
    })
}

/// Whether an option allows the duration 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    Allowed,
    Refused,
}

/// Deserializes a duration of at most `max` seconds, with or without a fraction.
pub(crate) fn seconds<'de, D>(deserializer: D, zero: Zero, max: u64) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let expected = match zero {
        Zero::Allowed => format!("seconds, a number from 0 to {max}"),
        Zero::Refused => format!("seconds, a number above 0, at most {max}"),
    };
    scalar(deserializer, &expected, |value| {
        let time = match value {
            Scalar::Integer(seconds) => Duration::from_secs(seconds),
            Scalar::Float(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
            _ => return None,
        };
        (time <= Duration::from_secs(max) && (zero == Zero::Allowed || !time.is_zero())).then_some(time)
    })
}

/// Parses the name of an HTTP header.
pub(crate) fn header_name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// A scalar that owns its text.
///
/// All options share this one visitor. With a visitor for each option, the compiler would generate
/// the whole parser once for each of them.
enum OwnedScalar {
    Null,
    Bool(bool),
    Integer(u64),
    Negative(i64),
    Float(f64),
    Text(String),
}

/// Deserializes any scalar.
#[inline(never)]
fn read_scalar<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<OwnedScalar, D::Error> {
    deserializer.deserialize_any(ScalarVisitor { expected })
}

impl OwnedScalar {
    fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Integer(value) => Scalar::Integer(*value),
            Self::Negative(value) => Scalar::Negative(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Text(text) => Scalar::Text(text),
        }
    }

    fn invalid_value<E: Error>(&self, expected: &str) -> E {
        let found = match self {
            Self::Null => Unexpected::Other("null"),
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Integer(value) => Unexpected::Unsigned(*value),
            Self::Negative(value) => Unexpected::Signed(*value),
            Self::Float(value) => Unexpected::Float(*value),
            Self::Text(text) => return E::invalid_value(Unexpected::Str(&clipped(text)), &expected),
        };
        E::invalid_value(found, &expected)
    }
}

struct ScalarVisitor<'e> {
    expected: &'e str,
}

/// Returns the first 60 characters of a text, enough to recognise it in an error.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Visitor<'_> for ScalarVisitor<'_> {
    type Value = OwnedScalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E: Error>(self) -> Result<OwnedScalar, E> {
        Ok(OwnedScalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<OwnedScalar, E> {
        Ok(OwnedScalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<OwnedScalar, E> {
        Ok(OwnedScalar::Integer(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<OwnedScalar, E> {
        Ok(u64::try_from(value).map_or(OwnedScalar::Negative(value), OwnedScalar::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<OwnedScalar, E> {
        Ok(OwnedScalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<OwnedScalar, E> {
        Ok(OwnedScalar::Text(value.to_owned()))
    }
}

/// Deserializes a struct from an object only. By itself, serde would also accept a list of its
/// values.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// Deserializes like [`Object`], without the wrapper.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A string value that can be an element of a list.
pub(crate) trait Element: Sized {
    /// Describes the valid strings, for errors.
    const EXPECTED: &'static str;

    /// Parses the string; `None` if it is invalid.
    fn read(text: &str) -> Option<Self>;
}

/// A list of elements.
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// One element, or a list of elements.
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<'de, T: Element> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor { one: false, of: PhantomData }).map(Self)
    }
}

impl<'de, T: Element> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor { one: true, of: PhantomData }).map(Self)
    }
}

struct ListVisitor<T> {
    one: bool,
    of: PhantomData<T>,
}

impl<'de, T: Element> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_one = if self.one { ", or one alone" } else { "" };
        write!(f, "a list, each {}{or_one}", T::EXPECTED)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<T>, E> {
        if !self.one {
            return Err(E::invalid_type(Unexpected::Str(&clipped(value)), &self));
        }
        ElementOf::deserialize(StrDeserializer::new(value)).map(|ElementOf(element)| vec![element])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(ElementOf(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

struct ElementOf<T>(T);

impl<'de, T: Element> Deserialize<'de> for ElementOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, T::EXPECTED, T::read).map(Self)
    }
}

/// The type of the names in an object with free names.
pub(crate) trait Name: Sized + PartialEq {
    /// Describes the valid names, for errors.
    const EXPECTED: &'static str;

    /// Parses the name; `None` if it is invalid.
    fn read(text: &str) -> Option<Self>;
}

impl Name for String {
    const EXPECTED: &'static str = "a name";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Name for HeaderName {
    const EXPECTED: &'static str = "the name of an HTTP header";

    fn read(text: &str) -> Option<Self> {
        header_name(text)
    }
}

/// The members of an object with free names, in file order.
pub(crate) struct Pairs<N, V>(pub(crate) Vec<(N, V)>);

impl<N, V> Default for Pairs<N, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, N: Name, V: Deserialize<'de>> Deserialize<'de> for Pairs<N, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<N, V>(PhantomData<(N, V)>);

impl<'de, N: Name, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<N, V> {
    type Value = Pairs<N, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object, each name {}", N::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            pairs.push(map.next_value_seed(PairSeed { name: &name, before: &pairs, of: PhantomData })?);
        }
        Ok(Pairs(pairs))
    }
}

/// Deserializes one member. The name is checked here and not before, so that the path of an error
/// contains it.
struct PairSeed<'a, N, V> {
    name: &'a str,
    before: &'a [(N, V)],
    of: PhantomData<V>,
}

impl<'de, N: Name, V: Deserialize<'de>> DeserializeSeed<'de> for PairSeed<'_, N, V> {
    type Value = (N, V);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(N, V), D::Error> {
        let name = N::read(self.name).ok_or_else(|| {
            D::Error::custom(format_args!("invalid name {:?}, expected {}", clipped(self.name), N::EXPECTED))
        })?;
        if self.before.iter().any(|(other, _)| *other == name) {
            return Err(D::Error::custom("this name occurs twice, expected it once"));
        }
        Ok((name, V::deserialize(deserializer)?))
    }
}

/// A string, a number or a boolean as text; `None` for null.
pub(crate) struct TextOrNull(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for TextOrNull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a string, a number, true, false or null", |value| match value {
            Scalar::Null => Some(Self(None)),
            value => as_text(&value).map(|text| Self(Some(text))),
        })
    }
}

/// A string, a number or a boolean as text.
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a string, a number, true or false", |value| as_text(&value).map(Self))
    }
}

/// The value of a header.
pub(crate) struct HeaderText(pub(crate) HeaderValue);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "the value of an HTTP header: printable ASCII, or a number", |value| {
            HeaderValue::try_from(as_text(&value)?).ok().filter(|value| value.to_str().is_ok()).map(Self)
        })
    }
}

fn as_text(value: &Scalar<'_>) -> Option<String> {
    match value {
        Scalar::Null => None,
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Integer(number) => Some(number.to_string()),
        Scalar::Negative(number) => Some(number.to_string()),
        // serde_json writes 1.0 with its fraction; Rust's own formatting would drop it.
        Scalar::Float(number) => serde_json::Number::from_f64(*number).map(|number| number.to_string()),
        Scalar::Text(text) => Some((*text).to_owned()),
    }
}
