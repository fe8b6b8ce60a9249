//! Draws the rows on the screen, in the chosen order and at the scroll position.

use std::cmp::Ordering;
use std::time::Duration;

use super::row::Row;
use super::terminal::Key;
use crate::ctl::ui::output::{Align, Cell, Colour, Printer, cut, human_seconds, human_short};
use crate::record::Escaped;

/// The columns, which fit into a terminal of 80 columns.
const HEADING: [(&str, Align); 13] = [
    ("LOG", Align::Left),
    ("STATE", Align::Left),
    ("REC/S", Align::Right),
    ("B/S", Align::Right),
    ("REF/S", Align::Right),
    ("LIM/S", Align::Right),
    ("QUEUE", Align::Right),
    ("P99", Align::Right),
    ("FOLL", Align::Right),
    ("CONN", Align::Right),
    ("FREE", Align::Right),
    ("SIZE", Align::Right),
    ("MNT", Align::Left),
];

/// Number of lines above the rows, which are the title and the heading.
const HEADER_LINES: usize = 2;

/// Holds the order and the scroll position that the operator chose.
#[derive(Debug)]
pub(super) struct View {
    interval: Duration,
    column: usize,
    reverse: bool,
    /// Index of the first visible row.
    first: usize,
}

impl View {
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, column: 0, reverse: false, first: 0 }
    }

    pub(super) fn press(&mut self, key: Key, rows: usize) {
        match key {
            Key::Left => self.column = self.column.checked_sub(1).unwrap_or(HEADING.len() - 1),
            Key::Right => self.column = (self.column + 1) % HEADING.len(),
            Key::Reverse => self.reverse = !self.reverse,
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first = (self.first + 1).min(rows.saturating_sub(1)),
            Key::Quit => {}
        }
    }

    /// Returns the lines of a screen with this many columns and lines.
    pub(super) fn lines(
        &mut self,
        rows: &mut [Row],
        printer: &Printer,
        (columns, lines): (usize, usize),
    ) -> Vec<String> {
        rows.sort_by(|a, b| self.order(a, b));
        let (by, _) = HEADING[self.column];
        let every = self.interval.as_secs_f64();
        let plural = if rows.len() == 1 { "" } else { "s" };
        let title = format!(
            "mocactl top: {} log{plural}, every {every} s, by {by}   q quit  \u{2190}\u{2192} sort  r reverse",
            rows.len()
        );
        let mut shown = vec![cut(&title, columns).into_owned()];
        let errors: Vec<&String> = rows.iter().filter_map(|row| row.error.as_ref()).take(lines / 4).collect();
        let room = lines.saturating_sub(HEADER_LINES + errors.len()).max(1);
        let more = rows.len() > room;
        // The last line shows which rows are visible.
        let room = if more { room.saturating_sub(1).max(1) } else { room };
        self.first = self.first.min(rows.len().saturating_sub(room));
        let visible = rows.iter().skip(self.first).take(room);
        let errors = errors.into_iter().map(|error| cut(&printer.shown(error), columns).into_owned());
        let errors: Vec<String> = errors.collect();
        let table = table(visible, printer, Some(columns));
        shown.extend(table);
        if more {
            let (from, to) = (self.first + 1, (self.first + room).min(rows.len()));
            shown.push(
                cut(&format!("{from} to {to} of {}  \u{2191}\u{2193}", rows.len()), columns).into_owned(),
            );
        }
        shown.extend(errors);
        shown.truncate(lines);
        shown
    }

    /// Orders names from a to z and numbers from the largest to the smallest. Unknown numbers come
    /// last.
    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let by_name = || a.name.cmp(&b.name);
        let order = match self.column {
            0 => by_name(),
            1 => a.state.cmp(b.state),
            column => match (number(a, column), number(b, column)) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                // Unknown numbers come last in both directions.
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (None, None) => Ordering::Equal,
            },
        };
        let order = if self.reverse { order.reverse() } else { order };
        order.then_with(by_name)
    }
}

/// Returns the lines of the table, each at most `most` columns wide.
pub(super) fn table<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    printer: &Printer,
    most: Option<usize>,
) -> Vec<String> {
    let cells: Vec<Vec<Cell>> = rows.into_iter().map(cells).collect();
    printer.lines_of_table(&HEADING, &cells, " ", most)
}

/// Returns the value of a row in a numeric column.
fn number(row: &Row, column: usize) -> Option<f64> {
    let figures = &row.figures;
    match column {
        2 => figures.records_per_second,
        3 => figures.bytes_per_second,
        4 => figures.refused_per_second,
        5 => figures.limited_per_second,
        6 => figures.queue_bytes,
        7 => figures.sync_p99_seconds,
        8 => figures.followers,
        9 => figures.connections,
        10 => figures.disk_free_bytes,
        11 => figures.size_bytes,
        _ => figures.maintenance.map(|on| f64::from(u8::from(on))),
    }
}

