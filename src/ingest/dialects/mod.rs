//! The input formats that senders use, one file each.

pub(crate) mod bulk;
mod datadog;
mod forward;
mod gelf;
mod hec;
pub(crate) mod journal;
pub(crate) mod loki;
pub(crate) mod native;
pub(crate) mod otlp;
mod seq;
mod syslog;
#[cfg(test)]
mod toy;

use http::HeaderMap;

use super::dialect::{Dialect, DialectRoute};
use super::socket_dialect::SocketDialect;
use crate::config::ListenFormat;

/// All dialects. Routing, checks and fuzzing go through this list.
pub(crate) static ALL: &[&dyn Dialect] = &[
    &native::Native,
    &bulk::Bulk,
    &loki::Loki,
    &otlp::Otlp,
    &journal::Journal,
    &datadog::Datadog,
    &hec::Hec,
    &gelf::GelfHttp,
    &seq::Seq,
    #[cfg(test)]
    &toy::Toy,
];

/// Returns the format of a socket that is not HTTP. `None`: it is not built in.
pub(crate) fn of_socket(format: ListenFormat) -> Option<&'static dyn SocketDialect> {
    match format {
        ListenFormat::Syslog => Some(&syslog::Syslog),
        ListenFormat::Gelf => Some(&gelf::Gelf),
        ListenFormat::Forward => Some(&forward::Forward),
    }
}

/// Returns the dialect and the route with this path, as [`DialectRoute::path`] names it.
pub(crate) fn find(path: &str) -> Option<(&'static dyn Dialect, &'static DialectRoute)> {
    ALL.iter().find_map(|dialect| {
        let route = dialect.routes().iter().find(|route| route.path == path)?;
        Some((*dialect, route))
    })
}

/// Returns the dialect that claims a request with these headers, and one of its routes.
pub(crate) fn claiming(headers: &HeaderMap) -> Option<(&'static dyn Dialect, &'static DialectRoute)> {
    let dialect = ALL.iter().find(|dialect| dialect.claims(headers))?;
    Some((*dialect, dialect.routes().first()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_path_belongs_to_one_dialect() {
        let mut paths = BTreeSet::new();
        for dialect in ALL {
            for route in dialect.routes() {
                assert!(paths.insert(route.path), "{} is there twice", route.path);
                assert!(!route.methods.is_empty(), "{}", route.path);
                assert_eq!(find(route.path).map(|(found, _)| found.name()), Some(dialect.name()));
            }
        }
        assert!(find("save").is_none());
    }
}
