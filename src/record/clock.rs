//! Gives each record of a log file its time of arrival: local time with its offset, in
//! microseconds, never backwards within the file.
//!
//! A system clock that was set back by at most [`MAX_AHEAD_MICROS`] repeats the last stamp. When it
//! was set back further, its time is true again at once, and the caller begins a new file.
//!
//! A stamp is always 32 bytes, such as `2026-11-23 05:02:29.805789+00:00`, and parses back to the
//! same instant. So a reader can find a time in the file by binary search. Years range from 1 to
//! 9999, and instants outside are clamped.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Length of a stamp's text, in bytes.
pub const STAMP_LEN: usize = 32;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Maximum time by which a stamp may be ahead of the system clock. Corrections by NTP are smaller.
pub const MAX_AHEAD_MICROS: i64 = 10 * MICROS_PER_SECOND;

/// The earliest instant of a stamp, 0001-01-02 UTC. With every offset, its year is at least 1.
const EARLIEST_MICROS: i64 = -62_135_510_400 * MICROS_PER_SECOND;

/// The latest instant of a stamp, 9999-12-30 UTC. With every offset, its year has four digits.
const LATEST_MICROS: i64 = 253_402_128_000 * MICROS_PER_SECOND;

/// The largest whole-minute offset that [`Offset`] can hold.
const MAX_OFFSET_SECONDS: i32 = (25 * 60 + 59) * 60;

/// An instant, and the UTC offset with which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Time {
    /// Microseconds since the Unix epoch.
    pub micros: i64,
    /// Seconds east of UTC, a multiple of 60.
    pub offset: i32,
}

/// An instant together with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    micros: i64,
    text: [u8; STAMP_LEN],
}

/// The clock of one log. Its stamps go backwards only when the system clock was set back by more
/// than [`MAX_AHEAD_MICROS`].
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    last: i64,
    /// Number of times that the stamps went backwards.
    steps: u64,
    /// Until this moment, the stamps do not go backwards at all.
    held_until: Option<Instant>,
    /// The second that `second_text` shows, since the Unix epoch.
    second: i64,
    second_text: [u8; STAMP_LEN],
}

impl Clock {
    /// Creates a clock for `zone`. A server passes [`TimeZone::system`].
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        let second = EARLIEST_MICROS.div_euclid(MICROS_PER_SECOND);
        let second_text = second_text(second, zone_offset(&zone, second));
        Self { zone, last: EARLIEST_MICROS, steps: 0, held_until: None, second, second_text }
    }

    /// Returns the current time, or the last stamp if the system clock was set back a little.
    pub fn stamp(&mut self) -> Stamp {
        self.stamp_at(now_micros())
    }

    /// Returns the stamp for a system clock that shows `micros`.
    pub fn stamp_at(&mut self, micros: i64) -> Stamp {
        let micros = micros.clamp(EARLIEST_MICROS, LATEST_MICROS);
        if micros >= self.last {
            self.last = micros;
        } else if self.last - micros > MAX_AHEAD_MICROS {
            self.step_back(micros);
        }
        let second = self.last.div_euclid(MICROS_PER_SECOND);
        // The offset is looked up for each second, so that a change to or from summer time takes
        // effect in the right one.
        if second != self.second {
            self.second_text = second_text(second, zone_offset(&self.zone, second));
            self.second = second;
        }
        Stamp { micros: self.last, text: with_fraction(self.second_text, self.last) }
    }

    fn step_back(&mut self, micros: i64) {
        if self.held_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.held_until = None;
        self.last = micros;
        self.steps += 1;
    }

    /// Sets the earliest instant of later stamps: the time of the last line of a reopened file.
    pub fn not_before(&mut self, micros: i64) {
        self.last = self.last.max(micros.min(LATEST_MICROS));
    }

    /// Begins anew for a file whose newest line has the time `newest`. `None`: it has none.
    pub fn restart(&mut self, newest: Option<i64>) {
        self.last = EARLIEST_MICROS;
        self.held_until = None;
        self.not_before(newest.unwrap_or(EARLIEST_MICROS));
    }

    /// Lets no stamp be before `newest` for some time, however far the system clock is behind: no
    /// new file could be begun.
    pub fn hold(&mut self, newest: i64, time: Duration) {
        self.not_before(newest);
        self.held_until = Some(Instant::now() + time);
    }

    /// Returns how often the stamps went backwards.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns how far the last stamp is ahead of the system clock, in microseconds; 0 when it is
    /// not.
    #[must_use]
    pub fn ahead_micros(&self) -> i64 {
        self.last.saturating_sub(now_micros()).max(0)
    }
}

