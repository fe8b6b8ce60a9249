//! `clear-logs`: removes every line, after everything acknowledged before it.

use std::sync::Arc;

use super::answer::{self, Answer};
use super::call::Call;
use super::read::authorize;

/// Clears the log.
pub(super) async fn clear_logs(call: &Arc<Call>) -> Answer {
    authorize(call).await?;
    if !call.is_head() {
        call.app.store.clear().await?;
        crate::event!(
            warn, CLEARED, MOCA_CLIENT = call.client.to_string().as_str();
            "the log was cleared over HTTP"
        );
    }
    let mut response = answer::success();
    answer::not_from_a_cache(response.headers_mut(), &call.parts.method);
    Ok(response)
}
