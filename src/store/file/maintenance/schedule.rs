//! Computes the ends of hours, days and weeks in the server's time zone.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

use crate::config::Every;

/// Returns the end of the period that contains `micros`, both in microseconds since the epoch.
/// Returns `i64::MAX` for times outside the calendar.
pub(crate) fn end_of_period(every: Every, micros: i64, zone: &TimeZone) -> i64 {
    let end = Timestamp::from_microsecond(micros)
        .ok()
        .and_then(|at| end(every, &at.to_zoned_datetime(zone.clone())));
    end.map_or(i64::MAX, |end| end.timestamp().as_microsecond())
}

fn end(every: Every, at: &ZonedDateTime) -> Option<ZonedDateTime> {
    match every {
        // An hour ends when the clock shows the next full hour, also across a change of the offset.
        Every::Hour => {
            let past = SignedDuration::from_secs(i64::from(at.minute()) * 60 + i64::from(at.second()))
                + SignedDuration::from_nanos(i64::from(at.subsec_nanosecond()));
            at.checked_add(SignedDuration::from_hours(1) - past).ok()
        }
        Every::Day => at.checked_add(1.day()).ok()?.start_of_day().ok(),
        Every::Week => {
            let left = 7 - i32::from(at.weekday().since(Weekday::Monday));
            at.checked_add(left.days()).ok()?.start_of_day().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(every: Every, at: &str) -> String {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at: Timestamp = at.parse().unwrap();
        let end = end_of_period(every, at.as_microsecond(), &zone);
        Timestamp::from_microsecond(end)
            .unwrap()
            .to_zoned_datetime(zone)
            .strftime("%Y-%m-%d %H:%M:%S %:z")
            .to_string()
    }

    #[test]
    fn periods_end_in_local_time() {
        for (every, at, end) in [
            (Every::Hour, "2026-11-25T14:59:59.999999+01:00", "2026-11-25 15:00:00 +01:00"),
            (Every::Hour, "2026-11-25T15:00:00+01:00", "2026-11-25 16:00:00 +01:00"),
            (Every::Hour, "2026-10-25T02:30:00+02:00", "2026-10-25 02:00:00 +01:00"),
            (Every::Hour, "2026-10-25T02:30:00+01:00", "2026-10-25 03:00:00 +01:00"),
            (Every::Day, "2026-11-25T00:00:00+01:00", "2026-11-26 00:00:00 +01:00"),
            (Every::Day, "2026-10-24T23:59:00+02:00", "2026-10-25 00:00:00 +02:00"),
            (Every::Day, "2026-10-25T12:00:00+01:00", "2026-10-26 00:00:00 +01:00"),
            (Every::Week, "2026-11-23T00:00:00+01:00", "2026-11-30 00:00:00 +01:00"),
            (Every::Week, "2026-11-29T23:59:59+01:00", "2026-11-30 00:00:00 +01:00"),
            (Every::Week, "2026-10-20T12:00:00+02:00", "2026-10-26 00:00:00 +01:00"),
        ] {
            assert_eq!(after(every, at), end, "{every:?} {at}");
        }
    }

    #[test]
    fn time_outside_the_calendar_has_no_end() {
        for micros in [i64::MIN, i64::MAX] {
            assert_eq!(end_of_period(Every::Day, micros, &TimeZone::UTC), i64::MAX);
        }
    }
}
