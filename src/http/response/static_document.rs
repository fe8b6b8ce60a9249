//! A document that is the same for every request: its bytes, its headers and its entity tag.

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::conditional::if_none_match_names;

/// Holds a document and the headers of its answer.
pub(crate) struct StaticDocument {
    text: Bytes,
    tag: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl StaticDocument {
    /// Returns a document of this media type. Caches must revalidate it, because an update may
    /// change it at any time.
    pub(crate) fn new(text: String, media_type: HeaderValue) -> Self {
        let tag = format!("\"{}\"", BASE64.encode(&Sha256::digest(&text)));
        let mut headers =
            vec![(CACHE_CONTROL, HeaderValue::from_static("no-cache")), (CONTENT_TYPE, media_type)];
        headers.extend(HeaderValue::try_from(&tag).ok().map(|tag| (ETAG, tag)));
        Self { text: text.into(), tag, headers }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Answers with the document, or with 304 for a client that has it already (RFC 9110, section
    /// 13.1.2).
    pub(crate) fn answer(&self, request: &HeaderMap) -> warp::reply::Response {
        let is_known = if_none_match_names(request, &self.tag);
        let body = if is_known { Bytes::new() } else { self.text.clone() };
        let mut response = Response::new(body.into());
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = self.headers.iter().map(|(name, value)| (Some(name.clone()), value.clone()));
        response.headers_mut().extend(headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn known_entity_tag_answers_304() {
        let document = StaticDocument::new("text".to_owned(), HeaderValue::from_static("text/plain"))
            .with(HeaderName::from_static("x-a"), HeaderValue::from_static("b"));
        let first = document.answer(&HeaderMap::new());
        assert_eq!((first.status(), &first.headers()["x-a"]), (StatusCode::OK, &"b".parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(document.answer(&headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(document.answer(&headers).status(), StatusCode::OK);
    }
}
