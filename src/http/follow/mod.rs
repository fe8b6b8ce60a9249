//! Open tails: new records as Server-Sent Events and as WebSocket messages.
//!
//! A follower keeps a cursor and no records: it reads from the log what it sends. [`hub`] wakes the
//! followers on a thread of their own. [`block`] encodes records once for all followers that want
//! the same records. [`sse`] and [`websocket`] take a connection over from hyper and write blocks
//! into it.

pub(crate) mod block;
pub(crate) mod follower;
pub(crate) mod hub;
pub(crate) mod serve;
pub(crate) mod socket_writer;
pub(crate) mod sse;
pub(crate) mod takeover;
pub(crate) mod websocket;
pub(crate) mod ws_frames;
