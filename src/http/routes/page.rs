//! Serves the operator's page.
//!
//! The page is HTML with inline style and script, built from the three files of `page/`. It is the
//! same for every log, contains neither configuration nor secrets, and needs no key. Its script
//! requests all data with the operator's key.
//!
//! The content security policy allows this script, this style, and connections to this server. It
//! allows no other source and no frames. Its hashes are computed from the served text, so they
//! always match.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::response::conditional::if_none_match_names;

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The placeholder of the style in the HTML.
const STYLE_PLACEHOLDER: &str = "<style></style>";
/// The placeholder of the script in the HTML.
const SCRIPT_PLACEHOLDER: &str = "<script type=\"module\"></script>";

/// The page, built at the first request.
static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

struct Page {
    text: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    fn new() -> Self {
        let text = HTML
            .replace(STYLE_PLACEHOLDER, &format!("<style>{STYLE}</style>"))
            .replace(SCRIPT_PLACEHOLDER, &format!("<script type=\"module\">{SCRIPT}</script>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            BASE64.encode(&Sha256::digest(SCRIPT)),
            BASE64.encode(&Sha256::digest(STYLE)),
        );
        let tag = format!("\"{}\"", BASE64.encode(&Sha256::digest(&text)));
        let headers = [
            // Caches must revalidate, because an update may change the page at any time.
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

/// Answers with the page, or with 304 for a client that has it already.
pub(crate) fn page(headers: &HeaderMap) -> warp::reply::Response {
    let page = &*PAGE;
    let is_known = page.headers.iter().any(|(name, value)| {
        name == header::ETAG && value.to_str().is_ok_and(|tag| if_none_match_names(headers, tag))
    });
    let (status, body) =
        if is_known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, page.text.clone()) };
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
    fn html_has_one_placeholder_each_for_style_and_script() {
        assert_eq!(HTML.matches(STYLE_PLACEHOLDER).count(), 1);
        assert_eq!(HTML.matches(SCRIPT_PLACEHOLDER).count(), 1);
        assert_eq!(HTML.matches("<script").count(), 1, "the policy allows one script");
        assert!(!STYLE.contains("</style") && !STYLE.contains(SCRIPT_PLACEHOLDER));
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn page_loads_nothing_external_and_builds_no_markup_from_text() {
        // The SVG namespace looks like a URL, but the browser does not load it.
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
    fn page_is_smaller_than_60_000_bytes() {
        assert!(HTML.len() + STYLE.len() + SCRIPT.len() < 60_000);
    }
}
