//! Parses the time specifications of readers: RFC 3339, local dates and times, and ages such as
//! `15m`.

use jiff::civil::{Date, DateTime, Time as Civil};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// The error for a text that is no time specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time: RFC 3339, a date with or without a time, how long ago as in 90s, 15m, 2h, 3d or 1w, \
     or today or yesterday, as in yesterday 03:00"
)]
pub struct UnknownTime;

/// Maximum length of a time specification, in bytes.
const MAX_TEXT_BYTES: usize = 64;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Returns the instant that `text` names at the time `now`, in microseconds since the Unix epoch.
///
/// A time without an offset is in the zone of `now`. Fractions of a microsecond are rounded up. An
/// age greater than an `i64` holds, and the last hours of the year 9999, are clamped. No record has
/// such a time.
///
/// A local time that the start of summer time skips is read as one hour later, or by as much as the
/// clock was set forward. A local time that occurs twice is read as the earlier one.
///
/// # Errors
/// Fails if `text` is none of `2026-11-23T05:02:29.805789+00:00` (a space may replace the `T`),
/// `2026-11-23` with or without `05:02` or `05:02:29`, `90s`, `15m`, `2h`, `3d`, `1w`, `today` or
/// `yesterday` with or without a time.
pub fn parse_time_spec(text: &str, now: &ZonedDateTime) -> Result<i64, UnknownTime> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
        return Err(UnknownTime);
    }
    if let Some(ago) = ago(text) {
        return Ok(micros(now.timestamp()).saturating_sub(ago));
    }
    let text = text.to_ascii_lowercase();
    let (day, rest) = if let Some(rest) = text.strip_prefix("today") {
        (now.date(), rest)
    } else if let Some(rest) = text.strip_prefix("yesterday") {
        (now.date().yesterday().map_err(|_| UnknownTime)?, rest)
    } else {
        return absolute(&text, now);
    };
    let time = match rest.strip_prefix(' ').map(str::trim) {
        None if rest.is_empty() => Civil::midnight(),
        None => return Err(UnknownTime),
        Some(time) => time_of_day(time).ok_or(UnknownTime)?,
    };
    Ok(in_zone(day.to_datetime(time), now.time_zone()))
}

/// Parses an age such as `15m` and returns microseconds.
fn ago(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len() - 1)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // A number that overflows is longer ago than every record.
    digits.then(|| number.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(seconds * MICROS_PER_SECOND))
}

/// Parses a date with an optional time and an optional offset.
fn absolute(text: &str, now: &ZonedDateTime) -> Result<i64, UnknownTime> {
    let date = text.get(..10).and_then(date).ok_or(UnknownTime)?;
    let rest = text.get(10..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(in_zone(date.to_datetime(Civil::midnight()), now.time_zone()));
    }
    let rest = rest.strip_prefix(['t', ' ']).ok_or(UnknownTime)?;
    let len = rest.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')).count();
    let (time, offset) = rest.split_at(len);
    let civil = date.to_datetime(time_of_day(time).ok_or(UnknownTime)?);
    if offset.is_empty() {
        return Ok(in_zone(civil, now.time_zone()));
    }
    let east = offset_seconds(offset).ok_or(UnknownTime)?;
    Ok(in_zone(civil, &TimeZone::UTC).saturating_sub(east * MICROS_PER_SECOND))
}

/// Parses `z`, `+02:00` or `-02:00`. A plus that a client did not encode in a query arrives as a
/// space.
fn offset_seconds(text: &str) -> Option<i64> {
    if text == "z" {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (two_digits(hours, 23)?, two_digits(minutes, 59)?);
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    match sign {
        "+" | " " => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// Parses a date such as `2026-11-23`.
fn date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let year = digits.then(|| year.parse().ok()).flatten()?;
    Date::new(year, two_digits(month, 12)?, two_digits(day, 31)?).ok()
}

/// Parses a time of day such as `05:02`, `05:02:29` or `05:02:29.8`.
fn time_of_day(text: &str) -> Option<Civil> {
    let (whole, fraction) = match text.split_once('.') {
        None => (text, None),
        Some((whole, fraction)) => (whole, Some(fraction)),
    };
    let mut parts = whole.split(':');
    let (hour, minute) = (two_digits(parts.next()?, 23)?, two_digits(parts.next()?, 59)?);
    let second = parts.next();
    if parts.next().is_some() || (second.is_none() && fraction.is_some()) {
        return None;
    }
    // A leap second counts as the last second of its minute, as in the system clock.
    let second = second.map_or(Some(0), |text| two_digits(text, 60))?.min(59);
    Civil::new(hour, minute, second, fraction.map_or(Some(0), nanoseconds)?).ok()
}

/// Parses a fraction of a second. Digits after the ninth round the result up.
fn nanoseconds(fraction: &str) -> Option<i32> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (kept, cut) = fraction.split_at(fraction.len().min(9));
    let nanos = kept.parse::<i32>().ok()? * 10_i32.pow(9 - kept.len() as u32);
    let more = cut.bytes().any(|digit| digit != b'0');
    Some((nanos + i32::from(more)).min(999_999_999))
}

fn two_digits(text: &str, max: i8) -> Option<i8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= max)
}

/// Converts a local time. A year has four digits, so only instants after the end are out of range.
fn in_zone(civil: DateTime, zone: &TimeZone) -> i64 {
    zone.to_timestamp(civil).map_or(i64::MAX, micros)
}

