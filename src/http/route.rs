//! Lists the routes and maps paths to them. Most routes have two paths, `/moca-file-log/ROUTE` and
//! `/moca-file-log/NAME/ROUTE`.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::config::LogName;

/// Names a route of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    SaveLog,
    SaveLogs,
    Details,
    GetLogs,
    GetLatestLogs,
    DownloadLogs,
    ClearLogs,
    Tail,
    Metrics,
    Status,
    OpenApi,
    Page,
    AdminStatus,
    AdminBlocked,
}

/// The methods of every route of the log, for `Allow`.
pub(crate) const METHODS: &str = "GET, POST, HEAD, OPTIONS";

/// The methods of the list of blocked addresses, for `Allow`.
const BLOCKED_LIST_METHODS: &str = "GET, POST, HEAD, DELETE, OPTIONS";

/// The first segment of every path of the log.
const PREFIX: &str = "moca-file-log";

impl Route {
    /// The routes that need a key and lie below [`PREFIX`].
    const NAMED: [Self; 8] = [
        Self::SaveLog,
        Self::SaveLogs,
        Self::Details,
        Self::GetLogs,
        Self::GetLatestLogs,
        Self::DownloadLogs,
        Self::ClearLogs,
        Self::Tail,
    ];

    /// Returns the name in the URL and in the lines of the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SaveLog => "save-log",
            Self::SaveLogs => "save-logs",
            Self::Details => "details",
            Self::GetLogs => "get-logs",
            Self::GetLatestLogs => "get-latest-logs",
            Self::DownloadLogs => "download-logs",
            Self::ClearLogs => "clear-logs",
            Self::Tail => "tail",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::OpenApi => "openapi.json",
            Self::Page => "",
            Self::AdminStatus => "admin/status",
            Self::AdminBlocked => "admin/blocked",
        }
    }

    /// Returns the route at this undecoded path of the log `log`. Accepts one trailing slash.
    pub(crate) fn of(path: &str, log: &LogName) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let Some((first, rest)) = path.split_once('/') else {
            return match path {
                path if is(path, PREFIX) => Some(Self::Page),
                path => [Self::Status, Self::Metrics].into_iter().find(|route| is(path, route.name())),
            };
        };
        if !is(first, PREFIX) {
            return None;
        }
        let route = match rest.split_once('/') {
            None => rest,
            Some((name, route)) if is(name, log.as_str()) => route,
            Some(_) => return None,
        };
        let named =
            Self::NAMED.into_iter().chain([Self::OpenApi]).find(|candidate| is(route, candidate.name()));
        // A route wins over a log of the same name. The page of such a log is at `/moca-file-log`
        // only.
        named.or_else(|| (route == rest && is(rest, log.as_str())).then_some(Self::Page))
    }

    /// Returns the route at this path if it exists on the admin socket only.
    pub(crate) fn of_admin(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        [Self::AdminStatus, Self::AdminBlocked].into_iter().find(|route| route.name() == path)
    }

    /// Returns the decoded path in both forms, for the rules of keys.
    pub(crate) fn paths(self, log: &LogName) -> [String; 2] {
        if self == Self::Metrics {
            return ["/metrics".to_owned(), "/metrics".to_owned()];
        }
        let paths =
            [format!("/{PREFIX}/{}", self.name()), format!("/{PREFIX}/{}/{}", log.as_str(), self.name())];
        paths.map(|path| path.trim_end_matches('/').to_owned())
    }

    /// Returns all routes that need a key, in the order of the enumeration.
    pub(crate) fn keyed() -> impl Iterator<Item = Self> {
        Self::NAMED.into_iter().chain([Self::Metrics])
    }

    /// Reports whether the route needs the root password.
    pub(crate) const fn needs_root(self) -> bool {
        !matches!(self, Self::SaveLog | Self::SaveLogs | Self::Status | Self::OpenApi | Self::Page)
    }

    /// Reports whether the route accepts this method.
    pub(crate) fn allows(self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::POST | Method::HEAD | Method::OPTIONS)
            || (self == Self::AdminBlocked && *method == Method::DELETE)
    }

    /// Returns the methods that the route accepts, for `Allow`.
    pub(crate) const fn methods(self) -> &'static str {
        match self {
            Self::AdminBlocked => BLOCKED_LIST_METHODS,
            _ => METHODS,
        }
    }
}

