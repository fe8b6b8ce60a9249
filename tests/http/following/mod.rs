//! Tests of following a log over Server-Sent Events and WebSocket.

mod appended;
mod tail;
mod websocket;
