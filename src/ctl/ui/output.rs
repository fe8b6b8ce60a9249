//! Prints the output of commands. Data goes to stdout, notes go to stderr.
//!
//! A write to a closed pipe returns an error and does not panic. Only terminals get colours, and only
//! terminals get control characters escaped. Every text of a command passes through here.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use tokio::sync::oneshot::{self, Receiver};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::ctl::error::Error;
use crate::ctl::ui::escape::{Escaper, Style, for_terminal};
use crate::record::read_any_line;

/// Writes the standard output of a command.
pub(crate) struct Printer {
    writer: BufWriter<Stdout>,
    is_terminal: bool,
    colours: bool,
    /// Escapes the bytes of [`Printer::bytes`] on a terminal.
    escaper: Escaper,
    /// The begin of a line of [`Printer::log_lines`] whose end is in the next piece.
    begun_line: Vec<u8>,
}

/// Names the colour of a text on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Bold,
    Red,
    Green,
    Yellow,
}

impl Printer {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let is_terminal = stdout.is_terminal();
        Self { colours: wanted && is_terminal, ..Self::of(BufWriter::new(stdout), is_terminal) }
    }

    /// Returns a printer without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self::of(BufWriter::new(io::stdout()), false)
    }

    const fn of(writer: BufWriter<Stdout>, is_terminal: bool) -> Self {
        let escaper = Escaper::new(Style::Text);
        Self { writer, is_terminal, colours: false, escaper, begun_line: Vec::new() }
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), Error> {
        if !self.is_terminal {
            return writeln!(self.writer, "{text}").map_err(Error::Output);
        }
        let text = text.to_string();
        let shown = self.shown(&text).into_owned();
        self.styled_line(&shown)
    }

    /// Prints one line that [`Printer::shown`] and [`Printer::paint`] made.
    pub(crate) fn styled_line(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.writer, "{line}").map_err(Error::Output)
    }

    /// Prints bytes: to a pipe as they are, to a terminal escaped.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if !self.is_terminal {
            return self.writer.write_all(bytes).map_err(Error::Output);
        }
        let shown = self.escaper.piece(bytes);
        self.writer.write_all(shown.as_bytes()).map_err(Error::Output)
    }

    /// Prints lines of a log, which may come in pieces. If the output has colours, the fields of a
    /// record are dimmed.
    pub(crate) fn log_lines(&mut self, piece: &[u8]) -> Result<(), Error> {
        if !self.colours {
            return self.bytes(piece);
        }
        let Some(end) = memchr::memrchr(b'\n', piece) else {
            self.begun_line.extend_from_slice(piece);
            return Ok(());
        };
        let (whole, begun) = piece.split_at(end + 1);
        let mut lines = std::mem::replace(&mut self.begun_line, begun.to_vec());
        lines.extend_from_slice(whole);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let (message, fields) = split_fields(line.strip_suffix(b"\n").unwrap_or(line));
            self.bytes(message)?;
            if !fields.is_empty() {
                self.writer.write_all(b"\x1b[2m").map_err(Error::Output)?;
                self.bytes(fields)?;
                self.writer.write_all(b"\x1b[0m").map_err(Error::Output)?;
            }
            self.bytes(b"\n")?;
        }
        Ok(())
    }

    /// Lets [`Printer::bytes`] escape JSON texts, so that they keep their values.
    pub(crate) fn expect_json(&mut self) {
        self.escaper = Escaper::new(Style::Json);
    }

    /// Prints a value as JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Error::Output(error.into()))?;
        let shown = if self.is_terminal { for_terminal(&text, Style::Json) } else { Cow::Borrowed(&*text) };
        self.styled_line(&shown)
    }

    /// Returns the text as this output shows it: to a terminal escaped.
    pub(crate) fn shown<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_terminal { for_terminal(text, Style::Text) } else { Cow::Borrowed(text) }
    }

    /// Writes the buffered output. Call it before a wait and before another program writes.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(Error::Output)
    }

    /// Writes the rest of the output at the end of the command.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let begun_line = std::mem::take(&mut self.begun_line);
        self.bytes(&begun_line)?;
        let rest = self.escaper.end();
        self.writer.write_all(rest.as_bytes()).map_err(Error::Output)?;
        self.flush()
    }

    /// Returns the text as this output shows it, in a colour if the output is a terminal.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let text = self.shown(text);
        let code = match colour {
            _ if !self.colours => return text.into_owned(),
            Colour::Plain => return text.into_owned(),
            Colour::Bold => "1",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Prints rows under a heading, in columns as wide as their longest cell.
    pub(crate) fn table(&mut self, heading: &[(&str, Align)], rows: &[Vec<Cell>]) -> Result<(), Error> {
        for line in self.lines_of_table(heading, rows, "  ", None) {
            self.styled_line(&line)?;
        }
        Ok(())
    }

    /// Returns the lines of a table with `gap` between its columns. If a line would be wider than
    /// `most` characters, the texts in the first column are cut.
    pub(crate) fn lines_of_table(
        &self,
        heading: &[(&str, Align)],
        rows: &[Vec<Cell>],
        gap: &str,
        most: Option<usize>,
    ) -> Vec<String> {
        let heading_cells: Vec<Cell> = heading
            .iter()
            .map(|(title, _)| Cell { text: (*title).to_owned(), colour: Colour::Bold })
            .collect();
        let mut widths: Vec<usize> = heading_cells.iter().map(|cell| cell.text.width()).collect();
        let shown = |cell: &Cell| Cell { text: self.shown(&cell.text).into_owned(), colour: cell.colour };
        let rows: Vec<Vec<Cell>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let wide = widths.iter().sum::<usize>() + gap.width() * widths.len().saturating_sub(1);
        if let (Some(first), Some(most)) = (widths.first_mut(), most) {
            *first = first.saturating_sub(wide.saturating_sub(most)).max(MIN_FIRST_COLUMN_WIDTH);
        }
        let line_of = |row: &Vec<Cell>| {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if index > 0 {
                    line.push_str(gap);
                }
                let text = cut(&cell.text, *width);
                let padding = " ".repeat(width.saturating_sub(text.width()));
                let painted = self.paint(cell.colour, &text);
                match heading.get(index).map(|(_, align)| *align) {
                    Some(Align::Right) => line.extend([padding, painted]),
                    _ if index + 1 == row.len() => line.push_str(&painted),
                    _ => line.extend([painted, padding]),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        std::iter::once(&heading_cells).chain(&rows).map(line_of).collect()
    }
}

/// Splits a text line of a log before the separator of its fields. The second part is empty for a
/// line without fields.
fn split_fields(line: &[u8]) -> (&[u8], &[u8]) {
    // Neither a message nor a value contains the separator, because their backslashes are doubled.
    let separator = memchr::memmem::find(line, b" \\| ");
    let has_fields = || read_any_line(line).is_some_and(|record| !record.fields.is_empty());
    match separator.filter(|_| line.first() != Some(&b'{') && has_fields()) {
        Some(at) => line.split_at(at),
        None => (line, &[]),
    }
}

/// Minimum width to which the first column of a table is cut.
const MIN_FIRST_COLUMN_WIDTH: usize = 4;

/// Cuts a text to a width of `most` characters. An ellipsis marks the cut.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.width() <= most {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut wide = 1;
    for character in text.chars() {
        wide += character.width().unwrap_or_default();
        if wide > most {
            break;
        }
        shown.push(character);
    }
    shown.push('…');
    Cow::Owned(shown)
}

/// Names the alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Holds one cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) colour: Colour,
}

