//! Answers refusals and failures as `application/problem+json` (RFC 9457). A problem names the
//! client's mistake or the state of the service. It never contains a secret, a path of this machine
//! or a piece of code.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::headers::NO_STORE;
use super::methods::Methods;
use crate::guard::Refusal;
use crate::http::observe::counters::Reason;
use crate::http::observe::refusal_log::RefusalDetails;
use crate::ingest::dialect::{Dialect, RefusalCause, RefusedRequest, Reply, RequestHead, reply};
use crate::ingest::error::IngestError;
use crate::store::StoreError;

/// Describes an error answer.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    /// The value of the extra member.
    extra: Option<Box<str>>,
    /// The name of the extra member.
    member: Member,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The refusal of the check that refused the request, if one did.
    cause: Option<Refusal>,
    /// The reason under which the problem is counted.
    counted: Reason,
    /// The number of the error on the scale of a dialect.
    code: Option<u16>,
    /// The answer in the form of a dialect, in place of the problem document.
    form: Option<Box<Reply>>,
}

/// Names the extra member of a problem document. Clients compare `detail`, so `detail` is constant
/// and the variable text is in the extra member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// `reason`, which explains the problem to a person.
    Reason,
    /// `oldest`, the cursor of the oldest record that is left when the requested one is gone.
    Oldest,
}

/// Delay after which the client should try again after a temporary failure of unknown length.
const RETRY_AFTER: Duration = Duration::from_secs(5);

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<&'a str>,
}

