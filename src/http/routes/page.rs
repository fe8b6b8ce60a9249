//! The operator's page: HTML with its style and script in it, from the three files of `page/`. It is the same for every
//! log, holds nothing of the configuration and no secret, and needs no key; what it shows, it asks for with a key.
//!
//! Its policy lets the browser run that script and that style only, talk to this server only, and be framed by nobody.
//! The hashes in it are those of the text that is served, so that nobody has to keep them in step.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::response::conditional::names_tag;

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Where the two go in the HTML.
const STYLE_HERE: &str = "<style></style>";
const SCRIPT_HERE: &str = "<script type=\"module\"></script>";

/// Made at the first request, the same ever after.
static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

struct Page {
    text: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    fn new() -> Self {
        let text = HTML
            .replace(STYLE_HERE, &format!("<style>{STYLE}</style>"))
            .replace(SCRIPT_HERE, &format!("<script type=\"module\">{SCRIPT}</script>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            BASE64.encode(&Sha256::digest(SCRIPT)),
            BASE64.encode(&Sha256::digest(STYLE)),
        );
        let tag = format!("\"{}\"", BASE64.encode(&Sha256::digest(&text)));
        let headers = [
            // May be kept, and is asked for again: an update may change it at any time.
            (header::CACHE_CONTROL, Ok(HeaderValue::from_static("no-cache"))),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy)),
            (header::CONTENT_TYPE, Ok(HeaderValue::from_static("text/html; charset=utf-8"))),
            (header::ETAG, HeaderValue::try_from(tag)),
            (header::REFERRER_POLICY, Ok(HeaderValue::from_static("no-referrer"))),
            (header::X_CONTENT_TYPE_OPTIONS, Ok(HeaderValue::from_static("nosniff"))),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect();
        Self { text: Bytes::from(text), headers }
    }
}

/// The page, or 304 for who has it already.
pub(crate) fn page(headers: &HeaderMap) -> warp::reply::Response {
    let page = &*PAGE;
    let has_it = page
        .headers
        .iter()
        .any(|(name, value)| name == header::ETAG && value.to_str().is_ok_and(|tag| names_tag(headers, tag)));
    let (status, body) =
        if has_it { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, page.text.clone()) };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .extend(page.headers.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_have_their_places_and_end_nowhere_else() {
        assert_eq!(HTML.matches(STYLE_HERE).count(), 1);
        assert_eq!(HTML.matches(SCRIPT_HERE).count(), 1);
        assert_eq!(HTML.matches("<script").count(), 1, "the policy allows one script");
        assert!(!STYLE.contains("</style") && !STYLE.contains(SCRIPT_HERE));
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_made_of_text() {
        // The namespace of SVG is a name, not an address.
        let script = SCRIPT.replace("http://www.w3.org/2000/svg", "");
        for text in [HTML, STYLE, &script] {
            assert!(!text.contains("://") && !text.contains("@import"));
        }
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        for attribute in [" style=", " onclick=", " src=", " href="] {
            assert!(!HTML.contains(attribute), "the policy forbids {attribute}");
        }
    }

    #[test]
    fn it_stays_small() {
        assert!(HTML.len() + STYLE.len() + SCRIPT.len() < 60_000);
    }
}
