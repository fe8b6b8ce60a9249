//! Checks the index of all options, each with the test that fails when the program ignores the
//! option.
//!
//! A new option needs a line in [`INDEX`] and a row in a table of `docs/configuration.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Lists the file, the name and `path/of/test.rs::function` of each option.
const INDEX: &[(&str, &str, &str)] = &[
    ("log.json", "status", "tests/http/operation/options.rs::a_log_that_is_switched_off_does_not_start"),
    ("log.json", "host", "tests/http/operation/options.rs::it_listens_on_its_host_only"),
    ("log.json", "port", "tests/http/operation/options.rs::it_listens_on_its_host_only"),
    ("log.json", "use_ipv6", "tests/http/operation/lifecycle.rs::use_ipv6_makes_it_listen_on_ipv6"),
    ("log.json", "file", "tests/http/reading/log_routes.rs::the_log_file_may_have_an_absolute_path"),
    ("log.json", "level", "tests/http/ingest/parameters.rs::records_below_the_level_of_the_log_are_filtered"),
    ("log.json", "format", "tests/http/ingest/lines.rs::the_json_format_has_the_same_record"),
    ("log.json", "durability", "tests/store/sync.rs::durability_disk_syncs_before_the_answer"),
    (
        "log.json",
        "max_message",
        "tests/http/ingest/options.rs::max_message_limits_each_record_and_applies_live",
    ),
    (
        "log.json",
        "long_messages",
        "tests/http/ingest/options.rs::long_messages_are_cut_where_the_log_says_so",
    ),
    (
        "log.json",
        "max_batch",
        "tests/http/ingest/options.rs::max_batch_limits_the_entries_of_logs_and_applies_live",
    ),
    ("log.json", "fields", "tests/http/ingest/options.rs::fields_can_be_left_out_live"),
    (
        "log.json",
        "drop_fields",
        "tests/http/ingest/options.rs::dropped_fields_are_left_out_with_all_below_them",
    ),
    ("log.json", "listen.type", "tests/http/listen/syslog.rs::every_socket_stores_what_it_gets"),
    ("log.json", "listen.on", "tests/http/listen/syslog.rs::every_socket_stores_what_it_gets"),
    ("log.json", "listen.key", "tests/http/listen/rules.rs::the_rules_of_the_key_apply_live"),
    ("log.json", "listen.shared_key", "src/config/tests/listen.rs::mistakes_are_found_with_their_place"),
    (
        "log.json",
        "rotate.max_size",
        "tests/store/rotation.rs::max_size_is_never_exceeded_and_splits_no_batch",
    ),
    ("log.json", "rotate.every", "tests/store/rotation.rs::every_rotates_without_appends"),
    ("log.json", "rotate.keep", "tests/store/rotation.rs::keep_counts_segments"),
    ("log.json", "rotate.max_age", "tests/store/rotation.rs::max_age_removes_old_segments_without_appends"),
    ("log.json", "rotate.max_total", "tests/store/rotation.rs::max_total_is_never_exceeded"),
    (
        "log.json",
        "rotate.min_free",
        "tests/store/disk_full.rs::min_free_refuses_records_before_the_disk_is_full",
    ),
    (
        "log.json",
        "rotate.compress",
        "tests/store/rotation.rs::cursors_name_the_same_records_through_rotation_compression_and_restart",
    ),
    ("api_key.json", "key", "tests/http/security/keys.rs::missing_and_unknown_keys_are_refused"),
    ("api_key.json", "name", "tests/http/ingest/lines.rs::the_key_field_is_the_name_of_the_key"),
    ("api_key.json", "status", "tests/http/security/keys.rs::a_key_is_offline_by_default"),
    ("api_key.json", "allowed_path", "tests/http/security/keys.rs::allowed_path_ends_at_segments"),
    ("api_key.json", "required.headers", "tests/http/security/keys.rs::required_headers_must_match_exactly"),
    (
        "api_key.json",
        "required.args",
        "tests/http/security/keys.rs::required_arguments_count_from_every_source",
    ),
    ("api_key.json", "ip", "tests/http/security/keys.rs::a_key_is_bound_to_addresses_and_networks"),
    ("api_key.json", "rate", "tests/http/security/rate_limits.rs::a_key_has_its_own_limit"),
    ("api_key.json", "delay", "tests/http/security/keys.rs::delay_delays_accepted_requests_only"),
    ("api_key.json", "levels", "tests/http/ingest/options.rs::levels_of_a_key_fix_the_scale_of_numbers"),
    ("api_key.json", "info", "tests/ctl/keys.rs::a_key_is_shown_once_and_stored_as_its_hash"),
    ("server.json", "ssl.cert", "tests/http/connections/tls.rs::a_broken_pair_refuses_the_start"),
    ("server.json", "ssl.key", "tests/http/connections/tls.rs::a_broken_pair_refuses_the_start"),
    ("server.json", "debug", "tests/http/observability/debug.rs::the_parts_of_a_request_are_timed"),
    ("server.json", "access_log", "tests/http/observability/access_log.rs::every_request_writes_one_line"),
    (
        "server.json",
        "log_level",
        "tests/http/operation/options.rs::log_level_selects_the_messages_of_the_server",
    ),
    (
        "server.json",
        "auto_reload",
        "tests/http/operation/auto_reload.rs::with_passed_sockets_it_exits_and_no_client_is_refused",
    ),
    ("server.json", "backlog", "tests/http/operation/options.rs::backlog_limits_the_waiting_connections"),
    ("server.json", "headers", "tests/http/api/cors.rs::every_answer_has_the_configured_headers"),
    (
        "server.json",
        "access_control_allowed_credentials",
        "tests/http/api/cors.rs::credentials_can_be_turned_off",
    ),
    ("server.json", "access_control_allowed_origins", "tests/http/api/cors.rs::other_origins_are_not_echoed"),
    (
        "server.json",
        "access_control_allowed_methods",
        "tests/http/api/cors.rs::a_preflight_gets_all_cors_headers",
    ),
    (
        "server.json",
        "access_control_allow_headers",
        "tests/http/api/cors.rs::a_text_of_headers_is_sent_unchanged",
    ),
    ("server.json", "access_control_max_age", "tests/http/api/cors.rs::a_preflight_gets_all_cors_headers"),
    ("server.json", "access_control_expose_headers", "tests/http/api/cors.rs::an_allowed_origin_is_echoed"),
    (
        "server.json",
        "stream_large_files",
        "tests/http/operation/options.rs::stream_large_files_does_not_change_the_answer",
    ),
    (
        "server.json",
        "rate_limiter_redis_storage",
        "tests/http/security/redis/mod.rs::two_instances_share_the_limit_of_each_key_exactly",
    ),
    (
        "server.json",
        "pyjs_secret",
        "tests/http/ingest/encryption.rs::bodies_of_version_1_0_0_clients_are_stored",
    ),
    (
        "system.json",
        "maintenance_mode",
        "tests/http/security/maintenance.rs::the_file_switches_it_on_and_off_at_a_reload",
    ),
    (
        "system.json",
        "maintenance_mode_whitelist",
        "tests/http/security/maintenance.rs::the_whitelist_is_served",
    ),
    (
        "system.json",
        "referer.allowed_referer",
        "tests/http/security/order_of_checks.rs::a_star_allows_any_referer",
    ),
    (
        "system.json",
        "referer.force",
        "tests/http/security/order_of_checks.rs::a_forced_referer_must_be_present_and_allowed",
    ),
    ("system.json", "force_headers", "tests/http/security/order_of_checks.rs::forced_headers_are_required"),
    (
        "system.json",
        "dos_detect",
        "tests/http/security/blocking.rs::more_than_dos_detect_requests_in_a_second_block_the_address",
    ),
    (
        "system.json",
        "block_ip_when_received_invalid_system_auth",
        "tests/http/security/blocking.rs::unknown_keys_block_the_address_when_configured",
    ),
    (
        "system.json",
        "root_pass",
        "tests/http/security/root_password.rs::only_the_right_password_opens_the_root_routes",
    ),
    ("http.toml", "request_max_size", "tests/http/connections/hostile.rs::a_body_over_the_maximum_is_413"),
    (
        "http.toml",
        "request_buffer_queue_size",
        "src/config/tests/warnings.rs::options_without_effect_get_a_warning",
    ),
    ("http.toml", "request_timeout", "tests/http/connections/slow.rs::a_slow_header_times_out"),
    (
        "http.toml",
        "response_timeout",
        "tests/http/connections/slow.rs::an_answer_after_response_timeout_is_503",
    ),
    ("http.toml", "keep_alive", "tests/http/connections/slow.rs::without_keep_alive_every_answer_closes"),
    (
        "http.toml",
        "keep_alive_timeout",
        "tests/http/connections/slow.rs::an_idle_connection_is_closed_without_an_answer",
    ),
    (
        "http.toml",
        "websocket_max_size",
        "tests/http/following/websocket.rs::a_message_above_the_limit_closes_the_connection",
    ),
    (
        "http.toml",
        "websocket_max_queue",
        "tests/http/following/websocket.rs::waiting_pings_are_bounded_and_all_answered",
    ),
    (
        "http.toml",
        "websocket_read_limit",
        "tests/http/following/websocket.rs::websocket_read_limit_bounds_each_read",
    ),
    (
        "http.toml",
        "websocket_write_limit",
        "tests/http/following/websocket.rs::websocket_write_limit_bounds_each_write",
    ),
    (
        "http.toml",
        "websocket_ping_interval",
        "tests/http/following/websocket.rs::a_client_that_does_not_answer_pings_is_disconnected",
    ),
    (
        "http.toml",
        "websocket_ping_timeout",
        "tests/http/following/websocket.rs::a_client_that_does_not_answer_pings_is_disconnected",
    ),
    (
        "http.toml",
        "graceful_shutdown_timeout",
        "tests/http/operation/lifecycle.rs::the_stop_waits_at_most_graceful_shutdown_timeout",
    ),
    (
        "http.toml",
        "access_log",
        "tests/http/observability/access_log.rs::either_file_switches_it_at_a_reload",
    ),
    ("http.toml", "forwarded_secret", "tests/http/security/proxy_chain.rs::forwarded_counts_with_the_secret"),
    ("http.toml", "proxies_count", "tests/http/security/proxy_chain.rs::two_appending_proxies_are_counted"),
    (
        "http.toml",
        "forwarded_for_header",
        "tests/http/security/proxy_chain.rs::forwarded_for_header_may_have_any_name",
    ),
    (
        "http.toml",
        "real_ip_header",
        "tests/http/security/proxy_chain.rs::the_real_ip_header_that_a_proxy_replaces_counts",
    ),
    (
        "http.toml",
        "workers",
        "tests/http/operation/workers.rs::each_thread_serves_and_every_record_is_stored_once_and_in_order",
    ),
    (
        "http.toml",
        "max_connections",
        "tests/http/connections/full.rs::connections_with_requests_stay_and_new_ones_wait",
    ),
    (
        "http.toml",
        "max_connections_per_ip",
        "tests/http/connections/slow.rs::connections_of_one_address_are_limited",
    ),
    ("http.toml", "max_streams", "tests/http/connections/floods.rs::streams_of_all_connections_are_bounded"),
    ("http.toml", "max_body_memory", "tests/http/connections/hostile.rs::all_bodies_together_are_bounded"),
    ("http.toml", "body_timeout", "tests/http/connections/slow.rs::silence_inside_a_body_times_out_earlier"),
    (
        "http.toml",
        "trusted_proxies",
        "tests/http/security/proxy_chain.rs::only_proxies_in_trusted_proxies_count",
    ),
    ("http.toml", "max_header_size", "tests/http/connections/hostile.rs::the_header_limits_are_configurable"),
    ("http.toml", "max_headers", "tests/http/connections/hostile.rs::the_header_limits_are_configurable"),
    ("http.toml", "max_searches", "tests/http/reading/searches.rs::max_searches_limits_concurrent_searches"),
];

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_option_is_in_the_index_once() {
    let known: BTreeSet<String> = moca_file_log::config::options()
        .into_iter()
        .map(|(file, option)| format!("{file} {option}"))
        .collect();
    let indexed: Vec<String> = INDEX.iter().map(|(file, option, _)| format!("{file} {option}")).collect();
    let once: BTreeSet<String> = indexed.iter().cloned().collect();
    assert_eq!(once.len(), indexed.len(), "an option is in the index twice");
    let missing: Vec<_> = known.difference(&once).collect();
    let extra: Vec<_> = once.difference(&known).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not in the index: {missing:?}; no option: {extra:?}");
}

