//! Reads samples of the metrics of an instance and computes the figures between two samples.

use std::time::Instant;

use serde::Serialize;

/// Holds the metrics of an instance at one time.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    /// The name of each series, with its labels as in the text, and its value.
    series: Vec<(String, f64)>,
}

/// Holds the figures of an instance that `top` shows.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) records_per_second: Option<f64>,
    pub(super) bytes_per_second: Option<f64>,
    pub(super) refused_per_second: Option<f64>,
    pub(super) limited_per_second: Option<f64>,
    pub(super) queue_bytes: Option<f64>,
    /// The 99th percentile of the syncs, or `None` without a sync.
    pub(super) sync_p99_seconds: Option<f64>,
    pub(super) followers: Option<f64>,
    pub(super) connections: Option<f64>,
    pub(super) disk_free_bytes: Option<f64>,
    pub(super) size_bytes: Option<f64>,
    pub(super) maintenance: Option<bool>,
}

const STARTED: &str = "process_start_time_seconds";

impl Sample {
    /// Reads the text format of Prometheus and ignores other lines.
    pub(super) fn read(text: &str, at: Instant) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { at, series: series.collect() }
    }

    /// Returns the sum of all series with this name.
    fn sum(&self, name: &str) -> Option<f64> {
        let of_name = |series: &str| {
            series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.series.iter().filter(|(series, _)| of_name(series)).map(|(_, value)| *value).reduce(|a, b| a + b)
    }

    /// Returns the upper bounds of the sync histogram, each with the number of syncs up to it.
    fn syncs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().filter_map(|(series, count)| {
            let bound = series.strip_prefix("moca_sync_seconds_bucket{le=\"")?.strip_suffix("\"}")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, *count))
        })
    }

    /// Returns the figures of this sample. Rates need an earlier sample of the same process.
    pub(super) fn since(&self, before: Option<&Self>) -> Figures {
        let before = before.filter(|before| before.sum(STARTED) == self.sum(STARTED));
        let rate = |name| {
            let seconds = self.at.duration_since(before?.at).as_secs_f64();
            let new = self.sum(name)? - before?.sum(name)?;
            (new >= 0.0 && seconds > 0.0).then(|| (new / seconds * 1000.0).round() / 1000.0)
        };
        Figures {
            records_per_second: rate("moca_records_total"),
            bytes_per_second: rate("moca_bytes_total"),
            refused_per_second: rate("moca_refused_total"),
            limited_per_second: rate("moca_limited_total"),
            queue_bytes: self.sum("moca_queue_bytes"),
            sync_p99_seconds: before.and_then(|before| self.p99(before)),
            followers: self.sum("moca_followers"),
            connections: self.sum("moca_connections"),
            disk_free_bytes: self.sum("moca_disk_free_bytes"),
            size_bytes: self.sum("moca_size_bytes"),
            maintenance: self.sum("moca_maintenance").map(|on| on > 0.0),
        }
    }

    /// Estimates the 99th percentile. It assumes that latencies are spread evenly within a bucket.
    /// A latency above the last bound counts as that bound.
    fn p99(&self, before: &Self) -> Option<f64> {
        let buckets: Vec<(f64, f64)> = self
            .syncs()
            .zip(before.syncs())
            .map(|((bound, count), (_, count_before))| (bound, count - count_before))
            .collect();
        let all = buckets.last()?.1;
        let rank = all * 0.99;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, up_to) in buckets {
            if up_to >= rank && up_to > below {
                let part = (rank - below) / (up_to - below);
                return Some(if bound.is_finite() { lower + (bound - lower) * part } else { lower });
            }
            (lower, below) = (bound, up_to);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn page(records: u32, started: u32, buckets: [u32; 3]) -> String {
        let [a, b, all] = buckets;
        format!(
            "# HELP moca_records_total x\nmoca_records_total{{level=\"info\"}} {records}\n\
             moca_records_total{{level=\"error\"}} 1\nmoca_records_total_of_others 9\nmoca_queue_bytes 17\n\
             moca_maintenance 1\nnonsense\nprocess_start_time_seconds {started}\n\
             moca_sync_seconds_bucket{{le=\"0.1\"}} {a}\nmoca_sync_seconds_bucket{{le=\"1\"}} {b}\n\
             moca_sync_seconds_bucket{{le=\"+Inf\"}} {all}\n"
        )
    }

    #[test]
    fn rates_need_two_samples_of_one_process() {
        let begun = Instant::now();
        let first = Sample::read(&page(10, 7, [0, 0, 0]), begun);
        let later = begun + Duration::from_secs(2);
        let figures = Sample::read(&page(110, 7, [0, 0, 0]), later).since(Some(&first));
        assert_eq!(figures.records_per_second, Some(50.0));
        assert_eq!((figures.queue_bytes, figures.maintenance), (Some(17.0), Some(true)));
        assert_eq!(
            (figures.sync_p99_seconds, figures.size_bytes, figures.bytes_per_second),
            (None, None, None)
        );
        for figures in [
            Sample::read(&page(110, 8, [0, 0, 0]), later).since(Some(&first)),
            Sample::read(&page(9, 7, [0, 0, 0]), later).since(Some(&first)),
            first.since(None),
        ] {
            assert_eq!((figures.records_per_second, figures.queue_bytes), (None, Some(17.0)));
        }
    }

    #[test]
    fn the_99th_percentile_is_of_the_syncs_between_two_samples() {
        let begun = Instant::now();
        let before = Sample::read(&page(0, 7, [5, 6, 7]), begun);
        let p99 = |buckets| Sample::read(&page(0, 7, buckets), begun).since(Some(&before)).sync_p99_seconds;
        let near = |buckets, expected: f64| {
            let found: f64 = p99(buckets).unwrap();
            assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        };
        near([105, 106, 107], 0.099);
        near([5, 106, 107], 0.1 + 0.9 * 0.99);
        near([5, 6, 107], 1.0);
        assert_eq!(p99([5, 6, 7]), None);
    }
}