/// Returns the time of the system clock in microseconds since the Unix epoch.
#[must_use]
pub fn now_micros() -> i64 {
    #[cfg(test)]
    let skew = skew::get();
    #[cfg(not(test))]
    let skew = 0;
    let shown = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    shown.saturating_add(skew)
}

/// Moves the system clock of a test, for the thread of the test only.
#[cfg(test)]
pub(crate) mod skew {
    use std::cell::Cell;

    thread_local!(static SKEW: Cell<i64> = const { Cell::new(0) });

    pub(crate) fn get() -> i64 {
        SKEW.get()
    }

    /// Moves the clock by `seconds` from the true time.
    pub(crate) fn set(seconds: i64) {
        SKEW.set(seconds * 1_000_000);
    }
}

impl Stamp {
    /// Returns the instant in microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.micros
    }

    /// Returns the text, such as `2026-11-23 05:02:29.805789+00:00`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; STAMP_LEN] {
        &self.text
    }

    /// Returns the text in the form of RFC 3339, such as `2026-11-23T05:02:29.805789+00:00`.
    #[must_use]
    pub fn rfc3339(&self) -> [u8; STAMP_LEN] {
        let mut text = self.text;
        text[10] = b'T';
        text
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text).map_err(|_| std::fmt::Error)?)
    }
}

impl From<Time> for Stamp {
    fn from(time: Time) -> Self {
        let micros = time.micros.clamp(EARLIEST_MICROS, LATEST_MICROS);
        let second_text = second_text(micros.div_euclid(MICROS_PER_SECOND), whole_minutes(time.offset));
        Self { micros, text: with_fraction(second_text, micros) }
    }
}

/// Returns whether a stamp can show the instant `micros`.
pub(super) fn can_show(micros: i64) -> bool {
    (EARLIEST_MICROS..=LATEST_MICROS).contains(&micros)
}

/// Parses the 32 bytes of a stamp, with `separator` between date and time.
pub(super) fn parse(text: &[u8; STAMP_LEN], separator: u8) -> Option<Time> {
    let shape = [(4, b'-'), (7, b'-'), (10, separator), (13, b':'), (16, b':'), (19, b'.'), (29, b':')];
    if shape.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_i32, |sum, byte| match byte {
            b'0'..=b'9' => Some(sum * 10 + i32::from(byte - b'0')),
            _ => None,
        })
    };
    let small = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let year = i16::try_from(number(0, 4)?).ok()?;
    let civil = DateTime::new(year, small(5)?, small(8)?, small(11)?, small(14)?, small(17)?, 0).ok()?;
    let fraction = number(20, 26)?;
    let (hours, minutes) = (number(27, 29)?, number(30, 32)?);
    let east = (hours * 60 + minutes) * 60;
    let offset = match text[26] {
        b'+' => east,
        b'-' if east != 0 => -east,
        _ => return None,
    };
    if minutes > 59 {
        return None;
    }
    let second = Offset::from_seconds(offset).ok()?.to_timestamp(civil).ok()?.as_second();
    let micros = second * MICROS_PER_SECOND + i64::from(fraction);
    can_show(micros).then_some(Time { micros, offset })
}

fn zone_offset(zone: &TimeZone, second: i64) -> i32 {
    whole_minutes(zone.to_offset(Timestamp::from_second(second).unwrap_or_default()).seconds())
}

/// Rounds an offset to whole minutes.
///
/// The text has no room for the seconds of an offset. Local time is shown with the rounded offset,
/// so the instant stays exact.
fn whole_minutes(offset: i32) -> i32 {
    let offset = offset.clamp(-MAX_OFFSET_SECONDS, MAX_OFFSET_SECONDS);
    (offset + 30).div_euclid(60) * 60
}