fn cells(row: &Row) -> Vec<Cell> {
    let (colour, state) = match row.state {
        _ if row.error.is_some() => (Colour::Red, "silent"),
        "running" => (Colour::Green, "running"),
        "failed" => (Colour::Red, "failed"),
        state @ ("stopped" | "waiting") => (Colour::Plain, state),
        state => (Colour::Yellow, state),
    };
    let mut cells =
        vec![Cell::painted(Colour::Bold, Escaped(&row.name).to_string()), Cell::painted(colour, state)];
    for (column, (title, _)) in HEADING.iter().enumerate().take(HEADING.len() - 1).skip(2) {
        let number = number(row, column);
        let show = if *title == "P99" { human_seconds } else { human_short };
        let text = number.map_or_else(|| "-".to_owned(), show);
        // Refusals are coloured, so that the operator notices them.
        let colour = match (*title, number) {
            ("REF/S" | "LIM/S", Some(rate)) if rate > 0.0 => Colour::Yellow,
            _ => Colour::Plain,
        };
        cells.push(Cell::painted(colour, text));
    }
    cells.push(match row.figures.maintenance {
        Some(true) => Cell::painted(Colour::Yellow, "on"),
        Some(false) => Cell::plain("off"),
        None => Cell::plain("-"),
    });
    cells
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::ctl::commands::top::sample::Figures;

    fn row(name: &str, number: f64) -> Row {
        let figure = Some(number);
        let figures = Figures {
            records_per_second: figure,
            bytes_per_second: figure,
            refused_per_second: figure,
            limited_per_second: figure,
            queue_bytes: figure,
            sync_p99_seconds: Some(0.999),
            followers: Some(1000.0),
            connections: figure,
            disk_free_bytes: figure,
            size_bytes: figure,
            maintenance: Some(false),
        };
        Row { name: name.to_owned(), state: "running", figures, error: None }
    }

    fn names(lines: &[String]) -> Vec<&str> {
        lines[HEADER_LINES..].iter().filter_map(|line| line.split(' ').next()).collect()
    }

    #[test]
    fn the_screen_fits_into_any_terminal() {
        let printer = Printer::plain();
        let mut rows: Vec<Row> =
            (0..100).map(|n| row(&format!("log {n} of many with a long name"), 99_949.0)).collect();
        rows[3].error =
            Some("it does not answer at all, and the reason for this is not known at all".repeat(2));
        let mut view = View::new(Duration::from_secs(1));
        for (columns, lines) in [(80, 24), (200, 50), (80, 3), (40, 10), (1, 1)] {
            let shown = view.lines(&mut rows, &printer, (columns, lines));
            assert!(shown.len() <= lines, "{columns}x{lines}: {shown:#?}");
            if columns >= 80 {
                assert!(shown.iter().all(|line| line.width() <= columns), "{columns}x{lines}: {shown:#?}");
            }
        }
        let wide = view.lines(&mut rows, &printer, (200, 24));
        assert!(wide[HEADER_LINES].starts_with("log 0 of many with a long name "), "{wide:#?}");
        let narrow = view.lines(&mut rows, &printer, (80, 24));
        assert!(
            narrow[HEADER_LINES].starts_with("log 0 o") && narrow[HEADER_LINES].contains("… running"),
            "{narrow:#?}"
        );
    }

    #[test]
    fn rows_are_sorted_and_scrolled() {
        let printer = Printer::plain();
        let mut rows = vec![row("b", 1.0), row("a", 2.0), row("c", 3.0)];
        rows[1].figures.records_per_second = None;
        let mut view = View::new(Duration::from_secs(1));
        let mut shown = |keys: &[Key]| {
            keys.iter().for_each(|key| view.press(*key, 3));
            names(&view.lines(&mut rows, &printer, (80, 24))).join("")
        };
        assert_eq!(shown(&[]), "abc");
        assert_eq!(shown(&[Key::Reverse]), "cba");
        assert_eq!(
            shown(&[Key::Reverse, Key::Right, Key::Right]),
            "cba",
            "by records: what is unknown is last"
        );
        assert_eq!(shown(&[Key::Reverse]), "bca");
        assert_eq!(shown(&[Key::Reverse, Key::Left, Key::Left, Key::Left]), "abc", "by maintenance");
        let mut rows: Vec<Row> = (0..9).map(|n| row(&n.to_string(), 0.0)).collect();
        let mut view = View::new(Duration::from_secs(1));
        assert_eq!(names(&view.lines(&mut rows, &printer, (80, 6))), ["0", "1", "2", "1"]);
        (0..20).for_each(|_| view.press(Key::Down, 9));
        let shown = view.lines(&mut rows, &printer, (80, 6));
        assert!(names(&shown).contains(&"8"), "{shown:#?}");
    }
}
