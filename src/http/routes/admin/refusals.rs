//! Serves `GET /refusals`, the latest refused requests, on the admin socket.

use futures_util::FutureExt;
use http::header::{HeaderName, HeaderValue};

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::observe::refused_requests::Cursor;
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::response::success::{self, Answer};
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `/refusals`.
pub(crate) static ROUTE: Route = Route {
    name: "refusals",
    place: Place::AdminRoot,
    methods: Methods::USUAL,
    access: Access::AdminSocket,
    handler: |request| async move { refusals(&request).await }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches `/refusals`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

static MOCA_CURSOR: HeaderName = HeaderName::from_static("moca-cursor");

/// Answers with the latest refused requests, the oldest first. With `after`, which is `Moca-Cursor` of
/// an earlier answer, only with those behind it.
async fn refusals(request: &AdmittedRequest) -> Answer {
    let input = request.input().await?;
    let params = request.params(&input)?;
    let after: Option<Cursor> = match params.text("after") {
        Some(text) => match text.parse() {
            Ok(cursor) => Some(cursor),
            Err(_) => return Err(Problem::invalid_parameter("after", "expected Moca-Cursor of an answer")),
        },
        None => None,
    };
    let (body, end) = request.app.refused_requests.latest(after);
    let mut response = success::json(body);
    let cursor = HeaderValue::try_from(end.to_string()).ok();
    response.headers_mut().extend(cursor.map(|cursor| (MOCA_CURSOR.clone(), cursor)));
    Ok(response)
}