/// Reports whether the undecoded path segment `segment` is `name`.
fn is(segment: &str, name: &str) -> bool {
    segment == name || (segment.contains('%') && percent_decode_str(segment).eq(name.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn route_of_any_path_has_that_path(path: String, near in "(/|%2F|%2f|moca-file-log|save-log|status|metrics|%73|a|%|\\.)*") {
            let log: LogName = "a".parse().unwrap();
            for path in [path, near] {
                if let Some(route) = Route::of(&path, &log) {
                    let decoded = percent_decode_str(&path).decode_utf8().unwrap();
                    let decoded = decoded.strip_suffix('/').unwrap_or(&decoded);
                    let [short, long] = route.paths(&log);
                    prop_assert!([&short, &long, "/status"].contains(&decoded), "{path}");
                }
            }
        }

        #[test]
        fn log_name_is_found_in_every_percent_encoding(name in "[a-zA-Z0-9 ._%?#&+é-]{1,12}", which in 0..8_usize) {
            let Ok(log) = name.parse::<LogName>() else { return Ok(()) };
            let route = Route::NAMED[which];
            let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC);
            prop_assert_eq!(Route::of(&format!("/moca-file-log/{encoded}/{}", route.name()), &log), Some(route));
            let every_byte: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(Route::of(&format!("/moca-file-log/{every_byte}/{}/", route.name()), &log), Some(route));
            let another = format!("/moca-file-log/{every_byte}%00/{}", route.name());
            prop_assert_eq!(Route::of(&another, &log), None);
        }
    }

    fn of(path: &str) -> Option<Route> {
        Route::of(path, &"a b/é".replace('/', "-").parse().unwrap())
    }

    #[test]
    fn route_has_both_path_forms_and_accepts_one_trailing_slash() {
        for route in Route::NAMED.into_iter().chain([Route::OpenApi]) {
            assert_eq!(of(&format!("/moca-file-log/{}", route.name())), Some(route));
            assert_eq!(of(&format!("/moca-file-log/a%20b-%C3%A9/{}/", route.name())), Some(route));
            assert_eq!(of(&format!("/moca-file-log/other/{}", route.name())), None);
            assert_eq!(of(&format!("/moca-file-log/{}//", route.name())), None);
            assert_eq!(of(&format!("//moca-file-log/{}", route.name())), None);
        }
        assert_eq!(of("/status"), Some(Route::Status));
        assert_eq!(of("/status/"), Some(Route::Status));
        assert_eq!((of("/metrics"), of("/metrics/")), (Some(Route::Metrics), Some(Route::Metrics)));
        assert_eq!((of("/moca-file-log/status"), of("/moca-file-log/metrics")), (None, None));
        for path in ["", "/", "*", "/moca-file-log//", "/moca-file-log/save-log%00"] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn page_is_at_the_paths_without_a_route() {
        for path in [
            "/moca-file-log",
            "/moca-file-log/",
            "/moca-file-log/a%20b-%C3%A9",
            "/moca-file-log/a%20b-%C3%A9/",
        ] {
            assert_eq!(of(path), Some(Route::Page), "{path}");
        }
        for path in [
            "/moca-file-log/other",
            "/moca-file-log/other/",
            "/moca-file-log/a%20b-%C3%A9//",
            "//moca-file-log",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        let details = "details".parse().unwrap();
        assert_eq!(Route::of("/moca-file-log/details", &details), Some(Route::Details));
        assert_eq!(Route::of("/moca-file-log/details/", &details), Some(Route::Details));
        assert_eq!(Route::of("/moca-file-log/", &details), Some(Route::Page));
    }
}
