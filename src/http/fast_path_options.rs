//! Decides whether the options permit the fast path.
//!
//! The functions name every option and leave none out, so a new option does not compile until its
//! author has decided what it means for a request that hyper does not parse. An option that is
//! named with `_` has no effect on such a request, or the fast path obeys it.

use crate::config::{Files, HttpSettings, LogEntry, Server, System};

/// Reports whether the configuration needs no part of a request that the fast path does not read.
pub(crate) const fn permit_fast_path(files: &Files, log: &LogEntry) -> bool {
    let Files { logs: _, keys: _, server, system, blacklist: _, http } = files;
    permits_by_http(http) && permits_by_server(server) && permits_by_system(system) && permits_by_log(log)
}

const fn permits_by_http(http: &HttpSettings) -> bool {
    let HttpSettings {
        // The fast path keeps these limits and timeouts itself.
        request_max_size: _,
        request_timeout: _,
        response_timeout: _,
        keep_alive_timeout: _,
        max_body_memory: _,
        body_timeout: _,
        max_header_size: _,
        max_headers: _,
        // A connection of the fast path serves more than one request.
        keep_alive,
        // The access log is decided by `Files::writes_access_log`, which `Policy` asks.
        access_log: _,
        // The address of the client is in a header.
        forwarded_secret,
        proxies_count,
        real_ip_header,
        // They name or trust headers of the three options above.
        forwarded_for_header: _,
        trusted_proxies: _,
        // They apply to listeners, followers, searches, and the stop.
        request_buffer_queue_size: _,
        websocket_max_size: _,
        websocket_max_queue: _,
        websocket_read_limit: _,
        websocket_write_limit: _,
        websocket_ping_interval: _,
        websocket_ping_timeout: _,
        graceful_shutdown_timeout: _,
        workers: _,
        max_connections: _,
        max_connections_per_ip: _,
        max_streams: _,
        max_searches: _,
    } = http;
    *keep_alive && forwarded_secret.is_none() && proxies_count.is_none() && real_ip_header.is_none()
}

const fn permits_by_server(server: &Server) -> bool {
    let Server {
        // The trace of a request needs its whole head.
        debug,
        // As in `http.toml`.
        access_log: _,
        // The prepared heads hold these headers. A request with `Origin` is for the slow path.
        headers: _,
        cors: _,
        // A key whose limits Redis counts is for the slow path.
        rate_limiter_redis_storage: _,
        // A request that announces encryption is for the slow path.
        pyjs_secret: _,
        // They apply to listeners, the process, and downloads.
        tls: _,
        log_level: _,
        auto_reload: _,
        backlog: _,
        stream_large_files: _,
    } = server;
    !*debug
}

const fn permits_by_system(system: &System) -> bool {
    let System {
        // The checks of the address and of the key apply as on the slow path.
        maintenance_mode: _,
        maintenance_mode_whitelist: _,
        dos_detect: _,
        block_ip_when_received_invalid_system_auth: _,
        // No route of the fast path needs it.
        root_pass: _,
        // A request with `Referer` is for the slow path.
        allowed_referer: _,
        // The head must hold more than the fast path reads.
        force_referer,
        force_headers,
    } = system;
    !*force_referer && force_headers.is_empty()
}

const fn permits_by_log(log: &LogEntry) -> bool {
    let LogEntry {
        // The fast path obeys them.
        level: _,
        max_message: _,
        long_messages: _,
        fields: _,
        drop_fields: _,
        // A batch is for the slow path.
        max_batch: _,
        // They apply to listeners and to the store.
        status: _,
        host: _,
        port: _,
        use_ipv6: _,
        file: _,
        format: _,
        durability: _,
        rotate: _,
        listen: _,
    } = log;
    true
}