/// Formats a whole second.
fn second_text(second: i64, offset: i32) -> [u8; STAMP_LEN] {
    let east = Offset::from_seconds(offset).unwrap_or(Offset::UTC);
    let civil = east.to_datetime(Timestamp::from_second(second).unwrap_or_default());
    let mut text = *b"0000-00-00 00:00:00.000000+00:00";
    let year = civil.year().unsigned_abs();
    two_digits(&mut text, 0, year / 100);
    two_digits(&mut text, 2, year % 100);
    for (at, number) in
        [(5, civil.month()), (8, civil.day()), (11, civil.hour()), (14, civil.minute()), (17, civil.second())]
    {
        two_digits(&mut text, at, u16::from(number.unsigned_abs()));
    }
    if offset < 0 {
        text[26] = b'-';
    }
    let minutes = offset.unsigned_abs() / 60;
    two_digits(&mut text, 27, (minutes / 60) as u16);
    two_digits(&mut text, 30, (minutes % 60) as u16);
    text
}

fn with_fraction(mut text: [u8; STAMP_LEN], micros: i64) -> [u8; STAMP_LEN] {
    let fraction = micros.rem_euclid(MICROS_PER_SECOND) as u32;
    two_digits(&mut text, 20, (fraction / 10_000) as u16);
    two_digits(&mut text, 22, (fraction / 100 % 100) as u16);
    two_digits(&mut text, 24, (fraction % 100) as u16);
    text
}

