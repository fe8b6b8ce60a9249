//! Serves a follower on an HTTP/1 connection that was taken over, or as the body of an HTTP/2
//! answer.

use std::sync::Arc;

use super::hub::FollowerHub;
use super::takeover::{NewFollower, Protocol, Takeover};
use super::{sse, websocket};
use crate::http::connection::stream::ConnectionStream;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Returns the HTTP/2 answer whose body is the stream of events.
pub(crate) fn http2_response(
    new_follower: NewFollower,
    response: warp::reply::Response,
) -> warp::reply::Response {
    let (head, _) = response.into_parts();
    http::Response::from_parts(head, sse::body(new_follower.follower).into_body())
}

/// Serves a connection that was taken over, on the thread of the followers, until it ends.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let context = Arc::clone(takeover.new_follower.follower.context());
    stream.inner().limit_send_buffer();
    FollowerHub::run(&context, async move {
        match takeover.new_follower.protocol {
            Protocol::Events => sse::serve(stream, takeover, stopping).await,
            Protocol::WebSocket => websocket::serve(stream, takeover, stopping).await,
        }
    })
    .await;
}
