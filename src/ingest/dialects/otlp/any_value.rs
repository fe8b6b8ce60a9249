//! A value of OTLP: a text, a number, a list, or named values. The values inside of a list stay encoded
//! until they are needed.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::wire::{Fields, Malformed, Wire};
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{self, Scanner};

/// Maximum depth of values inside of each other. Libraries of protobuf read as many.
const MAX_DEPTH: usize = 100;

/// Maximum depth of the named values that become fields of their own. Deeper ones stay JSON text.
const MAX_FLAT_DEPTH: usize = 8;

/// Maximum length of the part of a field's name before the last dot, in bytes.
const MAX_PREFIX_BYTES: usize = 1024;

/// A value.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum AnyValue<'a> {
    /// No value.
    #[default]
    Null,
    /// A string, or bytes as Base64.
    Text(Cow<'a, str>),
    /// A number, as its JSON text.
    Number(Cow<'a, str>),
    /// A boolean.
    Bool(bool),
    /// An array.
    Array(Encoded<'a>),
    /// Named values.
    Named(Encoded<'a>),
}

/// The values of an array, or named values, as they were sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Encoded<'a> {
    /// The message `ArrayValue` or `KeyValueList`.
    Wire(&'a [u8]),
    /// The same message as JSON.
    Json(&'a str),
}

/// Returns the text of bytes, with U+FFFD for those that are no UTF-8. `is_repaired` says so then.
pub(super) fn text_of<'a>(bytes: &'a [u8], is_repaired: &mut bool) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            *is_repaired = true;
            String::from_utf8_lossy(bytes)
        }
    }
}

impl<'a> AnyValue<'a> {
    /// Reads the message `AnyValue`.
    pub(super) fn of_wire(message: &'a [u8], is_repaired: &mut bool) -> Result<Self, Malformed> {
        let mut fields = Fields::new(message);
        let mut value = Self::Null;
        while let Some(field) = fields.read()? {
            // Of several values, the last one counts.
            value = match field {
                (1, Wire::Bytes(text)) => Self::Text(text_of(text, is_repaired)),
                (2, Wire::Varint(number)) => Self::Bool(number != 0),
                (3, Wire::Varint(number)) => {
                    let mut digits = itoa::Buffer::new();
                    Self::Number(Cow::Owned(digits.format(number.cast_signed()).to_owned()))
                }
                (4, Wire::Fixed64(bits)) => Self::of_float(f64::from_bits(bits)),
                (5, Wire::Bytes(array)) => Self::Array(Encoded::Wire(array)),
                (6, Wire::Bytes(list)) => Self::Named(Encoded::Wire(list)),
                (7, Wire::Bytes(bytes)) => Self::Text(Cow::Owned(BASE64.encode(bytes))),
                _ => value,
            };
        }
        Ok(value)
    }

    /// Reads the JSON of an `AnyValue`. A bare string, number or boolean is read as well.
    pub(super) fn of_json(scanner: &mut Scanner<'a>) -> Result<Self, Malformed> {
        if scanner.peek() != Some(b'{') {
            let value = scanner.value().map_err(|_| Malformed)?;
            return Ok(match value {
                None => Self::Null,
                Some(Value::Text(text)) => Self::Text(text),
                Some(Value::Number(text)) => Self::Number(Cow::Borrowed(text)),
                Some(Value::Other("true")) => Self::Bool(true),
                Some(Value::Other("false")) => Self::Bool(false),
                Some(Value::Other(json)) => Self::Text(Cow::Borrowed(json)),
            });
        }
        let mut value = Self::Null;
        let read = scanner.object(|scanner, name| {
            let is_nested = matches!(&*name, "arrayValue" | "array_value" | "kvlistValue" | "kvlist_value");
            if is_nested && scanner.peek() == Some(b'{') {
                let json = Encoded::Json(scanner.raw()?.get());
                value = if name.starts_with('a') { Self::Array(json) } else { Self::Named(json) };
                return Ok(());
            }
            let Some(sent) = scanner.value()? else { return Ok(()) };
            value = match (&*name, sent) {
                ("stringValue" | "string_value" | "bytesValue" | "bytes_value", sent) => {
                    Self::Text(sent.into_text())
                }
                ("boolValue" | "bool_value", sent) => Self::Bool(sent.into_text() == "true"),
                ("intValue" | "int_value" | "doubleValue" | "double_value", sent) => {
                    Self::of_number(sent.into_text())
                }
                _ => std::mem::take(&mut value),
            };
            Ok(())
        });
        read.map(|()| value).map_err(|_| Malformed)
    }

