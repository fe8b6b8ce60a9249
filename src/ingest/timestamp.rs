//! Reads the times that senders give: RFC 3339 and ISO 8601, and numbers since the Unix epoch.

use std::borrow::Cow;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use crate::record::SenderTime;

/// Maximum length of a text that may be a time, in bytes.
const MAX_TEXT_BYTES: usize = 64;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The smallest number that counts as a time, in seconds: March 1973. A smaller number is more often
/// a duration than a time.
const MIN_SECONDS: i128 = 100_000_000;

/// Returns the instant of a text: a time with a date, or a number.
///
/// A text without an offset is in the zone of the server. A local time that occurs twice is read as
/// the earlier one.
pub(crate) fn time_of_text(text: &str, zone: impl FnOnce() -> TimeZone) -> Option<SenderTime> {
    let text = text.trim();
    if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
        return None;
    }
    time_of_number(text).or_else(|| time_of_date(text, zone).and_then(SenderTime::from_micros))
}

/// Returns whether a text has a time of day, and not only a date.
pub(crate) fn has_time_of_day(text: &str) -> bool {
    const DATE_LEN: usize = 10;
    text.trim().len() > DATE_LEN || time_of_number(text.trim()).is_some()
}

/// Returns the instant of a number of seconds and a number of nanoseconds below them.
pub(crate) fn time_of_instant(seconds: &str, nanos: &str) -> Option<SenderTime> {
    let (seconds, nanos): (i64, u32) = (seconds.trim().parse().ok()?, nanos.trim().parse().ok()?);
    let micros = seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(i64::from(nanos / 1_000))?;
    SenderTime::from_micros(micros).filter(|_| nanos < 1_000_000_000)
}

/// Returns the instant of a number since the Unix epoch. Its magnitude tells whether it counts
/// seconds, milliseconds, microseconds or nanoseconds. Digits below a microsecond are cut.
pub(crate) fn time_of_number(text: &str) -> Option<SenderTime> {
    let text = plain_decimal(text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    // Each unit covers the years 1973 to 5138.
    let (unit, digits) = [(1, 6), (1_000, 3), (1_000_000, 0), (1_000_000_000, -3)]
        .into_iter()
        .find(|(unit, _)| (MIN_SECONDS * unit..MIN_SECONDS * unit * 1_000).contains(&number))?;
    let micros = number * i128::from(MICROS_PER_SECOND) / unit;
    let below = fraction.bytes().chain(std::iter::repeat(b'0')).take(usize::try_from(digits).unwrap_or(0));
    let below = below.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    SenderTime::from_micros(i64::try_from(micros + below).ok()?)
}

/// Writes a number without its exponent, as Python, Lua and others write large floats: `1.79602e9`.
fn plain_decimal(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
        return Some(Cow::Borrowed(text));
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+'));
    let number = text.parse::<f64>().ok().filter(|number| is_number && number.is_finite())?;
    Some(Cow::Owned(format!("{number:.6}")))
}

/// Returns the instant of `2026-11-23T05:02:28.1Z` and its relatives, in microseconds.
fn time_of_date(text: &str, zone: impl FnOnce() -> TimeZone) -> Option<i64> {
    let (date, rest) = date(text)?;
    let rest = match rest.as_bytes().first() {
        None => rest,
        Some(b'T' | b't' | b' ' | b'_') => rest.get(1..)?.trim_start(),
        Some(_) => return None,
    };
    let (time, rest) = if rest.is_empty() { (Time::midnight(), rest) } else { time_of_day(rest)? };
    // The name of a zone behind an offset says nothing more (RFC 9557).
    let rest = match rest.split_once('[') {
        Some((offset, zone)) if !offset.is_empty() && zone.ends_with(']') => offset,
        _ => rest,
    };
    let local = date.to_datetime(time);
    let seconds = match rest.trim() {
        "" => zone().to_ambiguous_timestamp(local).compatible().ok()?.as_second(),
        "Z" | "z" | "UTC" | "GMT" => in_utc(local)?,
        offset => in_utc(local)? - i64::from(offset_seconds(offset)?),
    };
    Some(seconds * MICROS_PER_SECOND + i64::from(time.subsec_nanosecond() / 1_000))
}

fn in_utc(local: DateTime) -> Option<i64> {
    Some(Offset::UTC.to_timestamp(local).ok()?.as_second())
}

/// Reads `2026-11-23`, `2026/11/23` or `20261123`, and returns the text behind it.
fn date(text: &str) -> Option<(Date, &str)> {
    let year = number(text, 0, 4)?;
    let (month, day, end) = match text.as_bytes().get(4)? {
        separator @ (b'-' | b'/') if text.as_bytes().get(7) == Some(separator) => (5, 8, 10),
        b'0'..=b'9' => (4, 6, 8),
        _ => return None,
    };
    let (month, day) = (number(text, month, 2)?, number(text, day, 2)?);
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some((date.ok()?, text.get(end..)?))
}

/// Reads `05:02`, `05:02:28`, `050228`, with a fraction behind `.` or `,`, and returns the text behind
/// it. A leap second is read as the second before it.
fn time_of_day(text: &str) -> Option<(Time, &str)> {
    let hour = number(text, 0, 2)?;
    let has_colons = text.as_bytes().get(2) == Some(&b':');
    let (minute, mut end) = if has_colons { (number(text, 3, 2)?, 5) } else { (number(text, 2, 2)?, 4) };
    let mut second = 0;
    let begins_second = if has_colons {
        text.as_bytes().get(end) == Some(&b':')
    } else {
        text.as_bytes().get(end).is_some_and(u8::is_ascii_digit)
    };
    if begins_second {
        let start = end + usize::from(has_colons);
        second = number(text, start, 2)?;
        end = start + 2;
    }
    let mut nanos = 0;
    if matches!(text.as_bytes().get(end), Some(b'.' | b',')) {
        let digits = text.get(end + 1..)?;
        let len = digits.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        let nine = digits.bytes().take(len).chain(std::iter::repeat(b'0')).take(9);
        nanos = nine.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
        end += 1 + len;
    }
    let second = if second == 60 { 59 } else { second };
    let small = |number: u32| i8::try_from(number).ok();
    let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?;
    Some((time, text.get(end..)?))
}

/// Reads `+01:00`, `+0100` or `+01`, and returns seconds east of UTC.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = match text.len() {
        3 => (number(text, 1, 2)?, 0),
        5 => (number(text, 1, 2)?, number(text, 3, 2)?),
        6 if text.as_bytes().get(3) == Some(&b':') => (number(text, 1, 2)?, number(text, 4, 2)?),
        _ => return None,
    };
    let is_offset = hour < 24 && minute < 60;
    is_offset.then(|| i32::try_from(hour * 3600 + minute * 60).ok().map(|seconds| sign * seconds))?
}

