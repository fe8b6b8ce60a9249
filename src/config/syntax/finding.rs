//! Defines messages about a configuration file, with their position in the text.

use std::fmt;

/// An error or a warning about a configuration file.
///
/// The list that holds the finding tells which of the two it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the file, such as `log.json`.
    pub file: &'static str,
    /// The path of the option, such as `sample1.port` or `[2].required.headers`; empty for a
    /// finding about the whole file.
    pub path: String,
    /// The line, from 1; `None` if the finding has no position.
    pub line: Option<usize>,
    /// The column in characters, from 1; `None` if the finding has no position.
    pub column: Option<usize>,
    /// The mistake and the expected value. Never contains a secret.
    pub message: String,
    /// The remedy for the operator, if the message does not say it already.
    pub remedy: Option<String>,
}

impl Finding {
    /// Creates a finding about a whole file, without a position.
    #[must_use]
    pub fn of_file(file: &'static str, message: impl Into<String>) -> Self {
        Self { file, path: String::new(), line: None, column: None, message: message.into(), remedy: None }
    }

    /// Creates a finding about an option, without a position.
    #[must_use]
    pub fn of_option(file: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::of_file(file, message) }
    }

    /// Adds a remedy to the finding.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Sets the position to byte `offset` of `text`.
    pub(crate) fn at(mut self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line = Some(before.bytes().filter(|&b| b == b'\n').count() + 1);
        self.column = Some(before[line_start..].chars().count() + 1);
        self
    }
}

/// Formats the finding as one line: `log.json:5:13: sample1.port: MESSAGE (REMEDY)`. Line breaks in
/// names and values are escaped.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", one_line(&self.path))?;
        }
        f.write_str(&one_line(&self.message))?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " ({})", one_line(remedy)))
    }
}

impl std::error::Error for Finding {}

fn one_line(text: &str) -> String {
    let separates = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if separates(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Returns the known option that is most similar to `written`, if one is similar enough.
pub(crate) fn near_miss<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let written = plain(written);
    let (distance, option) = known.iter().map(|option| (distance(&written, option), *option)).min()?;
    (distance <= 1 + written.chars().count() / 5 && distance < option.len() / 2).then_some(option)
}

/// Returns the edit distance of two names: the number of characters to insert, delete, replace, or
/// swap with the next one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // No known option is longer than 64 characters, and the table below must stay small.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; a.len() + 1]; b.len() + 1];
    for y in 0..=b.len() {
        for x in 0..=a.len() {
            rows[y][x] = if x == 0 || y == 0 {
                x + y
            } else {
                let replaced = rows[y - 1][x - 1] + usize::from(a[x - 1] != b[y - 1]);
                let best = replaced.min(rows[y - 1][x] + 1).min(rows[y][x - 1] + 1);
                let swapped = x > 1 && y > 1 && a[x - 1] == b[y - 2] && a[x - 2] == b[y - 1];
                if swapped { best.min(rows[y - 2][x - 2] + 1) } else { best }
            };
        }
    }
    rows[b.len()][a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "ä\nöö: x\n";
        let position = |offset| {
            let finding = Finding::of_file("log.json", "m").at(text, offset);
            (finding.line.unwrap(), finding.column.unwrap())
        };
        assert_eq!(position(0), (1, 1));
        assert_eq!(position(2), (1, 2));
        assert_eq!(position(text.find('x').unwrap()), (2, 5));
        assert_eq!(position(9999), (3, 1));
    }

    #[test]
    fn findings_are_displayed_as_one_line() {
        let finding =
            Finding::of_option("log.json", "a\nb.port", "bad").at("{", 0).with_remedy("do\u{2028}this");
        assert_eq!(finding.to_string(), "log.json:1:1: a\\nb.port: bad (do\\u{2028}this)");
        assert_eq!(Finding::of_file("http.toml", "bad").to_string(), "http.toml: bad");
    }

    #[test]
    fn similar_options_are_suggested() {
        let known = ["host", "port", "use_ipv6", "access_control_max_age"];
        assert_eq!(near_miss("prot", &known), Some("port"));
        assert_eq!(near_miss("prot", &["host", "use_ipv6"]), None);
        assert_eq!(near_miss("ports", &known), Some("port"));
        assert_eq!(near_miss("Use-IPv6", &known), Some("use_ipv6"));
        assert_eq!(near_miss("acces_control_maxage", &known), Some("access_control_max_age"));
        assert_eq!(near_miss("x", &known), None);
        assert_eq!(near_miss("", &[]), None);
        assert_eq!(near_miss(&"port".repeat(9999), &known), None);
    }
}