    fn of_float(number: f64) -> Self {
        match serde_json::Number::from_f64(number) {
            Some(number) => Self::Number(Cow::Owned(number.to_string())),
            None if number.is_nan() => Self::Text(Cow::Borrowed("NaN")),
            None => Self::Text(Cow::Borrowed(if number > 0.0 { "Infinity" } else { "-Infinity" })),
        }
    }

    /// Returns a number of JSON, which may be a string.
    fn of_number(text: Cow<'a, str>) -> Self {
        let is_number = serde_json::from_str::<serde_json::Number>(&text).is_ok();
        if is_number { Self::Number(text) } else { Self::Text(text) }
    }

    /// Returns the text of a message: a string as it is, else its JSON. `None` for no value.
    pub(super) fn into_message(self, is_repaired: &mut bool) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::Text(text) | Self::Number(text) => text,
            Self::Bool(is_true) => Cow::Borrowed(if is_true { "true" } else { "false" }),
            Self::Array(_) | Self::Named(_) => Cow::Owned(self.json(is_repaired)?),
        }))
    }

    /// Returns the JSON of the value.
    pub(super) fn json(&self, is_repaired: &mut bool) -> Result<String, Malformed> {
        let mut json = String::new();
        self.write_json(&mut json, 0, is_repaired)?;
        Ok(json)
    }

    fn write_json(&self, json: &mut String, depth: usize, is_repaired: &mut bool) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        match self {
            Self::Null => json.push_str("null"),
            Self::Text(text) => push_string(json, text),
            Self::Number(text) => json.push_str(text),
            Self::Bool(is_true) => json.push_str(if *is_true { "true" } else { "false" }),
            Self::Array(array) => {
                json.push('[');
                let mut is_first = true;
                array.elements(is_repaired, &mut |_, value, is_repaired| {
                    if !std::mem::take(&mut is_first) {
                        json.push(',');
                    }
                    value.write_json(json, depth + 1, is_repaired)
                })?;
                json.push(']');
            }
            Self::Named(list) => {
                json.push('{');
                let mut is_first = true;
                list.members(is_repaired, &mut |name, value, is_repaired| {
                    if !std::mem::take(&mut is_first) {
                        json.push(',');
                    }
                    push_string(json, &name);
                    json.push(':');
                    value.write_json(json, depth + 1, is_repaired)
                })?;
                json.push('}');
            }
        }
        Ok(())
    }

    /// Adds the value to a list of fields. Named values become fields with dotted names.
    #[inline]
    pub(super) fn flatten(
        self,
        name: Cow<'a, str>,
        fields: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
        is_repaired: &mut bool,
    ) -> Result<(), Malformed> {
        match self {
            Self::Text(text) | Self::Number(text) => fields.push((name, text)),
            value => value.flatten_at(name, fields, 1, is_repaired)?,
        }
        Ok(())
    }

    fn flatten_at(
        self,
        name: Cow<'a, str>,
        fields: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
        depth: usize,
        is_repaired: &mut bool,
    ) -> Result<(), Malformed> {
        if let Self::Named(list) = &self
            && depth < MAX_FLAT_DEPTH
        {
            let prefix = shortened(&name);
            let mut has_values = false;
            list.members(is_repaired, &mut |inner, value, is_repaired| {
                has_values = true;
                value.flatten_at(Cow::Owned(format!("{prefix}.{inner}")), fields, depth + 1, is_repaired)
            })?;
            if has_values {
                return Ok(());
            }
        }
        if let Some(text) = self.into_message(is_repaired)? {
            fields.push((name, text));
        }
        Ok(())
    }
}

