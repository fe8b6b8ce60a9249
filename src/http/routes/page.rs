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

use data_encoding::BASE64;
use futures_util::FutureExt;
use http::header::{self, HeaderValue};
use sha2::{Digest, Sha256};
use warp::Filter;

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::response::static_document::StaticDocument;
use crate::http::route::{Place, Route, RouteFilter};

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The placeholder of the style in the HTML.
const STYLE_PLACEHOLDER: &str = "<style></style>";
/// The placeholder of the script in the HTML.
const SCRIPT_PLACEHOLDER: &str = "<script type=\"module\"></script>";

/// Describes the page.
pub(crate) static ROUTE: Route = Route {
    name: "",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::Headers,
    handler: |request| async move { Ok(PAGE.answer(&request.parts.headers)) }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/page.json")),
};

/// Matches the path of the page, which has no name.
pub(crate) fn route() -> impl RouteFilter {
    warp::path::end().map(|| &ROUTE)
}

/// The page, built at the first request.
static PAGE: LazyLock<StaticDocument> = LazyLock::new(page);

fn page() -> StaticDocument {
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
    // Base64 has no byte that a header value forbids. If it had one, the page would get a policy
    // that allows nothing.
    let policy =
        HeaderValue::try_from(policy).unwrap_or(const { HeaderValue::from_static("default-src 'none'") });
    StaticDocument::new(text, HeaderValue::from_static("text/html; charset=utf-8"))
        .with(header::CONTENT_SECURITY_POLICY, policy)
        .with(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
        .with(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
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
