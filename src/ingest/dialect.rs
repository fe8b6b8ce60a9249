//! What an input format is: its routes, how a request becomes entries, and how it is answered.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};

use super::batch::Batch;
use super::body::received::ReceivedBody;
use super::entry::read_rules::ReadRules;
use super::entry_stream::EntryStream;
use super::error::IngestError;
use super::params::Params;

/// An input format over HTTP. It knows its bodies and its answers, and neither keys nor the store.
///
/// The caller runs the methods in the order in which they stand here. The checks of the key lie
/// between [`Self::parameters`] and [`Self::entries`], so that a caller without a key learns nothing
/// of its entries.
pub(crate) trait Dialect: Send + Sync {
    /// Returns the name of the format.
    fn name(&self) -> &'static str;

    /// Returns the routes on which senders of this format expect it.
    fn routes(&self) -> &'static [DialectRoute];

    /// Returns ROUTE in the lines of records that arrive on `route`.
    fn name_in_lines(&self, _route: &'static DialectRoute) -> &'static str {
        self.name()
    }

    /// Returns whether the body of a request may hold the key. If so, it is read before the key is
    /// checked, when the head names none.
    fn body_may_hold_key(&self) -> bool {
        false
    }

    /// Returns whether a request with these headers can only come from a sender of this format. Such a
    /// sender gets its own form of every refusal, on any path.
    fn claims(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// Finds the message in a body that frames it. `None`: the whole body is the message.
    ///
    /// # Errors
    /// Fails when the frame is malformed.
    fn framed(&self, _head: &RequestHead<'_>, _body: &[u8]) -> Result<Option<Framed>, IngestError> {
        Ok(None)
    }

    /// Returns the content coding that the format decodes itself. All others are decoded before.
    fn own_coding(&self) -> Option<&'static str> {
        None
    }

    /// Reads the parameters that the checks of the key need: the key, the root password, and those
    /// that `required.args` of a key names. A format whose bodies hold no key does not read the body.
    ///
    /// # Errors
    /// Fails when the request is malformed.
    fn parameters<'a>(&self, request: &IngestRequest<'a>) -> Result<Params<'a>, IngestError> {
        Ok(Params::without_body(request.head.query, request.head.headers).of_sender())
    }

    /// Reads the entries. `parameters` is the result of [`Self::parameters`]. A format whose bodies
    /// hold a key finds there what it has read of the body, so that each body is parsed once.
    ///
    /// # Errors
    /// Fails when the body is malformed or holds an entry that cannot be stored. Then nothing of it is
    /// stored.
    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError>;

    /// Begins to read the entries of a body while it arrives, before its size is known. `None`: the body
    /// is read as a whole, up to its maximum size, by [`Self::entries`].
    ///
    /// # Errors
    /// Fails for a coding that cannot be decoded in pieces.
    fn stream(&self, _head: &RequestHead<'_>) -> Option<Result<Box<dyn EntryStream>, IngestError>> {
        None
    }

    /// Returns the answer to a request whose entries are stored.
    fn answer(&self, head: &RequestHead<'_>, outcome: &Outcome) -> Reply;

    /// Returns the answer to a request of a route that takes nothing, and to OPTIONS where a route names
    /// it among its methods. Such a request is answered without a key, and its body is not read.
    fn probe(&self, _head: &RequestHead<'_>) -> Reply {
        let mut reply = Reply::new(Bytes::new());
        *reply.status_mut() = StatusCode::NOT_FOUND;
        reply
    }

    /// Returns the segment of the path that holds the key, still percent-encoded, for formats whose
    /// paths have one.
    fn key_in_path<'a>(&self, _head: &RequestHead<'a>) -> Option<&'a str> {
        None
    }

    /// Returns the answer to a refused request in the format's own form. With `None` it is a problem
    /// document (RFC 9457). The reply may have another status than the refusal. The caller adds headers
    /// such as `Retry-After`.
    fn refuse(&self, _head: &RequestHead<'_>, _refusal: &RefusedRequest<'_>) -> Option<Reply> {
        None
    }
}

