//! Contains the entry points of the micro-benchmarks. They parse parameters as `save-log` and
//! `save-logs` do.

use http::HeaderMap;

use crate::ingest::params::{BodyKind, Params};

/// Parses one record. Returns the length of its message plus its level, or `None` when the record
/// would be refused.
#[must_use]
pub fn record(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let params = params(query, headers, body)?;
    let level = params.level().ok()?;
    let message = params.message().ok()?;
    Some(message.len() + level as usize)
}

/// Parses a batch. Returns the sum of the lengths of its messages and of their levels, or `None`
/// when the batch would be refused.
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
