//! `clear-logs`: removes every line, after everything acknowledged before it.

use std::sync::Arc;

use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::success;
use crate::http::response::success::Answer;

/// Clears the log.
pub(crate) async fn clear_logs(call: &Arc<AdmittedRequest>) -> Answer {
    call.authorize_operator().await?;
    if !call.is_head() {
        call.app.store.clear().await?;
        crate::event!(
            warn, CLEARED, MOCA_CLIENT = call.client.to_string().as_str();
            "the log was cleared over HTTP"
        );
    }
    let mut response = success::success();
    crate::http::response::headers::not_from_a_cache(response.headers_mut(), &call.parts.method);
    Ok(response)
}
