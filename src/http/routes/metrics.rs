//! Serves `metrics`, which gives the counters and the state of the instance in the text exposition
//! format of Prometheus (version 0.0.4).

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::route::{Place, Route, RouteFilter, named};
use futures_util::FutureExt;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{CONTENT_TYPE, HeaderValue};

use crate::http::admitted_request::AdmittedRequest;
use crate::http::app::{App, unix_seconds};
use crate::http::observe::counters::Reason;
use crate::http::response::headers::keep_private;
use crate::http::response::success::{self, Answer};
use crate::ingest::batch::Changes;
use crate::record::Level;
use crate::store::{Latencies, Statistics};

/// Describes `metrics`.
pub(crate) static ROUTE: Route = Route {
    name: "metrics",
    place: Place::AtRoot,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { metrics(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/metrics.json")),
};

/// Matches the path of `metrics`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers with the metrics of the instance.
async fn metrics(request: &Arc<AdmittedRequest>) -> Answer {
    request.authorize_operator().await?;
    let app = &request.app;
    let statistics = app.store.statistics().await;
    let maintenance = app.guard.maintenance().is_on(request.policy.rules());
    let text = describe(app, &statistics, maintenance);
    let mut response = success::text(text.into());
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    keep_private(response.headers_mut());
    Ok(response)
}

fn describe(app: &App, statistics: &Statistics, maintenance: bool) -> String {
    let mut out = Exposition(String::with_capacity(8 * 1024));
    let instance_state = &app.instance_state;
    let refusals = &instance_state.refusals;
    out.family("moca_records_total", "counter", "Records stored since the start.");
    for (level, count) in Level::ALL.iter().zip(statistics.records) {
        out.sample("moca_records_total", &[("level", &level.as_str().to_ascii_lowercase())], count);
    }
    out.counter("moca_bytes_total", "Bytes of the lines of stored records.", statistics.bytes);
    let help = "Records accepted and not stored: below the level of the log.";
    out.counter("moca_filtered_total", help, instance_state.records.filtered());
    describe_changes(&mut out, instance_state.records.changes());
    out.family("moca_refused_total", "counter", "Requests not served, by reason.");
    for reason in Reason::ALL {
        out.sample("moca_refused_total", &[("reason", reason.name())], refusals.count(*reason));
    }
    let help = "Requests refused because the limits of their key were reached.";
    out.counter("moca_limited_total", help, refusals.count(Reason::TooManyRequests));
    let datagrams = &instance_state.datagrams;
    let help = "Datagrams that were read from the sockets in listen.";
    out.counter("moca_datagrams_total", help, datagrams.received.load(Ordering::Relaxed));
    let help =
        "Datagrams that were read and not stored: refused, malformed, or the log could not be written.";
    out.counter("moca_datagrams_dropped_total", help, datagrams.dropped.load(Ordering::Relaxed));
    let help = "Datagrams that the kernel dropped, because the buffer of the socket was full.";
    out.counter("moca_datagrams_lost_total", help, datagrams.lost.load(Ordering::Relaxed));
    out.gauge("moca_queue_bytes", "Bytes of lines that wait to be written.", statistics.queue);
    let help = "How long it took to sync a batch to the disk; none where durability is os.";
    out.histogram("moca_sync_seconds", help, &statistics.syncs);
    out.family("moca_disk_free_bytes", "gauge", "Bytes left on the file system of the log.");
    if let Some(free) = statistics.disk_free {
        out.sample("moca_disk_free_bytes", &[], free);
    }
    out.gauge("moca_size_bytes", "Bytes of all lines of the log, uncompressed.", statistics.size);
    out.gauge(
        "moca_segments",
        "Rotated segments of the log, beside the file that is written.",
        statistics.segments,
    );
    describe_records(&mut out, statistics);
    describe_maintenance(&mut out, statistics, app.guard.is_state_saved());
    let help = "Lines of the log that do not begin like a record of this service.";
    out.gauge("moca_foreign_lines", help, statistics.foreign);
    out.gauge("moca_followers", "Clients that follow the log.", app.followers.count());
    out.gauge("moca_connections", "Open connections.", instance_state.connections.load(Ordering::Relaxed));
    let streams = instance_state.http2_streams.load(Ordering::Relaxed);
    out.gauge("moca_http2_streams", "Open streams of all HTTP/2 connections.", streams);
    let floods = app.guard.floods();
    out.counter("moca_floods_total", "Connections closed because of a flood of frames.", floods.ended());
    let help = "Connections that waited, because their network had sent floods of frames.";
    out.counter("moca_delayed_connections_total", help, floods.delayed());
    let help = "Addresses blocked by the service or by hand, without those of ip_blacklist.json.";
    out.gauge("moca_blocked_addresses", help, app.guard.blocked_count());
    out.gauge("moca_maintenance", "1 in maintenance.", u8::from(maintenance));
    let in_force = instance_state.reload_refused.load().is_none();
    let help = "1 when the configuration files as they are now are in force.";
    out.gauge("moca_reload_success", help, u8::from(in_force));
    let help = "When the configuration in force was read, as Unix time.";
    out.gauge("moca_reload_timestamp_seconds", help, instance_state.reloaded.load(Ordering::Relaxed));
    out.family("moca_build_info", "gauge", "Always 1: the version, and the log that is served.");
    let build = [("version", env!("CARGO_PKG_VERSION")), ("log", app.name.as_str())];
    out.sample("moca_build_info", &build, 1);
    let help = "When the process began to serve, as Unix time.";
    out.gauge("process_start_time_seconds", help, unix_seconds(instance_state.began));
    out.0
}

fn describe_changes(out: &mut Exposition, changes: Changes) {
    let Changes { unknown_levels, cut_messages, dropped_fields, replaced_texts } = changes;
    let help = "Records whose level has no known meaning, so that they count as info.";
    out.counter("moca_unknown_levels_total", help, unknown_levels);
    out.counter("moca_cut_total", "Records whose message was cut because it was too long.", cut_messages);
    let help = "Fields of senders that were left out because their record had too many.";
    out.counter("moca_fields_dropped_total", help, dropped_fields);
    let help = "Records with bytes that are no UTF-8, which were replaced by U+FFFD.";
    out.counter("moca_utf8_replaced_total", help, replaced_texts);
}

fn describe_records(out: &mut Exposition, statistics: &Statistics) {
    let help = "Time of the last stored record, as Unix time; none in a new log.";
    out.time("moca_last_record_timestamp_seconds", help, statistics.last_record);
    let help = "Time of the oldest record of the log, as Unix time; none when it is unknown.";
    out.time("moca_oldest_record_timestamp_seconds", help, statistics.oldest_record);
    let help = "When a record could not be written last, as Unix time; none since the start.";
    out.time("moca_last_write_failure_timestamp_seconds", help, statistics.last_write_failure);
    let help = "How far the newest record is ahead of the system clock; 0 when it is not.";
    out.gauge("moca_clock_ahead_seconds", help, statistics.clock_ahead.as_secs_f64());
    let help = "Steps of the system clock: back by more than 10 seconds, or forward by more than an hour.";
    out.counter("moca_clock_steps_total", help, statistics.clock_steps);
}

fn describe_maintenance(out: &mut Exposition, statistics: &Statistics, is_guard_saved: bool) {
    out.counter("moca_rotations_total", "Rotations since the start.", statistics.rotations);
    let help = "Segments that retention removed since the start.";
    out.counter("moca_segments_retired_total", help, statistics.retired);
    let help = "1, or 0 when positions, blocked addresses or maintenance could not be saved.";
    out.gauge("moca_state_saved", help, u8::from(statistics.is_state_saved && is_guard_saved));
}

/// Writes a text in the exposition format, one metric family after the other.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Adds a gauge of a time in microseconds since the epoch, without a sample when there is none.
    fn time(&mut self, name: &str, help: &str, micros: Option<i64>) {
        self.family(name, "gauge", help);
        if let Some(micros) = micros {
            self.sample(name, &[], micros as f64 / 1_000_000.0);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, latencies: &Latencies) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in latencies.buckets() {
            self.sample(&bucket, &[("le", &bound.to_string())], count);
        }
        let count = latencies.count();
        self.sample(&bucket, &[("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &[], latencies.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), &[], count);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.extend([*label, "=\""]);
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.0.push_str(&format!(" {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = Exposition(String::new());
        out.sample("m", &[("a", "q\"b\\n\n"), ("b", "")], 1);
        out.sample("m", &[], 0.5);
        assert_eq!(out.0, "m{a=\"q\\\"b\\\\n\\n\",b=\"\"} 1\nm 0.5\n");
    }
}
