//! The protobuf messages of OTLP: the answers as structs, and a reader of requests.
//!
//! A request is read field by field and borrows from the body. Its messages are structs in tests only:
//! a body of empty records would take a hundred times its size as structs, and each of their strings
//! would be copied once more.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A body that is not the announced message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    /// A number of variable length.
    Varint(u64),
    /// A number of eight bytes.
    Fixed64(u64),
    /// A string, bytes, or a message.
    Bytes(&'a [u8]),
    /// A field of another type, whose value means nothing here.
    Other,
}

/// Reads the fields of one message, in the order in which they were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins with the first field.
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Reads the next field: its number and its value.
    ///
    /// # Errors
    /// Fails when the bytes are no field.
    #[inline]
    pub(super) fn read(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = decode_key(&mut self.rest).map_err(|_| Malformed)?;
        let value = match wire_type {
            WireType::LengthDelimited => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| Malformed)?;
                Wire::Bytes(self.split(len)?)
            }
            WireType::Varint => Wire::Varint(self.varint()?),
            WireType::SixtyFourBit => {
                let bytes = self.split(8)?.first_chunk().ok_or(Malformed)?;
                Wire::Fixed64(u64::from_le_bytes(*bytes))
            }
            _ => {
                skip_field(wire_type, number, &mut self.rest, DecodeContext::default())
                    .map_err(|_| Malformed)?;
                Wire::Other
            }
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        decode_varint(&mut self.rest).map_err(|_| Malformed)
    }

    fn split(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (value, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(value)
    }
}

/// `google.rpc.Status`: why a request failed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    /// The code of gRPC.
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    /// The explanation.
    #[prost(string, tag = "2")]
    pub(super) message: String,
    /// Further messages.
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`: a message of a named type.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    /// The name of the type.
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`: when to send the request again.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    /// The time to wait.
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Duration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    /// Nanoseconds below them.
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportLogsServiceResponse {
    /// Set when some records were not stored.
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<ExportLogsPartialSuccess>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportLogsPartialSuccess {
    /// Number of records that were not stored.
    #[prost(int64, tag = "1")]
    pub(super) rejected_log_records: i64,
    /// Why they were not stored.
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}
