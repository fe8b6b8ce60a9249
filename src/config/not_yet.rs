//! Options that are read and validated but change nothing in this version: who sets one is told so.

use super::finding::Finding;
use super::{Files, HttpSettings, http_toml};

/// A warning for each option of the files that all logs share that is set to something other than
/// its default and not in force yet.
#[must_use]
pub fn not_in_force(files: &Files) -> Vec<Finding> {
    let http = &files.http;
    let usual = HttpSettings::default();
    let table = [
        (
            http.websocket_max_size != usual.websocket_max_size,
            http_toml::FILE,
            "websocket_max_size",
            NO_WEBSOCKETS,
        ),
        (
            http.websocket_max_queue != usual.websocket_max_queue,
            http_toml::FILE,
            "websocket_max_queue",
            NO_WEBSOCKETS,
        ),
        (
            http.websocket_read_limit != usual.websocket_read_limit,
            http_toml::FILE,
            "websocket_read_limit",
            NO_WEBSOCKETS,
        ),
        (
            http.websocket_write_limit != usual.websocket_write_limit,
            http_toml::FILE,
            "websocket_write_limit",
            NO_WEBSOCKETS,
        ),
        (
            http.websocket_ping_interval != usual.websocket_ping_interval,
            http_toml::FILE,
            "websocket_ping_interval",
            NO_WEBSOCKETS,
        ),
        (
            http.websocket_ping_timeout != usual.websocket_ping_timeout,
            http_toml::FILE,
            "websocket_ping_timeout",
            NO_WEBSOCKETS,
        ),
    ];
    let set = table.into_iter().filter(|(set, ..)| *set);
    set.map(|(_, file, option, instead)| {
        Finding::of_option(file, option, format!("valid, but not in force in this version: {instead}"))
    })
    .collect()
}

const NO_WEBSOCKETS: &str = "there are no WebSockets";

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    fn options(log: &str, server: &str, http: &str) -> Vec<String> {
        let log = format!(r#"{{"a": {{"host": "h", "port": 1, "file": "a"{log}}}}}"#);
        let sources = Sources {
            log: Some(log),
            server: Some(server.to_owned()),
            http: Some(http.to_owned()),
            ..Sources::default()
        };
        let files = Files::parse(&sources).unwrap_or_else(|errors| panic!("{errors:?}")).files;
        not_in_force(&files).into_iter().map(|f| format!("{} {}", f.file, f.path)).collect()
    }

    #[test]
    fn defaults_are_not_mentioned() {
        assert_eq!(options("", "{}", ""), [""; 0]);
        let written = "websocket_max_size = 1048576\nworkers = 1\naccess_log = true\n";
        let server = r#"{"debug": true, "access_log": true, "auto_reload": true, "pyjs_secret": null}"#;
        assert_eq!(options(r#", "rotate": {}"#, server, written), [""; 0]);
    }

    #[test]
    fn everything_else_is() {
        let http = "websocket_max_size = 1\nwebsocket_max_queue = 1\nwebsocket_read_limit = 1\n\
            websocket_write_limit = 1\nwebsocket_ping_interval = 1\nwebsocket_ping_timeout = 1\n";
        let all = options(r#", "rotate": {"keep": 3}"#, "{}", http);
        assert_eq!(all.len(), 7, "{all:?}");
    }
}
