//! Describes a request as the checks see it: its client, its head, its parameters, and the
//! credentials that its route demands.

use std::borrow::Cow;
use std::time::Instant;

use http::HeaderMap;

use super::checks::Guard;
use super::client_addr::ClientAddr;
use super::rules::Rules;

/// The credentials that a route demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None. `force_headers` and `referer` do not apply either.
    Public,
    /// None, but `force_headers` and `referer` apply.
    Headers,
    /// A key.
    Key,
    /// A key and the root password.
    KeyAndRootPassword,
    /// A connection of the admin socket.
    AdminSocket,
}

impl Access {
    /// Returns whether the route demands a key.
    #[must_use]
    pub const fn needs_key(self) -> bool {
        matches!(self, Self::Key | Self::KeyAndRootPassword)
    }
}

/// The client of a request, and the rules and the state that it is checked against.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The state about clients.
    pub guard: &'a Guard,
    /// The rules in force.
    pub rules: &'a Rules,
    /// The address of the client.
    pub client: ClientAddr,
    /// The time of the request.
    pub now: Instant,
}

/// The head of a request, as far as the checks of its key read it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The path of the route in both of its URL forms, decoded and normalised.
    pub paths: &'a [&'a str],
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The key in the query or in a header.
    pub key: Option<&'a str>,
    /// True when the body may hold a key, so that a missing key is no reason to refuse the head.
    pub body_may_hold_key: bool,
}

/// The parameters of a request whose body was read.
pub trait Parameters {
    /// Returns the key in the body, unless a source of higher precedence has one.
    fn key_in_body(&self) -> Option<Cow<'_, str>>;

    /// Returns the key from any source.
    fn key(&self) -> Option<Cow<'_, str>>;

    /// Returns the value of a parameter as text, for `required.args`.
    fn text(&self, name: &str) -> Option<Cow<'_, str>>;
}