/// Receives the name and the value of each inner value. Names are empty in an array.
type EachValue<'f, 'a> = dyn FnMut(Cow<'a, str>, AnyValue<'a>, &mut bool) -> Result<(), Malformed> + 'f;

impl<'a> Encoded<'a> {
    /// Returns the length of the message.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Wire(message) => message.len(),
            Self::Json(json) => json.len(),
        }
    }

    /// Reads the elements of an array one by one.
    fn elements(&self, is_repaired: &mut bool, each: &mut EachValue<'_, 'a>) -> Result<(), Malformed> {
        match self {
            Self::Wire(message) => {
                let mut fields = Fields::new(message);
                while let Some(field) = fields.read()? {
                    if let (1, Wire::Bytes(value)) = field {
                        let value = AnyValue::of_wire(value, is_repaired)?;
                        each(Cow::Borrowed(""), value, is_repaired)?;
                    }
                }
                Ok(())
            }
            Self::Json(json) => values_of_json(json, &mut |scanner| {
                let value = AnyValue::of_json(scanner)?;
                each(Cow::Borrowed(""), value, is_repaired)
            }),
        }
    }

    /// Reads named values one by one.
    fn members(&self, is_repaired: &mut bool, each: &mut EachValue<'_, 'a>) -> Result<(), Malformed> {
        match self {
            Self::Wire(message) => {
                let mut fields = Fields::new(message);
                while let Some(field) = fields.read()? {
                    if let (1, Wire::Bytes(member)) = field {
                        let (name, value) = member_of_wire(member, is_repaired)?;
                        each(name, value, is_repaired)?;
                    }
                }
                Ok(())
            }
            Self::Json(json) => values_of_json(json, &mut |scanner| {
                let Some((name, value)) = member_of_json(scanner)? else { return Ok(()) };
                each(name, value, is_repaired)
            }),
        }
    }
}

/// Reads the message `KeyValue`.
#[inline]
pub(super) fn member_of_wire<'a>(
    message: &'a [u8],
    is_repaired: &mut bool,
) -> Result<(Cow<'a, str>, AnyValue<'a>), Malformed> {
    let (mut name, mut value) = (Cow::Borrowed(""), AnyValue::Null);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field {
            (1, Wire::Bytes(text)) => name = text_of(text, is_repaired),
            (2, Wire::Bytes(message)) => value = AnyValue::of_wire(message, is_repaired)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Reads the JSON of a `KeyValue`. `None` for a value that is no object.
pub(super) fn member_of_json<'a>(
    scanner: &mut Scanner<'a>,
) -> Result<Option<(Cow<'a, str>, AnyValue<'a>)>, Malformed> {
    if scanner.peek() != Some(b'{') {
        return scanner.raw().map(|_| None).map_err(|_| Malformed);
    }
    let (mut name, mut value) = (Cow::Borrowed(""), AnyValue::Null);
    let read = scanner.object(|scanner, member| {
        match &*member {
            "key" => name = scanner.value()?.map(Value::into_text).unwrap_or_default(),
            "value" => value = AnyValue::of_json(scanner).map_err(|_| scanner::Malformed)?,
            _ => drop(scanner.raw()?),
        }
        Ok(())
    });
    read.map(|()| Some((name, value))).map_err(|_| Malformed)
}

/// Reads the list `values` of an object.
fn values_of_json<'a>(
    json: &'a str,
    each: &mut dyn FnMut(&mut Scanner<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let read = Scanner::new(json).object(|scanner, name| {
        if name != "values" || scanner.peek() != Some(b'[') {
            return scanner.raw().map(drop);
        }
        scanner.list(|scanner| each(scanner).map_err(|_| scanner::Malformed))
    });
    read.map_err(|_| Malformed)
}

/// Adds a JSON string.
fn push_string(json: &mut String, text: &str) {
    // A text is always valid as JSON.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Returns the beginning of a name that further names follow.
fn shortened(name: &str) -> &str {
    let end = (0..=MAX_PREFIX_BYTES.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}
