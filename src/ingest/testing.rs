//! Shows what a dialect reads, for tests.

use http::HeaderMap;

use super::body::memory::Unlimited;
use super::body::received::{BodyTexts, ReceivedBody};
use super::dialect::{Dialect, IngestRequest, RequestHead};
use super::entry::read_rules::ReadRules;
use crate::record::Level;

/// Returns the records of a body as `LEVEL message NAME=VALUE …`, or the status and the error.
pub(super) fn records_of(
    dialect: &dyn Dialect,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Vec<String>, String> {
    let route = dialect.routes().iter().find(|route| route.path == path).unwrap();
    let (headers, texts) = (HeaderMap::new(), BodyTexts::default());
    let head = RequestHead { route, path, query: Some(query), headers: &headers };
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let request = IngestRequest { head, body, rules: ReadRules::default() };
    let parameters = dialect.parameters(&request).unwrap();
    let batch =
        dialect.entries(&request, parameters).map_err(|error| format!("{} {error}", error.status()))?;
    let shown = batch.entries(Level::Debug).into_iter().map(|entry| {
        let mut text = format!("{} {}", entry.level, entry.message);
        if let Some(at) = entry.at {
            text.push_str(&format!(" at={}", String::from_utf8_lossy(&at.rfc3339())));
        }
        for field in entry.fields {
            text.push_str(&format!(" {}={}", field.name(), field.value()));
        }
        text
    });
    Ok(shown.collect())
}
