//! Observes requests with counters, the access log, the refused requests, the refusal log, and traces of
//! single requests.

pub(crate) mod access_log;
pub(crate) mod counters;
pub(crate) mod refusal_log;
pub(crate) mod refused_requests;
pub(crate) mod request_trace;
