//! Validates the name of a log, and derives the names of its state files and its access log.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::config::syntax::value::Name;

/// Maximum length of an encoded log name in a file name. With a suffix, the file name stays below
/// the limit of Linux, 255 bytes.
const MAX_STEM_BYTES: usize = 200;

/// The name of a log: 1 to 200 bytes of any text without `/` and control characters, except `.` and
/// `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(String);

impl LogName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error for a text that is not a valid log name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of a log: 1 to 200 bytes without `/` and control characters, not `.` or `..`")]
pub struct NotALogName;

impl TryFrom<String> for LogName {
    type Error = NotALogName;

    fn try_from(name: String) -> Result<Self, NotALogName> {
        let valid = (1..=200).contains(&name.len())
            && !name.contains(|c: char| c == '/' || c.is_control())
            && !matches!(name.as_str(), "." | "..");
        if valid { Ok(Self(name)) } else { Err(NotALogName) }
    }
}

impl FromStr for LogName {
    type Err = NotALogName;

    fn from_str(name: &str) -> Result<Self, NotALogName> {
        Self::try_from(name.to_owned())
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for LogName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Name for LogName {
    const EXPECTED: &'static str = "the name of a log: 1 to 200 bytes without `/`, not `.` or `..`";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl LogName {
    /// Returns the name encoded as the first part of a file name.
    ///
    /// `%`, `/` and control characters are percent-encoded. A name that becomes too long is cut,
    /// and ends with the first 16 hexadecimal digits of its SHA-256 digest.
    #[must_use]
    pub fn file_stem(&self) -> String {
        stem(self.as_str())
    }

    /// Returns the file name of the access log, which is in the log directory.
    #[must_use]
    pub fn access_log_file(&self) -> String {
        format!("{}.access.log", self.file_stem())
    }
}

fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '%' | '/' => stem.push_str(&format!("%{:02X}", u32::from(character))),
            control if control.is_control() => {
                let mut utf8 = [0; 4];
                for byte in control.encode_utf8(&mut utf8).bytes() {
                    stem.push_str(&format!("%{byte:02X}"));
                }
            }
            plain => stem.push(plain),
        }
    }
    if stem.len() > MAX_STEM_BYTES {
        let digest: String = Sha256::digest(name)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let longest = MAX_STEM_BYTES - digest.len() - 1;
        stem.truncate((0..=longest).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0));
        stem.push('%');
        stem.push_str(&digest);
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated() {
        for good in ["sample1", "the name of log", "日本", "a.b", "...", &"x".repeat(200)] {
            assert_eq!(good.parse::<LogName>().unwrap().to_string(), good);
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "a\u{85}", &"x".repeat(201)] {
            assert_eq!(bad.parse::<LogName>(), Err(NotALogName), "{bad:?}");
        }
    }

    #[test]
    fn names_are_encoded_in_file_names() {
        assert_eq!(stem("a/\n\u{85}"), "a%2F%0A%C2%85");
        let long = ["%".repeat(200), format!("{}a", "%".repeat(199)), "ü".repeat(100)];
        assert!(long.iter().all(|name| stem(name).len() <= MAX_STEM_BYTES));
        assert_ne!(stem(&long[0]), stem(&long[1]));
        assert_eq!(stem(&long[2]), long[2]);
        assert_eq!("100 %".parse::<LogName>().unwrap().access_log_file(), "100 %25.access.log");
    }
}