impl Cell {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: Colour::Plain }
    }

    pub(crate) fn painted(colour: Colour, text: impl Into<String>) -> Self {
        Self { text: text.into(), colour }
    }
}

/// Prints a note on stderr, to a terminal escaped. A failed write is ignored.
pub(crate) fn print_note(text: impl Display) {
    write_to_stderr(&format!("{text}\n"));
}

/// Writes a text to stderr, to a terminal escaped. A failed write is ignored.
pub(crate) fn write_to_stderr(text: &str) {
    let mut stderr = io::stderr();
    let shown = if stderr.is_terminal() { for_terminal(text, Style::Text) } else { Cow::Borrowed(text) };
    drop(stderr.write_all(shown.as_bytes()).and_then(|()| stderr.flush()));
}

/// Returns a future that completes when the reader of the standard output has closed it, for
/// example the next program of a pipe.
///
/// If the output has no reader, for example because it is a file, the future never completes.
pub(crate) fn output_closed() -> Receiver<()> {
    let (closed, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let stdout = io::stdout();
        // The set of events is empty, because `poll` always reports errors and hang-ups.
        let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut descriptors, PollTimeout::NONE) == Err(Errno::EINTR) {}
        // Sending fails if the command has already ended.
        closed.send(()).ok();
    });
    receiver
}