/// Rounds an instant up to whole microseconds. A record, whose time is a whole number of
/// microseconds, is at or after the instant exactly if it is at or after the result.
fn micros(instant: Timestamp) -> i64 {
    let nanos = instant.as_nanosecond();
    i64::try_from(-((-nanos).div_euclid(1000))).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Stamp, Time};
    use proptest::prelude::*;

    fn berlin() -> ZonedDateTime {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        "2026-11-23T05:02:29.8Z".parse::<Timestamp>().unwrap().to_zoned_datetime(zone)
    }

    fn shown(text: &str) -> Option<String> {
        let micros = parse_time_spec(text, &berlin()).ok()?;
        Some(Timestamp::from_microsecond(micros).unwrap().to_string())
    }

    #[test]
    fn every_form_is_parsed() {
        for (text, instant) in [
            ("2026-11-23T05:02:29.805789+00:00", "2026-11-23T05:02:29.805789Z"),
            ("2026-11-23 05:02:29.805789+00:00", "2026-11-23T05:02:29.805789Z"),
            ("2026-11-23T05:02:29 00:00", "2026-11-23T05:02:29Z"),
            ("2026-11-23t05:02:29z", "2026-11-23T05:02:29Z"),
            ("2026-11-23T05:02:29-11:30", "2026-11-23T16:32:29Z"),
            ("2026-11-23T05:02:29.0000001Z", "2026-11-23T05:02:29.000001Z"),
            ("2026-11-23T05:02:29.00000000000001Z", "2026-11-23T05:02:29.000001Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2026-11-23", "2026-11-22T23:00:00Z"),
            ("2026-11-23 05:02", "2026-11-23T04:02:00Z"),
            ("2026-07-23T05:02:29.5", "2026-07-23T03:02:29.5Z"),
            // 02:30 does not exist on the first day and occurs twice on the second.
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
            ("90s", "2026-11-23T05:00:59.8Z"),
            ("15m", "2026-11-23T04:47:29.8Z"),
            ("2h", "2026-11-23T03:02:29.8Z"),
            ("3d", "2026-11-20T05:02:29.8Z"),
            ("1w", "2026-11-16T05:02:29.8Z"),
            (" 0s ", "2026-11-23T05:02:29.8Z"),
            ("today", "2026-11-22T23:00:00Z"),
            ("Today 06:00", "2026-11-23T05:00:00Z"),
            ("yesterday", "2026-11-21T23:00:00Z"),
            ("yesterday 03:00", "2026-11-22T02:00:00Z"),
            ("yesterday 03:00:01", "2026-11-22T02:00:01Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(instant), "{text}");
        }
        for end in
            ["9999-12-31", "9999-12-31T23:59:59Z", "9999-12-31 23:59:59.999999999-12:00", "9999-12-31 12:00"]
        {
            assert!(
                parse_time_spec(end, &berlin()).unwrap()
                    > parse_time_spec("9999-12-30T21:00Z", &berlin()).unwrap(),
                "{end}"
            );
        }
        let long_ago = parse_time_spec("99999999999999999999999w", &berlin()).unwrap();
        assert_eq!(long_ago, micros(berlin().timestamp()) - i64::MAX);
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            " ",
            "m",
            "15",
            "-15m",
            "+15m",
            "1.5h",
            "15 m",
            "15min",
            "15M",
            "5y",
            "tomorrow",
            "now",
            "today3",
            "todayT03:00",
            "yesterday 3:00",
            "yesterday 24:00",
            "yesterday 03",
            "yesterday 03:00Z",
            "2026-11",
            "2026-13-01",
            "2026-02-29",
            "2026-11-23T",
            "2026-11-23T05",
            "2026-11-23T24:00",
            "2026-11-23T05:60",
            "2026-11-23T05:02:61",
            "2026-11-23T05:02.5",
            "2026-11-23T05:02:29.",
            "2026-11-23T05:02:29+0000",
            "2026-11-23T05:02:29+24:00",
            "2026-11-23T05:02:29+00:60",
            "2026-11-23T05:02:29 UTC",
            "1795410149",
            "20261123T050229Z",
            "२०२६-११-२३",
            "2026-11-23T05:02:29Z2026-11-23T05:02:29Z2026-11-23T05:02:29Z",
        ] {
            assert_eq!(parse_time_spec(text, &berlin()), Err(UnknownTime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn surrounding_spaces_change_nothing(text: String, near in "[0-9t:. zwdmhsy+-]{0,40}") {
            for text in [text, near] {
                prop_assert_eq!(parse_time_spec(&format!(" {text} "), &berlin()), parse_time_spec(&text, &berlin()));
            }
        }

        #[test]
        fn time_of_any_line_parses_back(micros in -62_135_510_400_000_000_i64..253_402_128_000_000_000, minutes in -1439..1440) {
            let stamp = Stamp::from(Time { micros, offset: minutes * 60 });
            prop_assert_eq!(parse_time_spec(&stamp.to_string(), &berlin()), Ok(micros));
            let rfc3339 = String::from_utf8(stamp.rfc3339().to_vec()).unwrap();
            prop_assert_eq!(parse_time_spec(&rfc3339, &berlin()), Ok(micros));
        }

        #[test]
        fn ages_are_subtracted_from_now(number in 0_i64..1_000_000) {
            let now = micros(berlin().timestamp());
            for (unit, seconds) in [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)] {
                prop_assert_eq!(parse_time_spec(&format!("{number}{unit}"), &berlin()), Ok(now - number * seconds * MICROS_PER_SECOND));
            }
        }
    }
}
