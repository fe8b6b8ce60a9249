//! Serves a follower: over a connection of HTTP/1 that was taken over, or as the body of an answer over HTTP/2.

use std::sync::Arc;

use super::hub::FollowerHub;
use super::takeover::{Protocol, Start, Takeover};
use super::{sse, websocket};
use crate::http::connection::stream::ConnectionStream;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Returns the answer over HTTP/2, whose body is the events.
pub(crate) fn http2_response(start: Start, response: warp::reply::Response) -> warp::reply::Response {
    let (head, _) = response.into_parts();
    http::Response::from_parts(head, sse::body(start.follower).into_body())
}

/// Serves a connection that was handed over, to its end, on the followers' thread.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let context = Arc::clone(takeover.start.follower.context());
    stream.inner().limit_send_buffer();
    FollowerHub::run(&context, async move {
        match takeover.start.protocol {
            Protocol::Events => sse::serve(stream, takeover, stopping).await,
            Protocol::WebSocket => websocket::serve(stream, takeover, stopping).await,
        }
    })
    .await;
}