impl Problem {
    /// Creates a problem, counted by its status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            extra: None,
            member: Member::Reason,
            headers: Vec::new(),
            cause: None,
            counted: Reason::of_status(status),
            code: None,
            form: None,
        }
    }

    /// Creates a 400.
    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Creates the 408 for a request that arrives too slowly.
    pub(crate) fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.").closing()
    }

    /// Creates a 405 with `Allow`.
    pub(crate) fn method_not_allowed(detail: impl Into<Cow<'static, str>>, allowed: Methods) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(header::ALLOW, allowed.allow())
    }

    /// Creates the 410 for a cursor whose records are gone. `oldest` is the cursor that reads all
    /// records that are left.
    pub(crate) fn gone(oldest: String) -> Self {
        let mut problem = Self::new(StatusCode::GONE, "What this cursor names was cleared or left the log.");
        (problem.extra, problem.member) = (Some(oldest.into()), Member::Oldest);
        problem
    }

    /// Creates the 413 for a body larger than `limit` bytes.
    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {limit} bytes."))
    }

    /// Creates the 413 for a body that does not fit into `memory` bytes, the limit of all bodies
    /// together.
    pub(crate) fn no_room(memory: u64) -> Self {
        let detail = format!("The body needs more memory than all bodies may have, {memory} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// Creates a 503 with `Retry-After`.
    pub(crate) fn overloaded(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
    }

    /// Creates the 503 for an answer that took longer than `response_timeout`.
    pub(crate) fn late() -> Self {
        Self::overloaded("The answer was not ready in time.").counted_as(Reason::AnswerTimeout)
    }

    /// Creates the 400 for a parameter with an invalid value.
    pub(crate) fn invalid_parameter(name: &str, why: impl std::fmt::Display) -> Self {
        let problem = Self::bad_request(format!("{name} parameter format error."));
        problem.because(why.to_string()).counted_as(Reason::InvalidParameter)
    }

    /// Gives the problem the form that senders of `dialect` understand, if that is another one than
    /// the problem document. Headers stay.
    pub(crate) fn in_form_of(mut self, dialect: &dyn Dialect, head: &RequestHead<'_>) -> Self {
        let reason = self.extra(Member::Reason);
        let (status, cause, code) = (self.status, self.cause_for_dialects(), self.code);
        let retry_after = self.retry_delay();
        let refusal = RefusedRequest { status, cause, code, retry_after, detail: &self.detail, reason };
        self.form = dialect.refuse(head, &refusal).map(Box::new);
        self
    }

    fn cause_for_dialects(&self) -> RefusalCause {
        match &self.cause {
            Some(Refusal::MissingKey) => return RefusalCause::MissingKey,
            Some(Refusal::UnknownKey) => return RefusalCause::UnknownKey,
            _ => {}
        }
        match self.status.as_u16() {
            401 | 403 => RefusalCause::KeyRefused,
            404 => RefusalCause::NotFound,
            405 => RefusalCause::Method,
            413 => RefusalCause::TooLarge,
            429 => RefusalCause::TooManyRequests,
            503 => RefusalCause::Unavailable,
            400 | 408 | 415 | 422 => RefusalCause::Malformed,
            _ => RefusalCause::Other,
        }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the explanation for a person.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.extra = Some(reason.into().into_boxed_str());
        self
    }

    /// Closes the connection after the answer.
    pub(crate) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// Adds `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        // Rounded up, because the service would refuse a client that returns too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Sets the reason under which the problem is counted, if the status is not precise enough.
    pub(crate) const fn counted_as(mut self, reason: Reason) -> Self {
        self.counted = reason;
        self
    }

    /// Returns the reason under which the problem is counted.
    pub(crate) const fn counted(&self) -> Reason {
        self.counted
    }

    /// Returns the value of `Retry-After`.
    fn retry_delay(&self) -> Option<Duration> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == header::RETRY_AFTER)?;
        value.to_str().ok()?.parse().ok().map(Duration::from_secs)
    }

    fn extra(&self, member: Member) -> Option<&str> {
        self.extra.as_deref().filter(|_| self.member == member)
    }

    /// Returns the problem document as JSON.
    pub(crate) fn body(&self) -> Vec<u8> {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.extra(Member::Reason),
            oldest: self.extra(Member::Oldest),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Converts the problem into an answer.
    pub(crate) fn into_response(mut self) -> Response<Bytes> {
        let mut response = match self.form.take() {
            Some(form) => *form,
            None => reply(self.status, MEDIA_TYPE, self.body()),
        };
        // Otherwise a cache may store a 404 or 405 (RFC 9110, section 15.1).
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

/// A problem is what a filter rejects a request with.
impl warp::reject::Reject for Problem {}

impl RefusalDetails for Problem {
    fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn words(&self) -> String {
        match self.extra(Member::Reason) {
            Some(reason) => format!("{} {reason}", self.detail),
            None => self.detail.to_string(),
        }
    }

    fn cause(&self) -> Option<&Refusal> {
        self.cause.as_ref()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = refusal.status();
        let mut problem = Self::new(status, refusal.to_string());
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"MocaFileLog\"");
            problem = problem.with(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = refusal.retry_after() {
            problem = problem.retry_after(after);
        }
        problem.counted = Reason::from(&refusal);
        problem.cause = Some(refusal);
        problem
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let counted = Reason::of_ingest_error(&error);
        let mut problem = Self::new(error.status(), error.to_string()).counted_as(counted);
        problem.code = error.code();
        let problem = if error.status() == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after(RETRY_AFTER)
        } else {
            problem
        };
        match error.reason() {
            Some(reason) => problem.because(reason),
            None => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // Log shippers drop records after a 500 or 507 and send them again after a 503. The
        // operator finds the error of the disk in the journal.
        let (detail, reason) = match error {
            StoreError::Write(_) => ("The log can't be written at the moment.", Reason::WriteFailed),
            StoreError::Unknown(_) => (
                "It is unknown whether the log was written. Another attempt may store the record twice.",
                Reason::WriteFailed,
            ),
            StoreError::Read(_) => ("The log can't be read at the moment.", Reason::ReadFailed),
            StoreError::LowSpace => ("The disk has too little space left for records.", Reason::LowSpace),
            StoreError::Closed => ("The service is stopping.", Reason::Shutdown),
        };
        Self::overloaded(detail).counted_as(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_problem_is_a_json_document(detail: String, reason: Option<String>, status in 400_u16..600) {
            let mut problem = Problem::new(StatusCode::from_u16(status).unwrap(), detail.clone());
            problem.extra = reason.as_deref().map(Into::into);
            let response = problem.into_response();
            let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            prop_assert_eq!(document["detail"].as_str(), Some(detail.as_str()));
            prop_assert_eq!(document["reason"].as_str(), reason.as_deref());
            prop_assert_eq!(document["status"].as_u64(), Some(u64::from(status)));
            prop_assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
            prop_assert_eq!(response.headers().get(header::CONTENT_TYPE), Some(&MEDIA_TYPE));
        }

        #[test]
        fn retry_after_is_rounded_up_to_whole_seconds(millis in 0_u64..100_000) {
            let problem = Problem::overloaded("x").retry_after(Duration::from_millis(millis));
            let (_, last) = problem.headers.last().unwrap();
            let seconds: u64 = last.to_str().unwrap().parse().unwrap();
            prop_assert!(seconds >= 1 && seconds * 1000 >= millis && seconds * 1000 < millis + 1000 || millis == 0);
        }
    }

    #[test]
    fn every_failure_of_the_store_is_answered_503_with_its_own_detail() {
        let broken = || std::io::Error::other("a disk");
        let failures = [
            StoreError::write(broken()),
            StoreError::unknown(broken()),
            StoreError::read(broken()),
            StoreError::LowSpace,
            StoreError::Closed,
        ];
        let mut details = std::collections::HashSet::new();
        for failure in failures {
            let problem = Problem::from(failure);
            assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(problem.headers.iter().any(|(name, _)| name == header::RETRY_AFTER));
            assert!(!problem.detail.contains("a disk"), "the error of the disk is for the operator");
            assert!(details.insert(problem.detail.clone()), "{}", problem.detail);
        }
    }
}
