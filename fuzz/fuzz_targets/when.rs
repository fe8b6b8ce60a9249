//! Fuzzes the parser of time specifications.
#![no_main]

use jiff::{Timestamp, tz::TimeZone};
use libfuzzer_sys::fuzz_target;
use moca_file_log::record::parse_time_spec;

// A text either is a time or is refused. Blanks around it do not matter. The zone of the server
// matters only when the text names no zone.
fuzz_target!(|input: (&str, i32)| {
    let (text, now) = input;
    let now = Timestamp::from_second(i64::from(now)).unwrap_or_default();
    let berlin = now.to_zoned_datetime(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
    let read = parse_time_spec(text, &berlin);
    assert_eq!(parse_time_spec(&format!(" {text} "), &berlin), read);
    if text.trim_end().ends_with(['z', 'Z', 's', 'm', 'h', 'd', 'w']) {
        assert_eq!(parse_time_spec(text, &now.to_zoned_datetime(TimeZone::UTC)), read);
    }
});
