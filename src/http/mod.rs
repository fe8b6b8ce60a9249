//! Serves HTTP connections and answers their requests. Knows nothing of systemd.
//!
//! A request passes the modules in this order. [`server`] serves connections, and [`connection`]
//! holds the phase and the deadline of each. [`pipeline`] takes a request through the checks of its
//! head to its route. [`admitted_request`] finishes the checks that need the body, and [`request`]
//! reads the body and the parameters. [`routes`] has one handler for each route. [`response`]
//! builds answers, [`follow`] serves open tails, and [`observe`] counts and logs requests and
//! refusals.

pub(crate) mod admitted_request;
pub(crate) mod answer_body;
pub(crate) mod app;
pub(crate) mod connection;
pub(crate) mod fast_path_options;
pub(crate) mod follow;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod log_path;
#[doc(hidden)]
pub mod micro;
pub(crate) mod observe;
pub(crate) mod pipeline;
pub(crate) mod policy;
pub(crate) mod query_response;
pub(crate) mod request;
pub(crate) mod request_context;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod upload;

pub use crate::net::acceptor::Socket;
pub use app::App;
pub use observe::access_log::AccessLog;
pub(crate) use observe::counters::Reason;
pub(crate) use observe::refused_requests::Origin;
pub use policy::Policy;
pub(crate) use request::memory_budget::MemoryShare;
pub(crate) use response::problem::Problem;
pub(crate) use routes::{all as all_routes, find as find_route};
pub use server::listeners::Listeners;
pub(crate) use server::listeners::{CountedConnection, SharedListeners};

/// Returns the key in the target of a request or in one of its headers.
pub(crate) fn presented_key(
    target: &http::Uri,
    headers: &http::HeaderMap,
    endpoint: Option<request_context::Endpoint>,
) -> Option<crate::guard::PresentedKey<'static>> {
    let params = crate::ingest::params::Params::without_body(target.query(), headers);
    let url_key = request::url_key::UrlKey::of(target.path());
    let (params, key_in_path) = match endpoint {
        Some(endpoint) => (params.of_sender(), endpoint.key_in_path(target, headers, &url_key)),
        None => (params, None),
    };
    let key = admitted_request::presented_key(&params, key_in_path.as_deref());
    key.map(crate::guard::PresentedKey::into_owned)
}
