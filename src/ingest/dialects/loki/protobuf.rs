//! Reads a push in protobuf (`logproto.PushRequest`) over borrowed bytes.
//!
//! The messages are read field by field and never as a whole: an empty entry has two bytes in the body and
//! would have a hundred in memory.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::streams::Streams;
use crate::ingest::error::IngestError;
use crate::ingest::json::object::Value;
use crate::record::SenderTime;

/// Why a push in protobuf cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum ProtobufError {
    /// The bytes are no message of the format.
    #[error("the body is no PushRequest in protobuf")]
    Malformed,
    /// The records cannot be stored.
    #[error(transparent)]
    Records(#[from] IngestError),
}

/// The value of a field, as far as the format needs it.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads the fields of a message.
fn fields<'a>(
    message: &'a [u8],
    mut field: impl FnMut(u32, Field<'a>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| ProtobufError::Malformed)?;
        let value = match wire_type {
            WireType::Varint => {
                Field::Number(decode_varint(&mut rest).map_err(|_| ProtobufError::Malformed)?)
            }
            WireType::LengthDelimited => {
                let len = decode_varint(&mut rest).map_err(|_| ProtobufError::Malformed)?;
                let len = usize::try_from(len).map_err(|_| ProtobufError::Malformed)?;
                let (bytes, behind) = rest.split_at_checked(len).ok_or(ProtobufError::Malformed)?;
                rest = behind;
                Field::Bytes(bytes)
            }
            other => {
                skip_field(other, tag, &mut rest, DecodeContext::default())
                    .map_err(|_| ProtobufError::Malformed)?;
                Field::Other
            }
        };
        field(tag, value)?;
    }
    Ok(())
}

/// Reads all streams of a `PushRequest`.
///
/// # Errors
/// Fails for bytes that are no such message, for too many records, and when the memory is used up.
pub(super) fn read<'a>(bytes: &'a [u8], streams: &mut Streams<'a, '_>) -> Result<(), ProtobufError> {
    fields(bytes, |tag, value| match (tag, value) {
        (1, Field::Bytes(bytes)) => stream(bytes, streams),
        _ => Ok(()),
    })
}

/// Reads a `StreamAdapter`. Its labels may stand behind its entries.
fn stream<'a>(bytes: &'a [u8], streams: &mut Streams<'a, '_>) -> Result<(), ProtobufError> {
    streams.begin();
    fields(bytes, |tag, value| {
        if let (1, Field::Bytes(bytes)) = (tag, value) {
            let labels = String::from_utf8_lossy(bytes);
            if matches!(labels, Cow::Owned(_)) {
                streams.mark_labels_repaired();
            }
            streams.labels_of(labels);
        }
        Ok(())
    })?;
    streams.end_labels();
    fields(bytes, |tag, value| match (tag, value) {
        (2, Field::Bytes(bytes)) => entry(bytes, streams),
        _ => Ok(()),
    })
}

/// Reads an `EntryAdapter`.
fn entry<'a>(bytes: &'a [u8], streams: &mut Streams<'a, '_>) -> Result<(), ProtobufError> {
    let (mut time, mut line, mut is_repaired) = (None, Cow::Borrowed(""), false);
    let mut text_of = |bytes: &'a [u8]| {
        let text = String::from_utf8_lossy(bytes);
        is_repaired |= matches!(text, Cow::Owned(_));
        text
    };
    fields(bytes, |tag, value| {
        match (tag, value) {
            (1, Field::Bytes(bytes)) => time = timestamp(bytes)?,
            (2, Field::Bytes(bytes)) => line = text_of(bytes),
            (3, Field::Bytes(bytes)) => {
                let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
                fields(bytes, |tag, field| {
                    match (tag, field) {
                        (1, Field::Bytes(bytes)) => name = text_of(bytes),
                        (2, Field::Bytes(bytes)) => value = text_of(bytes),
                        _ => {}
                    }
                    Ok(())
                })?;
                streams.add_metadata(name, Value::Text(value));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(streams.line(time, line, is_repaired)?)
}

/// Reads a `google.protobuf.Timestamp`. One without any digit is no time.
fn timestamp(bytes: &[u8]) -> Result<Option<SenderTime>, ProtobufError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    fields(bytes, |tag, value| {
        match (tag, value) {
            (1, Field::Number(number)) => seconds = number.cast_signed(),
            (2, Field::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
        Ok(())
    })?;
    if (seconds, nanos) == (0, 0) {
        return Ok(None);
    }
    let micros =
        seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(nanos.div_euclid(1_000)));
    Ok(micros.and_then(SenderTime::from_micros))
}