fn two_digits(text: &mut [u8; STAMP_LEN], at: usize, number: u16) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn stamps_are_formatted() {
        let mut clock = Clock::new(TimeZone::UTC);
        let stamp = clock.stamp_at(1_795_410_149_805_789);
        assert_eq!(stamp.to_string(), "2026-11-23 05:02:29.805789+00:00");
        assert_eq!(&stamp.rfc3339(), b"2026-11-23T05:02:29.805789+00:00");
        assert_eq!(stamp.micros(), 1_795_410_149_805_789);
        assert_eq!(clock.stamp_at(1_795_410_149_805_790).to_string(), "2026-11-23 05:02:29.805790+00:00");
        assert_eq!(clock.stamp_at(1_795_410_150_000_001).to_string(), "2026-11-23 05:02:30.000001+00:00");
    }

    #[test]
    fn offset_changes_in_the_second_in_which_summer_time_ends() {
        let mut clock = Clock::new(berlin());
        let change = 1_792_890_000 * MICROS_PER_SECOND;
        assert_eq!(clock.stamp_at(change - 1).to_string(), "2026-10-25 02:59:59.999999+02:00");
        assert_eq!(clock.stamp_at(change).to_string(), "2026-10-25 02:00:00.000000+01:00");
    }

    #[test]
    fn stamps_never_go_backwards_or_before_the_last_line() {
        let mut clock = Clock::new(TimeZone::UTC);
        let first = clock.stamp_at(5 * MICROS_PER_SECOND);
        assert_eq!(clock.stamp_at(4 * MICROS_PER_SECOND), first);
        clock.not_before(7 * MICROS_PER_SECOND + 3);
        assert_eq!(clock.stamp_at(6 * MICROS_PER_SECOND).to_string(), "1970-01-01 00:00:07.000003+00:00");
        clock.not_before(0);
        assert_eq!(clock.stamp_at(0).micros(), 7 * MICROS_PER_SECOND + 3);
        assert_eq!(clock.steps(), 0);
        assert!(clock.stamp().micros() > 1_700_000_000 * MICROS_PER_SECOND);
        assert_eq!(clock.stamp_at(i64::MAX).to_string(), "9999-12-30 00:00:00.000000+00:00");
        assert_eq!(Clock::new(berlin()).stamp_at(i64::MIN).to_string(), "0001-01-02 01:00:00.000000+01:00");
    }

    #[test]
    fn clock_that_was_set_back_further_shows_its_time_again() {
        let mut clock = Clock::new(TimeZone::UTC);
        let last = 100 * MICROS_PER_SECOND;
        clock.stamp_at(last);
        assert_eq!(clock.stamp_at(last - MAX_AHEAD_MICROS).micros(), last, "a little");
        assert_eq!(clock.stamp_at(last - MAX_AHEAD_MICROS - 1).micros(), last - MAX_AHEAD_MICROS - 1);
        assert_eq!(clock.steps(), 1);
        clock.stamp_at(i64::MAX);
        clock.hold(last, Duration::from_secs(60));
        assert_eq!(clock.stamp_at(last).micros(), LATEST_MICROS, "held");
        clock.hold(last, Duration::ZERO);
        assert_eq!((clock.stamp_at(last).micros(), clock.steps()), (last, 2));
        clock.restart(Some(last + 5));
        assert_eq!(clock.stamp_at(last).micros(), last + 5);
        clock.restart(None);
        assert_eq!((clock.stamp_at(3).micros(), clock.steps()), (3, 2));
        assert_eq!(clock.ahead_micros(), 0);
        clock.not_before(now_micros() + 60 * MICROS_PER_SECOND);
        assert!((59..=60).contains(&(clock.ahead_micros() / MICROS_PER_SECOND)));
    }

    #[test]
    fn offsets_with_seconds_are_rounded_and_keep_the_instant() {
        for (seconds, text) in
            [(1_172, "+00:20"), (-1_172, "-00:20"), (20_700, "+05:45"), (29, "+00:00"), (-29, "+00:00")]
        {
            let mut clock = Clock::new(TimeZone::fixed(Offset::from_seconds(seconds).unwrap()));
            let stamp = clock.stamp_at(123_456_789);
            assert!(stamp.to_string().ends_with(text), "{stamp}");
            assert_eq!(parse(stamp.as_bytes(), b' ').unwrap().micros, 123_456_789);
        }
    }

    #[test]
    fn malformed_stamps_are_rejected() {
        for wrong in [
            b"2026-11-23T05:02:29.805789+00:00",
            b"2026-02-29 05:02:29.805789+00:00",
            b"2026-11-23 24:02:29.805789+00:00",
            b"2026-11-23 05:02:60.805789+00:00",
            b"2026-11-23 05:02:29.80578x+00:00",
            b"2026-11-23 05:02:29.805789-00:00",
            b"2026-11-23 05:02:29.805789+00:60",
            b"2026-11-23 05:02:29.805789+26:00",
            b"2026-11-23 05:02:29,805789+00:00",
            b"0000-11-23 05:02:29.805789+00:00",
            b"-999-11-23 05:02:29.805789+00:00",
            b"2026-11-23 05:02:29.805789*00:00",
        ] {
            assert_eq!(parse(wrong, b' '), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn stamps_are_monotonic_and_parse_back(readings in prop::collection::vec(any::<i64>().prop_map(|n| n / 37), 1..50), zone in -93_599..93_599) {
            for zone in [berlin(), TimeZone::fixed(Offset::from_seconds(zone).unwrap())] {
                let mut clock = Clock::new(zone);
                let mut last = i64::MIN;
                for reading in &readings {
                    let stamp = clock.stamp_at(*reading);
                    let reading = (*reading).clamp(EARLIEST_MICROS, LATEST_MICROS);
                    let is_step = reading < last.saturating_sub(MAX_AHEAD_MICROS);
                    prop_assert_eq!(stamp.micros(), if is_step { reading } else { reading.max(last) });
                    last = stamp.micros();
                    let time = parse(stamp.as_bytes(), b' ').unwrap();
                    prop_assert_eq!(time.micros, stamp.micros());
                    prop_assert_eq!(parse(&stamp.rfc3339(), b'T'), Some(time));
                    prop_assert_eq!(Stamp::from(time), stamp);
                }
            }
        }

        #[test]
        fn any_time_has_a_stamp(micros: i64, offset: i32) {
            let stamp = Stamp::from(Time { micros, offset });
            prop_assert_eq!(parse(stamp.as_bytes(), b' ').unwrap().micros, stamp.micros());
        }
    }
}
