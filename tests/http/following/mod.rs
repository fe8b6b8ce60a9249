//! Tests of following a log: Server-Sent Events and WebSocket.

mod tail;
mod websocket;