#[test]
fn every_test_of_the_index_exists() {
    let mut sources = BTreeMap::new();
    for (file, option, test) in INDEX {
        let (path, function) = test.split_once("::").unwrap_or_else(|| panic!("{file} {option}: {test}"));
        let source = sources.entry(path).or_insert_with(|| read(path));
        let at = source.find(&format!("\nfn {function}() {{"));
        let at = at.unwrap_or_else(|| panic!("{file} {option}: no function {function} in {path}"));
        let attributes = source[..at].rsplit("\n\n").next().unwrap();
        assert!(attributes.contains("#[test]"), "{file} {option}: {function} in {path} is not a test");
        let name = option.rsplit('.').next().unwrap();
        assert!(source.contains(name), "{path} does not name {option}");
    }
}

/// Returns the rows of the tables in `docs/configuration.md`, by the file whose section they are
/// in.
fn rows() -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut file = String::new();
    for line in read("docs/configuration.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut file);
        }
        if line.starts_with("| `") {
            rows.entry(file.clone()).or_default().push(line.to_owned());
        }
    }
    rows
}

#[test]
fn every_option_is_in_a_table_of_the_documentation() {
    let rows = rows();
    for (file, option, _) in INDEX {
        let (holder, name) = option.split_once('.').unwrap_or((option, option));
        let names = |row: &&String| {
            let first = row.split(" | ").next().unwrap_or_default();
            first.contains(&format!("`{option}`"))
                || (first.contains(&format!("`{holder}`")) && row.contains(&format!("`{name}`")))
        };
        let of_file =
            rows.get(*file).unwrap_or_else(|| panic!("docs/configuration.md has no table for {file}"));
        of_file.iter().find(names).unwrap_or_else(|| panic!("not in docs/configuration.md: {file} {option}"));
    }
}

