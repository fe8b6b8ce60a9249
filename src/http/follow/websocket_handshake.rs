//! Checks the handshake of WebSocket (RFC 6455, section 4.2).

use data_encoding::BASE64;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Holds the value of `Sec-WebSocket-Accept` for a valid handshake.
pub(crate) struct WebSocketAccept(HeaderValue);

/// Returns the accepted handshake if the request asks for WebSocket, otherwise `None`.
///
/// # Errors
///
/// Fails when the request asks for WebSocket and its handshake is invalid.
pub(crate) fn websocket_requested(parts: &Parts) -> Result<Option<WebSocketAccept>, Problem> {
    let headers = &parts.headers;
    if !has_token(headers, &UPGRADE, "websocket") || parts.version == Version::HTTP_2 {
        return Ok(None);
    }
    let bad_handshake = |why: &'static str| {
        Problem::bad_request("Not a WebSocket handshake.").counted_as(Reason::InvalidHandshake).because(why)
    };
    if parts.method != Method::GET || parts.version != Version::HTTP_11 {
        return Err(bad_handshake("it takes GET and HTTP/1.1"));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(bad_handshake("Connection: Upgrade is missing"));
    }
    const VERSION: HeaderValue = HeaderValue::from_static("13");
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "WebSocket is spoken in version 13 here.");
        let problem = problem.with(UPGRADE, HeaderValue::from_static("websocket"));
        return Err(problem.with(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad_handshake("one Sec-WebSocket-Key is needed"));
    };
    if BASE64.decode(key.as_bytes()).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad_handshake("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    // RFC 6455, section 1.3.
    let proof = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let proof = HeaderValue::try_from(BASE64.encode(&proof));
    proof.map(|proof| Some(WebSocketAccept(proof))).map_err(|_| bad_handshake("Sec-WebSocket-Key"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

impl WebSocketAccept {
    /// Turns `response` into the answer that completes the handshake.
    pub(crate) fn apply_headers<B>(self, response: &mut Response<B>) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.0);
    }
}
