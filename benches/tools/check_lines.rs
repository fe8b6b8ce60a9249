//! Checks a log after a benchmark: parses each line with the parser of the server and prints counts
//! as JSON.
//!
//! `check_lines FILE MESSAGE [FROM]` starts at the byte `FROM`. It counts lines, records with another
//! message than `MESSAGE`, lines that the parser rejects, gaps in the sequence numbers, and bytes
//! after the last line end.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, Seek, SeekFrom};

use moca_file_log::record::parse_line;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(message)) = (arguments.next(), arguments.next()) else {
        return Err(Error::other("usage: check_lines FILE MESSAGE [FROM]"));
    };
    let from = arguments.next().map_or(Ok(0), |text| text.parse()).map_err(Error::other)?;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);

    let (mut lines, mut foreign, mut other, mut gaps, mut torn) = (0_u64, 0_u64, 0_u64, 0_u64, 0_usize);
    let mut last = None;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.pop() != Some(b'\n') {
            torn = line.len() + 1;
            break;
        }
        lines += 1;
        match parse_line(&line) {
            Ok(record) => {
                other += u64::from(record.message != message);
                gaps += u64::from(last.is_some_and(|last| last + 1 != record.seq));
                last = Some(record.seq);
            }
            Err(_) => foreign += 1,
        }
        line.clear();
    }
    println!(
        "{{\"lines\":{lines},\"foreign\":{foreign},\"other\":{other},\"gaps\":{gaps},\"torn_bytes\":{torn}}}"
    );
    Ok(())
}
