//! Serves `openapi.json`, which describes the routes as an OpenAPI 3.1 document.
//!
//! The document is the same for every log, contains no configuration, and needs no key. Each route
//! brings its path item.

use std::sync::{LazyLock, OnceLock};

use futures_util::FutureExt;

use crate::guard::Access;
use crate::http::response::headers::JSON;
use crate::http::response::methods::Methods;
use crate::http::response::static_document::StaticDocument;
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `openapi.json`.
pub(crate) static ROUTE: Route = Route {
    name: "openapi.json",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::Public,
    handler: |request| async move { Ok(DOCUMENT.answer(&request.parts.headers)) }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/openapi.json")),
};

/// Matches the path of `openapi.json`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// The document without its paths.
const FRAME: &str = include_str!("openapi/document.json");

/// The place of the paths in [`FRAME`].
const NO_PATHS: &str = "\"paths\": {}";

/// The routes of the document.
static ROUTES: OnceLock<Vec<&'static Route>> = OnceLock::new();

/// The document, built at the first request.
static DOCUMENT: LazyLock<StaticDocument> =
    LazyLock::new(|| StaticDocument::new(document(ROUTES.get().map_or(&[], Vec::as_slice)), JSON));

/// Sets the routes that the document describes. Later calls change nothing.
pub(crate) fn describe(routes: impl Iterator<Item = &'static Route>) {
    ROUTES.get_or_init(|| routes.collect());
}

/// Returns the document with the path items of `routes`.
fn document(routes: &[&'static Route]) -> String {
    let items = routes.iter().filter_map(|route| Some((route.name, route.openapi?)));
    let items: Vec<String> = items.map(|(name, item)| format!("\"/{name}\": {item}")).collect();
    let document = FRAME.replace(NO_PATHS, &format!("\"paths\": {{{}}}", items.join(",")));
    // A JSON string cannot contain a line end, so no string changes.
    document.lines().map(str::trim_start).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::routes;

    /// The parts of the path item that are no methods.
    const NO_METHODS: [&str; 2] = ["servers", "parameters"];

    #[test]
    fn document_describes_each_route_with_its_methods_and_credentials() {
        let all: Vec<_> = routes::all().collect();
        let document: Value = serde_json::from_str(&document(&all)).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = document["paths"].as_object().unwrap();
        let described = all.iter().filter(|route| route.openapi.is_some());
        let names: BTreeSet<String> = described.clone().map(|route| format!("/{}", route.name)).collect();
        assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), names);
        for route in described {
            let item = paths[&format!("/{}", route.name)].as_object().unwrap();
            for (method, operation) in item.iter().filter(|(name, _)| !NO_METHODS.contains(&name.as_str())) {
                let what = format!("{method} {}", route.name);
                assert!(route.methods.iter().any(|name| name.eq_ignore_ascii_case(method)), "{what}");
                if method == "options" {
                    // A preflight carries no key.
                    assert_eq!(operation["security"], Value::Array(Vec::new()), "{what}");
                    continue;
                }
                let alternatives = operation["security"].as_array().unwrap();
                let needs = |scheme: &str| {
                    !alternatives.is_empty()
                        && alternatives.iter().all(|schemes| {
                            // The password of Basic is the root password.
                            let mut names = schemes.as_object().unwrap().keys();
                            names.any(|name| name.starts_with(scheme) || name == "Basic")
                        })
                };
                assert_eq!(!alternatives.is_empty(), route.access.needs_key(), "{what}");
                assert_eq!(needs("RootPass"), route.access == Access::KeyAndRootPassword, "{what}");
            }
            for method in route.methods.iter().filter(|method| !["HEAD", "OPTIONS"].contains(method)) {
                assert!(item.contains_key(&method.to_ascii_lowercase()), "{method} {}", route.name);
            }
        }
        // The admin socket is not for clients, `/` and `*` are no paths of the document, and the last ones
        // are a dialect for tests.
        let is_probe = |route: &Route| route.endpoint.is_some() && !route.name.starts_with("toy");
        let undescribed = all.iter().filter(|route| route.openapi.is_none() && !is_probe(route));
        let mut undescribed: Vec<_> = undescribed.map(|route| (route.place, route.name)).collect();
        undescribed.sort_by_key(|(_, name)| *name);
        let expected = [
            (Place::AtRoot, ""),
            (Place::AtRoot, "*"),
            (Place::Admin, "blocked"),
            (Place::Admin, "maintenance"),
            (Place::AdminRoot, "refusals"),
            (Place::Admin, "status"),
            (Place::AtRoot, "toy/*/lines"),
            (Place::AtRoot, "toy/key/*"),
            (Place::AtRoot, "toy/ready/**"),
        ];
        assert_eq!(undescribed, expected);
    }
}
