//! The times of RFC 3164 and of the devices that vary it: `Oct 11 22:14:15`, with or without a year, a
//! fraction and a zone. Times of RFC 3339 are read as everywhere.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::ingest::timestamp::{has_time_of_day, time_of_text};
use crate::record::SenderTime;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// How far a time without a year may be ahead of the clock of the server.
const MAX_AHEAD_SECONDS: i64 = 30 * 24 * 3600;

/// Reads times, and remembers the last one: most messages have the second of the message before.
#[derive(Default)]
pub(super) struct Times {
    /// A local time without its fraction, and its instant in seconds.
    last: Option<(Local, i64)>,
}

/// A local time in seconds. The year is 0 when the sender gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Local {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
}

impl Times {
    /// Reads the time at the start of `text`. Returns it and the text behind it.
    pub(super) fn split<'t>(&mut self, text: &'t str) -> Option<(SenderTime, &'t str)> {
        // Cisco marks a clock that is not set by `*`, and one that lost its source by `.`.
        let marked = text.strip_prefix(['*', '.']).unwrap_or(text);
        match marked.bytes().next()? {
            b'0'..=b'9' => split_iso(text),
            _ => self.split_local(marked),
        }
    }

    /// Reads `Oct 11 22:14:15`, `Oct 11 2003 22:14:15.003`, `Oct 11 22:14:15 2003`.
    fn split_local<'t>(&mut self, text: &'t str) -> Option<(SenderTime, &'t str)> {
        let name: [u8; 3] = text.as_bytes().first_chunk::<3>()?.map(|byte| byte.to_ascii_lowercase());
        let month = MONTHS.iter().position(|month| **month == name)?;
        let rest = text.get(3..)?.strip_prefix(' ')?.trim_start_matches(' ');
        let (day, rest) = number(rest, 1, 2)?;
        let mut rest = rest.strip_prefix(' ')?.trim_start_matches(' ');
        let mut year = 0;
        if let Some((given, behind)) = number(rest, 4, 4)
            && let Some(behind) = behind.strip_prefix(' ')
        {
            (year, rest) = (given, behind);
        }
        let (hour, behind) = number(rest, 1, 2)?;
        let (minute, behind) = number(behind.strip_prefix(':')?, 2, 2)?;
        let (second, rest) = number(behind.strip_prefix(':')?, 2, 2)?;
        let (micros, mut rest) = fraction(rest);
        if year == 0
            && let Some((given, behind)) = rest.strip_prefix(' ').and_then(|rest| number(rest, 4, 4))
            && (1970..2200).contains(&given)
            && (behind.is_empty() || behind.starts_with([' ', ':']))
        {
            (year, rest) = (given, behind);
        }
        let small = |number: i16| i8::try_from(number).ok();
        let local = Local {
            year,
            month: i8::try_from(month + 1).ok()?,
            day: small(day)?,
            hour: small(hour)?,
            minute: small(minute)?,
            second: small(second)?.min(59),
        };
        let (seconds, rest) = match offset(rest) {
            Some((offset, rest)) => (in_zone(local, &TimeZone::fixed(offset))?, rest),
            None => (self.seconds_of(local)?, rest),
        };
        Some((SenderTime::from_micros(seconds * 1_000_000 + micros)?, rest))
    }

    fn seconds_of(&mut self, local: Local) -> Option<i64> {
        if let Some((last, seconds)) = self.last
            && last == local
        {
            return Some(seconds);
        }
        let seconds = in_zone(local, &TimeZone::system())?;
        self.last = Some((local, seconds));
        Some(seconds)
    }
}

/// Returns the instant of a local time. Without a year, it is the last one that is not far ahead of now: a
/// message of December may arrive in January, and the clock of a device may be ahead.
fn in_zone(local: Local, zone: &TimeZone) -> Option<i64> {
    let Local { year, month, day, hour, minute, second } = local;
    let time = Time::new(hour, minute, second, 0).ok()?;
    let instant = |year: i16| {
        let local: DateTime = Date::new(year, month, day).ok()?.to_datetime(time);
        Some(zone.to_ambiguous_timestamp(local).compatible().ok()?.as_second())
    };
    if year != 0 {
        return instant(year);
    }
    let now = Timestamp::now();
    let this_year = zone.to_datetime(now).year();
    let latest = now.as_second() + MAX_AHEAD_SECONDS;
    let all = [this_year + 1, this_year, this_year - 1, this_year - 2, this_year - 3, this_year - 4];
    all.into_iter().filter_map(instant).find(|seconds| *seconds <= latest)
}

/// Reads a time of RFC 3339 or ISO 8601, with `T` or a space before the time of day, and Unix seconds with
/// a fraction.
fn split_iso(text: &str) -> Option<(SenderTime, &str)> {
    let word = |text: &str| text.find(' ').unwrap_or(text.len());
    let first = word(text);
    let (token, rest) = text.split_at(first);
    let token = token.strip_suffix(':').unwrap_or(token);
    if let Some(time) = read_iso(token) {
        return Some((time, rest));
    }
    // `2026-11-23 05:02:28`
    let second = first + 1 + word(text.get(first + 1..)?);
    let (token, rest) = (text.get(..second)?, text.get(second..)?);
    let token = token.strip_suffix(':').unwrap_or(token);
    (token.as_bytes().get(4) == Some(&b'-')).then_some(())?;
    Some((read_iso(token)?, rest))
}

/// Reads a whole text.
pub(super) fn read_iso(text: &str) -> Option<SenderTime> {
    let is_date = text.as_bytes().get(4).is_some_and(|byte| matches!(byte, b'-' | b'/'));
    let is_time =
        (is_date && has_time_of_day(text)) || (text.len() > 10 && text.as_bytes().get(10) == Some(&b'.'));
    if is_time { time_of_text(text, TimeZone::system) } else { None }
}

/// Reads `.123` or `,123` as microseconds.
fn fraction(text: &str) -> (i64, &str) {
    let Some(digits) = text.strip_prefix(['.', ',']) else { return (0, text) };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return (0, text);
    }
    let six = digits.bytes().take(len).chain(std::iter::repeat(b'0')).take(6);
    (six.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), digits.get(len..).unwrap_or_default())
}

/// Reads the zone behind a time: `Z`, ` UTC`, ` GMT`, `+01:00`. The name of another zone is ambiguous, and
/// left where Cisco puts it.
fn offset(text: &str) -> Option<(jiff::tz::Offset, &str)> {
    for name in ["Z", " UTC", " GMT"] {
        if let Some(rest) = text.strip_prefix(name)
            && (rest.is_empty() || rest.starts_with([' ', ':']))
        {
            return Some((jiff::tz::Offset::UTC, rest));
        }
    }
    let text = text.strip_prefix(' ').filter(|text| text.starts_with(['+', '-'])).unwrap_or(text);
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = number(text.get(1..)?, 2, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(':').unwrap_or(rest), 2, 2)?;
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    Some((jiff::tz::Offset::from_seconds(sign * seconds).ok()?, rest))
}

/// Reads a number of `min` to `max` digits.
fn number(text: &str, min: usize, max: usize) -> Option<(i16, &str)> {
    let len = text.bytes().take(max + 1).take_while(u8::is_ascii_digit).count();
    if !(min..=max).contains(&len) {
        return None;
    }
    let (digits, rest) = text.split_at(len);
    Some((digits.parse().ok()?, rest))
}
