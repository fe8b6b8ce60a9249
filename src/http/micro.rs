//! Entry points for the micro-benchmarks only: the parameters as `save-log` and `save-logs` read
//! them.

use http::HeaderMap;

use super::request::params::{BodyKind, Params};

/// Returns the length of the message of one record plus its level. Returns `None` when the record
/// would be refused.
#[must_use]
pub fn record(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let params = params(query, headers, body)?;
    let level = params.level().ok()?;
    let message = params.message().ok()?;
    Some(message.len() + level as usize)
}

/// Returns the total length of the messages of a batch plus their levels. Returns `None` when the
/// batch would be refused.
#[must_use]
pub fn batch(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let params = Params::without_body(query, headers).ok()?;
    let params = params.with_batch(BodyKind::of(headers), body).ok()?;
    let batch = params.logs().ok()?;
    let entries = batch.entries().ok()?;
    Some(entries.iter().map(|entry| entry.message.len() + entry.level as usize).sum())
}

fn params<'a>(query: Option<&'a str>, headers: &'a HeaderMap, body: &'a [u8]) -> Option<Params<'a>> {
    Params::without_body(query, headers).ok()?.with_body(BodyKind::of(headers), body).ok()
}
