//! Fuzzes the parser of lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moca_file_log::record::{Line, LineFormat, Stamp, parse_line, parse_time, write_line};

// A line that parses is exactly the line that is written for its record.
fuzz_target!(|line: &[u8]| {
    let time = parse_time(line);
    let Ok(record) = parse_line(line) else { return };
    assert_eq!(time, Some(record.time.micros));
    let stamp = Stamp::from(record.time);
    let read = Line {
        level: record.level,
        stamp: &stamp,
        client: &record.client,
        key: &record.key,
        route: &record.route,
        pid: record.pid,
        seq: record.seq,
        message: &record.message,
    };
    let format = if line.first() == Some(&b'{') { LineFormat::Json } else { LineFormat::Text };
    let mut again = Vec::new();
    write_line(&mut again, format, &read);
    assert_eq!(again.strip_suffix(b"\n"), Some(line));
});
