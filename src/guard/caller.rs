//! Describes a request as the checks see it: its client, its head, its parameters, and the
//! credentials that its route demands.

use std::borrow::Cow;
use std::fmt;
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

/// The key in the query or in a header, as the client named it.
#[derive(Clone)]
pub enum PresentedKey<'a> {
    /// The key itself.
    Key(Cow<'a, str>),
    /// A user and a password (RFC 7617). [`Self::on_route`] decides which of them is the key.
    Basic {
        /// The user, which may be empty.
        user: Cow<'a, str>,
        /// The password, which may be empty.
        password: Cow<'a, str>,
    },
    /// A text from which a key was read. The text itself may be the key.
    Decoded {
        /// The key that was read, which counts unless only `text` is a known key.
        key: Cow<'a, str>,
        /// The text.
        text: Cow<'a, str>,
    },
    /// A parameter whose name may have another meaning. Unless it is a known key, a key in the body
    /// counts in its place.
    Parameter(Cow<'a, str>),
}

impl<'a> PresentedKey<'a> {
    /// Returns a key that was presented by itself.
    pub fn new(key: impl Into<Cow<'a, str>>) -> Self {
        Self::Key(key.into())
    }

    /// Returns the same key without a borrow.
    #[must_use]
    pub fn into_owned(self) -> PresentedKey<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Key(key) => PresentedKey::Key(owned(key)),
            Self::Decoded { key, text } => PresentedKey::Decoded { key: owned(key), text: owned(text) },
            Self::Parameter(key) => PresentedKey::Parameter(owned(key)),
            Self::Basic { user, password } => {
                PresentedKey::Basic { user: owned(user), password: owned(password) }
            }
        }
    }

    /// Returns the key for a route with this access. `None` when there is none.
    ///
    /// Where the root password is needed, the user is the key, and the password is the root password.
    /// Elsewhere the password is the key, or the user when the password is empty or no known key.
    pub(super) fn on_route(&self, access: Access, rules: &Rules, body_may_hold_key: bool) -> Option<&str> {
        let is_known = |key: &str| rules.presented_key(key).is_some();
        let (user, password): (&str, &str) = match self {
            Self::Key(key) => return Some(key),
            Self::Decoded { key, text } => {
                return Some(if !is_known(key) && is_known(text) { text } else { key });
            }
            Self::Parameter(key) => return Some(&**key).filter(|key| !body_may_hold_key || is_known(key)),
            Self::Basic { user, password } => (user, password),
        };
        let is_user = access == Access::KeyAndRootPassword
            || password.is_empty()
            || (!user.is_empty() && !is_known(password));
        Some(if is_user { user } else { password }).filter(|key| !key.is_empty())
    }
}

/// Shows nothing of the key.
impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PresentedKey").finish_non_exhaustive()
    }
}

/// The head of a request, as far as the checks of its key read it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The path of the route in both of its URL forms, decoded and normalised.
    pub paths: &'a [&'a str],
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The key in the query or in a header.
    pub key: Option<&'a PresentedKey<'a>>,
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
