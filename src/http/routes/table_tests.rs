//! Tests of the table of routes, through the filters that requests pass.

use std::net::IpAddr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::http::route::Place;

/// The name of a route, with its place: a log and the root have routes of the same name.
type Name = (Place, &'static str);

fn find_for(client: ClientAddr, method: &Method, path: &str, log: &LogName) -> Result<Name, u16> {
    let Ok(uri) = path.parse() else { return Err(400) };
    let found = find(method, &uri, client, log);
    found.map(|route| (route.place, route.name)).map_err(|problem| problem.into_response().status().as_u16())
}

fn of(path: &str, log: &LogName) -> Option<Name> {
    find_for(ClientAddr::from(IpAddr::from([192, 0, 2, 1])), &Method::GET, path, log).ok()
}

fn log_with_spaces() -> LogName {
    "a b-é".parse().unwrap()
}

proptest! {
    #[test]
    fn route_of_any_path_has_that_path(path in "/\\PC{0,20}", near in "(/|%2F|%2f|moca-file-log|save-log|status|metrics|%73|a|%|\\.)*") {
        let log: LogName = "a".parse().unwrap();
        for path in [path, near] {
            if let Some((place, name)) = of(&path, &log) {
                let without_query = path.split(['?', '#']).next().unwrap_or_default();
                let decoded = percent_decode_str(without_query).decode_utf8().unwrap();
                let decoded = decoded.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&decoded);
                let route = all().find(|route| (route.place, route.name) == (place, name)).unwrap();
                let paths = route.paths(&log);
                prop_assert!(paths.iter().any(|full| full == decoded), "{path}");
            }
        }
    }

    #[test]
    fn log_name_is_found_in_every_percent_encoding(name in "[a-zA-Z0-9 ._%?#&+é-]{1,12}", which in 0..8_usize) {
        let Ok(log) = name.parse::<LogName>() else { return Ok(()) };
        let route = all().filter(|route| route.place == Place::OfLog).nth(which).unwrap().name;
        let expected = Some((Place::OfLog, route));
        let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC);
        prop_assert_eq!(of(&format!("/moca-file-log/{encoded}/{route}"), &log), expected);
        let every_byte: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(of(&format!("/moca-file-log/{every_byte}/{route}/"), &log), expected);
        let another = format!("/moca-file-log/{every_byte}%00/{route}");
        prop_assert_eq!(of(&another, &log), None);
    }
}

#[test]
fn route_has_both_path_forms_and_accepts_one_trailing_slash() {
    let log = log_with_spaces();
    let named = all().filter(|route| route.place == Place::OfLog && !route.name.is_empty());
    for route in named.map(|route| route.name) {
        let expected = Some((Place::OfLog, route));
        assert_eq!(of(&format!("/moca-file-log/{route}"), &log), expected);
        assert_eq!(of(&format!("/moca-file-log/a%20b-%C3%A9/{route}/"), &log), expected);
        assert_eq!(of(&format!("/moca-file-log/other/{route}"), &log), None);
        assert_eq!(of(&format!("/moca-file-log/{route}//"), &log), None);
        assert_eq!(of(&format!("//moca-file-log/{route}"), &log), None);
        assert_eq!(of(&format!("/moca-file-log/{route}/{route}"), &log), None);
    }
    for path in ["/status", "/status/", "/%73tatus"] {
        assert_eq!(of(path, &log), Some((Place::AtRoot, "status")));
    }
    assert_eq!(of("/", &log), Some((Place::AtRoot, "")));
    assert_eq!(of("/metrics/", &log), Some((Place::AtRoot, "metrics")));
    for path in [
        "*",
        "/moca-file-log//",
        "/moca-file-log/save-log%00",
        "/moca-file-log/status",
        "/moca-file-log/metrics",
        "/moca-file-log/admin/status",
    ] {
        assert_eq!(of(path, &log), None, "{path}");
    }
}

#[test]
fn page_is_at_the_paths_without_a_route() {
    let log = log_with_spaces();
    let page = Some((Place::OfLog, ""));
    for path in
        ["/moca-file-log", "/moca-file-log/", "/moca-file-log/a%20b-%C3%A9", "/moca-file-log/a%20b-%C3%A9/"]
    {
        assert_eq!(of(path, &log), page, "{path}");
    }
    for path in
        ["/moca-file-log/other", "/moca-file-log/other/", "/moca-file-log/a%20b-%C3%A9//", "//moca-file-log"]
    {
        assert_eq!(of(path, &log), None, "{path}");
    }
    let details = "details".parse().unwrap();
    let route = Some((Place::OfLog, "details"));
    assert_eq!(of("/moca-file-log/details", &details), route);
    assert_eq!(of("/moca-file-log/details/", &details), route);
    assert_eq!(of("/moca-file-log/details/details", &details), route);
    assert_eq!(of("/moca-file-log/", &details), page);
}

#[test]
fn routes_of_the_admin_socket_exist_there_only() {
    let log = log_with_spaces();
    let client = ClientAddr::from(IpAddr::from([127, 0, 0, 1]));
    for (path, name) in
        [("/admin/status", "status"), ("/admin/blocked", "blocked"), ("/admin/maintenance", "maintenance")]
    {
        assert_eq!(find_for(ClientAddr::Local, &Method::GET, path, &log), Ok((Place::Admin, name)));
        assert_eq!(find_for(client, &Method::GET, path, &log), Err(404));
    }
    assert_eq!(find_for(ClientAddr::Local, &Method::DELETE, "/admin/status", &log), Err(405));
    let blocked = find_for(ClientAddr::Local, &Method::DELETE, "/admin/blocked", &log);
    assert_eq!(blocked, Ok((Place::Admin, "blocked")));
}

#[test]
fn method_is_checked_after_the_path() {
    let log = log_with_spaces();
    let client = ClientAddr::from(IpAddr::from([192, 0, 2, 1]));
    for (method, path, expected) in [
        (Method::PUT, "/moca-file-log/details", Err(405)),
        (Method::PUT, "/moca-file-log/nothing", Err(404)),
        (Method::OPTIONS, "*", Ok((Place::AtRoot, "*"))),
        (Method::OPTIONS, "/moca-file-log/details", Ok((Place::OfLog, "details"))),
    ] {
        assert_eq!(find_for(client, &method, path, &log), expected, "{path}");
    }
}

#[test]
fn path_of_a_dialect_may_have_any_segment() {
    let log = log_with_spaces();
    let client = ClientAddr::from(IpAddr::from([192, 0, 2, 1]));
    let toy = Ok((Place::AtRoot, "toy/*/lines"));
    for path in ["/toy/a/lines", "/toy/%C3%A9/lines/"] {
        assert_eq!(find_for(client, &Method::POST, path, &log), toy, "{path}");
        assert_eq!(find_for(client, &Method::GET, path, &log), Err(405), "{path}");
    }
    for path in ["/toy/lines", "/toy//lines", "/toy/a/b/lines", "/toy/a/lines/b"] {
        assert_eq!(find_for(client, &Method::POST, path, &log), Err(404), "{path}");
    }
}