/// Covers the options of `log.json`, `api_key.json`, `server.json`, `system.json` and Sanic's table
/// in MocaFileLog 1.0.0.
#[test]
fn every_option_of_version_1_0_0_is_known() {
    let original: [(&str, &[&str]); 5] = [
        ("log.json", &["host", "port", "use_ipv6", "file", "level"]),
        (
            "api_key.json",
            &[
                "key",
                "status",
                "allowed_path",
                "required.headers",
                "required.args",
                "ip",
                "rate",
                "delay",
                "info",
            ],
        ),
        (
            "server.json",
            &[
                "ssl.cert",
                "ssl.key",
                "debug",
                "access_log",
                "log_level",
                "auto_reload",
                "backlog",
                "headers",
                "access_control_allowed_credentials",
                "access_control_allowed_origins",
                "access_control_allowed_methods",
                "access_control_allow_headers",
                "access_control_max_age",
                "access_control_expose_headers",
                "stream_large_files",
                "rate_limiter_redis_storage",
                "pyjs_secret",
            ],
        ),
        (
            "system.json",
            &[
                "maintenance_mode",
                "maintenance_mode_whitelist",
                "referer.allowed_referer",
                "referer.force",
                "force_headers",
                "dos_detect",
                "root_pass",
            ],
        ),
        (
            "http.toml",
            &[
                "request_max_size",
                "request_buffer_queue_size",
                "request_timeout",
                "response_timeout",
                "keep_alive",
                "keep_alive_timeout",
                "websocket_max_size",
                "websocket_max_queue",
                "websocket_read_limit",
                "websocket_write_limit",
                "websocket_ping_interval",
                "websocket_ping_timeout",
                "graceful_shutdown_timeout",
                "access_log",
                "forwarded_secret",
                "proxies_count",
                "forwarded_for_header",
                "real_ip_header",
            ],
        ),
    ];
    for (file, options) in original {
        for option in options {
            assert!(INDEX.iter().any(|(f, o, _)| f == &file && o == option), "{file} {option}");
        }
    }
}