/// One route of a dialect.
#[derive(Debug)]
pub(crate) struct DialectRoute {
    /// The path. One that begins with `/` is the whole path, in which a segment `*` stands for any
    /// other, and a last segment `**` for any rest. Any other path lies below the prefixes of the log.
    pub(crate) path: &'static str,
    /// The methods. A route that names OPTIONS answers it by [`Dialect::probe`]. Every other route
    /// answers OPTIONS as a preflight (Fetch standard).
    pub(crate) methods: &'static [Method],
    /// How many records a request holds.
    pub(crate) takes: Takes,
    /// The path item of the OpenAPI document, as JSON. `None`: the format has a document elsewhere.
    pub(crate) openapi: Option<&'static str>,
}

/// How many records a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Exactly one.
    One,
    /// Any number.
    Many,
    /// None. A client asks such a route before it sends, and [`Dialect::probe`] answers it.
    Nothing,
}

/// The head of a request that brings records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHead<'a> {
    /// The route that matched.
    pub(crate) route: &'static DialectRoute,
    /// The path as it was sent, without a prefix `/k/KEY`. A format with a `*` in its path finds its
    /// segment here.
    pub(crate) path: &'a str,
    /// The query, still percent-encoded.
    pub(crate) query: Option<&'a str>,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
}

/// A request that brings records.
#[derive(Clone, Copy)]
pub(crate) struct IngestRequest<'a> {
    /// The head.
    pub(crate) head: RequestHead<'a>,
    /// The body.
    pub(crate) body: ReceivedBody<'a>,
    /// How entries are read. [`Dialect::parameters`] gets the options of the key in the head, if there
    /// is one there, and [`Dialect::entries`] those of the key that passed all checks.
    pub(crate) rules: ReadRules<'a>,
}

/// The place of the message in a body that frames it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framed {
    /// The bytes of the message.
    pub(crate) message: Range<usize>,
    /// Its coding, by the name of a content coding.
    pub(crate) coding: Option<&'static str>,
}

/// What became of the entries of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Number of stored records.
    pub(crate) saved: usize,
    /// Number of records below the level of the log, which were not stored.
    pub(crate) filtered: usize,
    /// The cursor behind the records, if the client accepts JSON. Encoding it costs a cipher.
    pub(crate) cursor: Option<String>,
    /// The body of the answer that was prepared with the entries, by [`Batch::set_reply`].
    pub(crate) prepared: Option<Bytes>,
}

/// A refusal or a failure, as far as an answer tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedRequest<'a> {
    /// The status.
    pub(crate) status: StatusCode,
    /// Why the request was refused.
    pub(crate) cause: RefusalCause,
    /// The number of [`IngestError::Dialect`], in the format's own scale.
    pub(crate) code: Option<u16>,
    /// The time after which another attempt can succeed.
    pub(crate) retry_after: Option<Duration>,
    /// What was refused. The same words for the same refusal.
    pub(crate) detail: &'a str,
    /// The explanation for a person.
    pub(crate) reason: Option<&'a str>,
}

/// Why a request was refused, as far as the answers of the formats differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalCause {
    /// The request names no key.
    MissingKey,
    /// The key is unknown.
    UnknownKey,
    /// A rule of the key, or of the address, does not admit the request.
    KeyRefused,
    /// A limit is used up.
    TooManyRequests,
    /// The body is too large.
    TooLarge,
    /// The body, or its head, cannot be read.
    Malformed,
    /// The service cannot store records now. A later attempt may succeed.
    Unavailable,
    /// The route has no such method.
    Method,
    /// There is no such route.
    NotFound,
    /// Any other cause.
    Other,
}

/// The trailers of an answer, among the extensions of its [`Reply`].
#[derive(Debug, Clone)]
pub(crate) struct Trailers(pub(crate) HeaderMap);

/// An answer.
pub(crate) type Reply = Response<Bytes>;

/// Returns an answer with a body of this media type.
pub(crate) fn reply(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, media_type);
    reply
}