/// Returns a size with its unit. KB, MB and GB are powers of 1000.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Returns a number in at most five characters. k, M and G are powers of 1000.
pub(crate) fn human_short(number: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let (mut number, mut unit) = (number, 0);
    // Numbers from 999.5 on would be rounded to 1000.
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let is_whole = unit == 0 && (number - number.round()).abs() < 0.05;
    let decimals = usize::from(number < 99.95 && !is_whole);
    format!("{number:.decimals$}{}", UNITS[unit])
}

/// Returns a duration in at most five characters.
pub(crate) fn human_seconds(seconds: f64) -> String {
    let milliseconds = seconds * 1000.0;
    match milliseconds {
        ..9.95 => format!("{milliseconds:.1}ms"),
        ..999.5 => format!("{milliseconds:.0}ms"),
        ..9_950.0 => format!("{seconds:.1}s"),
        _ => format!("{seconds:.0}s"),
    }
}

/// Returns a count with commas between its thousands.
pub(crate) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_its_width_on_a_terminal() {
        assert_eq!(cut("sample1", 7), "sample1");
        assert_eq!(cut("sample1", 6), "sampl…");
        assert_eq!(
            (cut("日本語", 6), cut("日本語", 5), cut("日本語", 4)),
            ("日本語".into(), "日本…".into(), "日…".into())
        );
    }

    #[test]
    fn only_the_fields_of_a_record_are_split_off() {
        let head = "[INFO](2026-11-23 05:02:29.805789+00:00)<::1|web|save-log|7|1>";
        for (message, fields) in [
            ("hello", ""),
            ("hello", " \\| user=bob"),
            ("", " \\| at=2026-11-23T05:02:28.100000Z path=\"C:\\\\new \\\\| \""),
            ("escaped \\\\| user=eve", ""),
            ("escaped \\\\| user=eve", " \\| user=bob"),
            ("not all \\| fields", ""),
            ("two \\| a=1 \\| b=2", ""),
        ] {
            let line = format!("{head}{message}{fields}");
            let (before, after) = split_fields(line.as_bytes());
            assert_eq!((before, after), (format!("{head}{message}").as_bytes(), fields.as_bytes()));
        }
        for line in ["foreign \\| user=bob", "{\"message\":\"a \\\\| b=1\"}", ""] {
            assert_eq!(split_fields(line.as_bytes()), (line.as_bytes(), &b""[..]));
        }
    }

    #[test]
    fn numbers_have_short_forms() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (999_999, "999.9 KB"),
            (1_000_000, "1.0 MB"),
            (12_345_678_901, "12.3 GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(human_size(u64::MAX), "18446.7 PB");
        for (number, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12.3k"),
            (999_999.0, "1.0M"),
            (48_676_843_520.0, "48.7G"),
        ] {
            assert_eq!(human_short(number), text);
        }
        for (seconds, text) in
            [(0.0, "0.0ms"), (0.000_123, "0.1ms"), (0.009_96, "10ms"), (0.999_6, "1.0s"), (9.96, "10s")]
        {
            assert_eq!(human_seconds(seconds), text);
        }
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(human_count(count), text);
        }
    }
}
