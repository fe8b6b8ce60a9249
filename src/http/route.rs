//! Describes a route, and builds the warp filters that match its path.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use warp::{Filter, Rejection};

use super::admitted_request::AdmittedRequest;
use super::log_path::paths_of;
use super::observe::access_log::redact::redacted;
use super::request::url_key::{RulePaths, UrlKey};
use super::request_context::Endpoint;
use super::response::methods::Methods;
use super::response::problem::Problem;
use super::response::success::Answer;
use crate::config::LogName;
use crate::guard::Access;

/// Describes one route. Each file of `routes/` holds one, with the filter that matches its path.
pub(crate) struct Route {
    /// The name in the URL and in the lines of the log.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) methods: Methods,
    /// The credentials that the route demands.
    pub(crate) access: Access,
    pub(crate) handler: Handler,
    /// The dialect that the handler decodes, if the route stores records.
    pub(crate) endpoint: Option<Endpoint>,
    /// The path item of the OpenAPI document, as JSON. `None` for a route that is not for clients
    /// of the network.
    pub(crate) openapi: Option<&'static str>,
}

/// Answers an admitted request.
pub(crate) type Handler = fn(Arc<AdmittedRequest>) -> BoxFuture<'static, Answer>;

/// Says where the path of a route begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/moca-file-log/ROUTE` and `/moca-file-log/NAME/ROUTE`.
    OfLog,
    /// `/ROUTE`.
    AtRoot,
    /// `/admin/ROUTE`, on the admin socket.
    Admin,
    /// `/ROUTE`, on the admin socket.
    AdminRoot,
}

impl Route {
    /// Returns the decoded path in both of its URL forms, for the rules of keys. A route at the
    /// root has one form.
    pub(crate) fn paths(&self, log: &LogName) -> [String; 2] {
        match self.place {
            Place::AtRoot | Place::AdminRoot => [["/", self.name].concat(), ["/", self.name].concat()],
            Place::Admin => [["/admin/", self.name].concat(), ["/admin/", self.name].concat()],
            Place::OfLog => paths_of(self.name, log),
        }
    }

    /// Returns the paths of a request on this route, for the rules of keys. `sent` is the path of the
    /// request, and `url_key` is made of it.
    pub(crate) fn rule_paths(&self, log: &LogName, sent: &str, url_key: &UrlKey) -> RulePaths {
        let plain = match self.endpoint {
            Some(_) if self.place == Place::AtRoot => {
                let path = decoded_path(url_key.path(sent));
                [path.clone(), path]
            }
            _ => self.paths(log),
        };
        RulePaths::new(plain, url_key)
    }

    /// Checks the method of a request for this route.
    ///
    /// # Errors
    /// Fails with 405 and `Allow`.
    pub(crate) fn check_method(&self, method: &Method, target: &Uri) -> Result<(), Problem> {
        if self.methods.contain(method) {
            return Ok(());
        }
        let path = redacted(target.path());
        let detail = format!("Method {method} not allowed for URL {}", truncated(&path));
        Err(Problem::method_not_allowed(detail, self.methods))
    }
}

/// Decodes a path. A slash within a segment stays encoded, because it separates nothing.
fn decoded_path(path: &str) -> String {
    let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy().replace('/', "%2F");
    path.split('/').map(decoded).collect::<Vec<_>>().join("/")
}

/// Matches the path of one route or of several, and extracts the route.
pub(crate) trait RouteFilter:
    Filter<Extract = (&'static Route,), Error = Rejection, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<T> RouteFilter for T where
    T: Filter<Extract = (&'static Route,), Error = Rejection, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Truncates a path for an answer, since a path may have 16 KiB.
fn truncated(path: &str) -> String {
    const MAX_CHARS: usize = 200;
    match path.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", path.get(..end).unwrap_or_default()),
        None => path.to_owned(),
    }
}

/// Matches the rest of a path that is the name of the route, with one slash after it or none.
pub(crate) fn named(route: &'static Route) -> impl RouteFilter {
    warp::path(route.name).and(warp::path::end()).map(move || route)
}