/// Reads `len` digits at a position.
fn number(text: &str, at: usize, len: usize) -> Option<u32> {
    let digits = text.get(at..at + len)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        let time = time_of_text(text, || TimeZone::fixed(jiff::tz::offset(2)))?;
        Some(String::from_utf8(time.rfc3339().to_vec()).unwrap())
    }

    #[test]
    fn texts_of_real_senders_are_read() {
        for (text, expected) in [
            ("2026-11-23T05:02:28.1Z", "2026-11-23T05:02:28.100000Z"),
            ("2026-11-23T05:02:28Z", "2026-11-23T05:02:28.000000Z"),
            ("2026-11-23t05:02:28z", "2026-11-23T05:02:28.000000Z"),
            ("2026-11-23T05:02:28.123456789+01:00", "2026-11-23T04:02:28.123456Z"),
            ("2026-11-23 05:02:28,384", "2026-11-23T03:02:28.384000Z"),
            ("2026-11-23 06:23:00.384358+00:00", "2026-11-23T06:23:00.384358Z"),
            ("2026-11-23T05:02:28-0330", "2026-11-23T08:32:28.000000Z"),
            ("2026-11-23 05:02:28 +0100", "2026-11-23T04:02:28.000000Z"),
            ("2026-11-23T05:02:28+05", "2026-11-23T00:02:28.000000Z"),
            ("2026-11-23T05:02:28+01:00[Europe/Berlin]", "2026-11-23T04:02:28.000000Z"),
            ("2026-11-23 05:02:28 UTC", "2026-11-23T05:02:28.000000Z"),
            ("2026-11-23T05:02", "2026-11-23T03:02:00.000000Z"),
            ("2026/11/23 05:02:28", "2026-11-23T03:02:28.000000Z"),
            ("20261123T050228Z", "2026-11-23T05:02:28.000000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
            ("2026-11-23", "2026-11-22T22:00:00.000000Z"),
            (" 1795410148 ", "2026-11-23T05:02:28.000000Z"),
            ("1795410148.1", "2026-11-23T05:02:28.100000Z"),
            ("1795410148.249506", "2026-11-23T05:02:28.249506Z"),
            ("1.795410148e9", "2026-11-23T05:02:28.000000Z"),
            ("1795410148100", "2026-11-23T05:02:28.100000Z"),
            ("1795410148100.5", "2026-11-23T05:02:28.100500Z"),
            ("1795410148100000", "2026-11-23T05:02:28.100000Z"),
            ("1795410148100000999", "2026-11-23T05:02:28.100000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for other in [
            "",
            "0",
            "12",
            "0.35",
            "-1795410148",
            "NaN",
            "1e400",
            "now",
            "05:02:28",
            "2026-13-01",
            "2026-11-23X05:02",
            "2026-11-23T25:00:00Z",
            "2026-11-23T05:02:28.Z",
            "2026-11-23T05:02:28+1",
            "2026-11-23T05:02:28 PST",
            "2026",
            "17954101481000009990000",
            "2026-11-23é",
            "2026-11-23T05:02:28[Europe/Berlin]",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_instant_comes_back_in_every_form(micros in 100_000_000_000_000_i64..4_000_000_000_000_000) {
            let time = SenderTime::from_micros(micros).unwrap();
            let text = String::from_utf8(time.rfc3339().to_vec()).unwrap();
            for text in [text.clone(), text.replace('T', " "), text.trim_end_matches('Z').replace('.', ",")] {
                prop_assert_eq!(time_of_text(&text, || TimeZone::UTC), Some(time), "{}", text);
            }
            let (second, below) = (micros / 1_000_000, micros % 1_000_000);
            for text in [format!("{second}.{below:06}"), format!("{micros}"), format!("{micros}123"), format!("{}.{:03}", micros / 1000, micros % 1000)] {
                prop_assert_eq!(time_of_text(&text, || TimeZone::UTC), Some(time), "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_or_left(text in ".{0,30}", near in "[0-9]{4}[-/]?[0-9]{2}[-/]?[0-9]{2}[T ]?[0-9:.,Z+-]{0,20}") {
            drop((read(&text), read(&near)));
        }
    }
}
