//! Serves a connection on the fast path.
//!
//! It appends the record of each request that [`recognize`] recognizes to the current batch,
//! without hyper. A saved record then costs a third less.
//!
//! Other requests, and requests whose content is refused, go to hyper and the pipeline untouched,
//! before any counter changes. A client cannot tell the two paths apart.

use std::pin::pin;

use bytes::BytesMut;

use super::connection::{FastPathConnection, FastPathOutcome, ReadEvent};
use super::disk_reply::DiskReplier;
use super::recognize::{Recognized, RequestLimits, recognize};
use super::record::{AppendStart, CachedKey, Record};
use super::reply::Reply;
use crate::guard::ClientAddr;
use crate::http::connection::state::ConnectionState;
use crate::http::connection::stream::ConnectionStream;
use crate::http::policy::Policy;
use crate::http::server::connection_context::ConnectionContext;
use crate::net::connection_driver::ConnectionDriver;
use crate::net::transport::Transport;

/// Size of the read buffer, and maximum length of a request on the fast path.
const BUFFER_BYTES: usize = 16 * 1024;

/// Reports whether connections of this peer may use the fast path.
pub(crate) const fn is_eligible(peer: ClientAddr) -> bool {
    matches!(peer, ClientAddr::Ip(_))
}

/// Serves requests until one of them is for the slow path.
pub(crate) async fn serve_records<S: Transport, H>(
    mut stream: ConnectionStream<S>,
    state: &ConnectionState,
    context: &ConnectionContext<H>,
) -> FastPathOutcome<S> {
    let ConnectionContext { app, peer, shutdown, .. } = context;
    let mut bytes = BytesMut::with_capacity(BUFFER_BYTES);
    bytes.extend_from_slice(&stream.take_unread());
    let driver = pin!(ConnectionDriver::new(shutdown, state.deadline().0));
    let mut connection = FastPathConnection::new(stream, state, driver);
    let client = peer.text();
    let mut cached_key: Option<CachedKey> = None;
    let mut out = Vec::with_capacity(512);
    let mut replier = DiskReplier::default();
    loop {
        let policy = app.policy();
        let Some(heads) = policy.fast_path.as_ref().filter(|_| !connection.driver.is_draining()) else {
            return connection.into_slow_path(bytes);
        };
        let request = match recognize(&bytes, request_limits(&policy)) {
            Recognized::Whole(request) => request,
            Recognized::Other if !bytes.is_empty() => return connection.into_slow_path(bytes),
            Recognized::Part if bytes.len() >= BUFFER_BYTES => return connection.into_slow_path(bytes),
            incomplete => {
                let deadline = connection.read_deadline(incomplete == Recognized::Part, app);
                bytes.reserve(BUFFER_BYTES - bytes.len());
                match connection.read(&mut bytes, deadline).await {
                    ReadEvent::Bytes => continue,
                    event => return connection.into_outcome(event, bytes).await,
                }
            }
        };
        let Some(record) = Record::of(&request, app, &policy, *peer, &mut cached_key) else {
            return connection.into_slow_path(bytes);
        };
        connection.request_begins();
        let len = request.len;
        let keep_alive_hint = policy.keep_alive_hint(state);
        let (client_addr, key, wants_json) = (*peer, record.key_name(), request.wants_json);
        let reply = Reply { app, client: client_addr, key, heads, wants_json, keep_alive_hint };
        let (start, quota) = record.save(app, &policy, *peer, client.as_str());
        let mut disk_reply = None;
        let outcome = match start {
            AppendStart::Pending(ticket) => {
                let transport = connection.stream.inner();
                disk_reply = reply.register(&mut replier, transport, &ticket, quota.as_ref());
                connection.outcome(ticket, disk_reply.as_ref()).await
            }
            AppendStart::Filtered => Ok(None),
            AppendStart::Refused(problem) => Err(problem),
            // Boxed, so that the future of the common record stays small.
            AppendStart::Full => {
                let room = Box::pin(record.save_when_there_is_room(len, app, &policy, client.as_str()));
                connection.outcome(room, None).await
            }
        };
        if outcome.is_ok() {
            record.count_changes(app);
        }
        out.clear();
        let closes = reply.write(&mut out, &policy, quota.as_ref(), disk_reply.as_ref(), outcome);
        discard(&mut bytes, len);
        if !connection.write(&out).await {
            return FastPathOutcome::Ended;
        }
        connection.request_ends();
        if closes {
            return connection.close().await;
        }
    }
}

/// Returns the limits of a request under `policy`.
fn request_limits(policy: &Policy) -> RequestLimits {
    let http = &policy.files.http;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    RequestLimits {
        head: size(http.max_header_size),
        fields: http.max_headers as usize,
        body: size(http.request_max_size.min(http.max_body_memory)),
    }
}

/// Removes a request of `len` bytes from the begin of `bytes`.
fn discard(bytes: &mut BytesMut, len: usize) {
    if bytes.len() == len {
        bytes.clear();
    } else {
        drop(bytes.split_to(len));
    }
}
