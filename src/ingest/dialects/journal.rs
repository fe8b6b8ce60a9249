//! The format of `systemd-journal-upload`: the entries of a journal in the Journal Export Format. The
//! first upload of a machine may be its whole journal, so the body is read while it arrives.

mod coding;
mod coding_error;
mod entries;
mod lz4;
mod parser;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use self::coding::Decoder;
use self::parser::ExportParser;
use crate::ingest::batch::Batch;
use crate::ingest::body::stream::stream_rules;
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry_stream::{EntryStream, HeldEntries, StreamStep};
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;

static ROUTES: [DialectRoute; 1] = [DialectRoute {
    path: "/upload",
    methods: &[Method::POST],
    takes: Takes::Many,
    openapi: Some(include_str!("journal/upload.json")),
}];

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The codings that the server prefers, the best first. The client splits the list at commas only, so
/// there is no space in it.
const CODINGS: HeaderValue = HeaderValue::from_static("zstd,lz4,xz");

/// Number of bytes of a body that one step reads, and that it decodes at most.
const STEP_BYTES: usize = 64 * 1024;

/// The format.
pub(crate) struct Journal;

impl Dialect for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn stream(&self, head: &RequestHead<'_>) -> Option<Result<Box<dyn EntryStream>, IngestError>> {
        let coding = match coding_of(head.headers) {
            Ok(coding) => coding,
            Err(error) => return Some(Err(error)),
        };
        Some(match coding.map(Decoder::new) {
            None => Ok(Box::new(JournalStream::new(None))),
            Some(Some(Ok(decoder))) => Ok(Box::new(JournalStream::new(Some(decoder)))),
            Some(Some(Err(error))) => Err(malformed(error)),
            Some(None) => Err(unknown_coding()),
        })
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        // The codings of a whole body were decoded before.
        let mut stream = JournalStream::new(None);
        let mut body = Bytes::copy_from_slice(request.body.bytes);
        while stream.read(&mut body, &request.rules)? == StreamStep::HasMore {}
        stream.end(&request.rules)?;
        let entries = stream.take();
        request.body.memory.take(entries.bytes())?;
        Ok(entries.batch(&stream_rules(&request.rules)).into_owned())
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        let mut reply = reply(StatusCode::ACCEPTED, TEXT, &b"OK."[..]);
        reply.headers_mut().insert(ACCEPT_ENCODING, CODINGS);
        reply
    }

    fn refuse(&self, _head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        // The client writes the body of the answer into its journal.
        let text = match refusal.reason {
            Some(reason) => format!("{} {reason}", refusal.detail),
            None => refusal.detail.to_owned(),
        };
        let mut reply = reply(refusal.status, TEXT, text);
        reply.headers_mut().insert(ACCEPT_ENCODING, CODINGS);
        Some(reply)
    }
}

/// Returns the coding of the body, if it has one.
fn coding_of(headers: &HeaderMap) -> Result<Option<&str>, IngestError> {
    let mut coding = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        let names = value.to_str().map_err(|_| unknown_coding())?.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
            if coding.replace(name).is_some() {
                return Err(unknown_coding());
            }
        }
    }
    Ok(coding)
}

/// Returns the error of a body that cannot be read on.
fn malformed(error: impl std::error::Error) -> IngestError {
    let why = format!("The body is malformed: {error}.").into();
    IngestError::Dialect { status: StatusCode::BAD_REQUEST, code: None, why }
}

/// Returns the error of a coding that is not known.
const fn unknown_coding() -> IngestError {
    let why = Cow::Borrowed("This Content-Encoding is not supported. zstd, lz4 and xz are, one at a time.");
    IngestError::Dialect { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, code: None, why }
}

/// Reads the body of an upload.
struct JournalStream {
    decoder: Option<Decoder>,
    /// The buffer for decoded bytes.
    decoded: Vec<u8>,
    parser: ExportParser,
}

impl JournalStream {
    fn new(decoder: Option<Decoder>) -> Self {
        let decoded = if decoder.is_some() { vec![0; STEP_BYTES] } else { Vec::new() };
        Self { decoder, decoded, parser: ExportParser::default() }
    }
}

impl EntryStream for JournalStream {
    fn read(&mut self, body: &mut Bytes, rules: &ReadRules<'_>) -> Result<StreamStep, IngestError> {
        let rules = stream_rules(rules);
        let has_more = match &mut self.decoder {
            None => {
                let piece = body.split_to(body.len().min(STEP_BYTES));
                self.parser.read(&piece, &rules).map_err(malformed)?;
                !body.is_empty()
            }
            Some(decoder) => {
                let decoded = decoder.decode(body, &mut self.decoded).map_err(malformed)?;
                let plain = self.decoded.get(..decoded.len).unwrap_or_default();
                self.parser.read(plain, &rules).map_err(malformed)?;
                decoded.has_more
            }
        };
        Ok(if has_more { StreamStep::HasMore } else { StreamStep::NeedsBytes })
    }

    fn end(&mut self, _rules: &ReadRules<'_>) -> Result<(), IngestError> {
        if let Some(decoder) = &mut self.decoder {
            decoder.end().map_err(malformed)?;
        }
        self.parser.end().map_err(malformed)
    }

    fn held_bytes(&self) -> usize {
        self.parser.entries.bytes()
    }

    fn take(&mut self) -> Box<dyn HeldEntries> {
        Box::new(std::mem::take(&mut self.parser.entries))
    }

    fn memory_bytes(&self) -> u64 {
        let decoder = self.decoder.as_ref().map_or(0, Decoder::memory_bytes);
        decoder + (self.decoded.len() + self.parser.memory_bytes()) as u64
    }
}

#[cfg(test)]
#[path = "journal/stream_tests.rs"]
mod tests;
