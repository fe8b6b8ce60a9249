//! Describes a route, and builds the warp filters that match its path.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use warp::{Filter, Rejection};

use super::admitted_request::AdmittedRequest;
use super::log_path::paths_of;
use super::request_context::Endpoint;
use super::response::methods::Methods;
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
}

impl Route {
    /// Returns the decoded path in both of its URL forms, for the rules of keys. A route at the
    /// root has one form.
    pub(crate) fn paths(&self, log: &LogName) -> [String; 2] {
        match self.place {
            Place::AtRoot => [format!("/{}", self.name), format!("/{}", self.name)],
            Place::Admin => [format!("/admin/{}", self.name), format!("/admin/{}", self.name)],
            Place::OfLog => paths_of(self.name, log),
        }
    }
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

/// Matches the rest of a path that is the name of the route, with one slash after it or none.
pub(crate) fn named(route: &'static Route) -> impl RouteFilter {
    warp::path(route.name).and(warp::path::end()).map(move || route)
}
