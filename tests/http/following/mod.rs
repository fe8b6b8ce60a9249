//! Tests of following a log over Server-Sent Events and WebSocket.

mod tail;
mod websocket;
