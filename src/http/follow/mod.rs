//! Serves open tails, which send new records as Server-Sent Events or as WebSocket messages.
//!
//! A follower keeps a cursor and no records. It reads the records from the log before it sends
//! them. [`hub`] wakes the followers, which run on a separate thread. [`block`] encodes records
//! once for all followers that request the same records. [`sse`] and [`websocket`] take a
//! connection over from hyper and write blocks to it.

pub(crate) mod block;
pub(crate) mod follower;
pub(crate) mod hub;
pub(crate) mod serve;
pub(crate) mod socket_writer;
pub(crate) mod sse;
pub(crate) mod takeover;
pub(crate) mod websocket;
pub(crate) mod websocket_handshake;
pub(crate) mod websocket_session;
pub(crate) mod ws_frames;
