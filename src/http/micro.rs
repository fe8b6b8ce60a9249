//! Contains the entry points of the micro-benchmarks. They decode requests as `save-log` and
//! `save-logs` do.

use http::HeaderMap;

use crate::ingest::body::memory::Unlimited;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::dialect::{IngestRequest, RequestHead};
use crate::ingest::dialects;
use crate::ingest::entry::read_rules::ReadRules;
use crate::record::Level;

/// Decodes one record. Returns the length of its message plus its level, or `None` when the record
/// would be refused.
#[must_use]
pub fn record(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    decode("save-log", query, headers, body)
}

/// Decodes a batch. Returns the sum of the lengths of its messages and of their levels, or `None`
/// when the batch would be refused.
#[must_use]
pub fn batch(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    decode("save-logs", query, headers, body)
}

fn decode(path: &str, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let (dialect, route) = dialects::find(path)?;
    let texts = BodyTexts::default();
    let request = IngestRequest {
        head: RequestHead { route, path, query, headers },
        body: ReceivedBody::new(headers, body, &texts, &Unlimited),
        rules: ReadRules::default(),
    };
    let parameters = dialect.parameters(&request).ok()?;
    let batch = dialect.entries(&request, parameters).ok()?;
    let entries = batch.entries(Level::Debug);
    Some(entries.iter().map(|entry| entry.message.len() + entry.level as usize).sum())
}
