//! Serves `clear-logs`, which removes all lines that were acknowledged before the request.

use std::sync::Arc;

use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::headers::forbid_caching;
use crate::http::response::success::{self, Answer};

/// Clears the log. A HEAD request passes the same checks and changes nothing.
pub(crate) async fn clear_logs(request: &Arc<AdmittedRequest>) -> Answer {
    request.authorize_operator().await?;
    if !request.is_head() {
        request.app.store.clear().await?;
        crate::event!(
            warn, CLEARED, MOCA_CLIENT = request.client.to_string().as_str();
            "the log was cleared over HTTP"
        );
    }
    let mut response = success::success();
    forbid_caching(response.headers_mut(), &request.parts.method);
    Ok(response)
}
