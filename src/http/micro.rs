//! What the micro-benchmarks time and nothing outside may use: parameters as `save-log` and `save-logs` read them.

use http::HeaderMap;

use super::request::params::{BodyKind, Params};

/// The length of the message of one record; `None` when it would be refused.
#[must_use]
pub fn record(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let params = params(query, headers, body)?;
    let level = params.level().ok()?;
    let message = params.message().ok()?;
    Some(message.len() + level as usize)
}

/// The lengths of the messages of a batch together; `None` when it would be refused.
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
