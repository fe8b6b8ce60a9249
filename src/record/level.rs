//! Defines the five severity levels of a record, with the numbers and names that clients send.

use std::fmt;

/// The severity of a record.
///
/// Levels are ordered, because a log stores the records at or above its configured level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Level {
    /// Number 0.
    Debug = 0,
    /// Number 1, the level of a record that names none.
    #[default]
    Info = 1,
    /// Number 2.
    Warning = 2,
    /// Number 3.
    Error = 3,
    /// Number 4.
    Critical = 4,
}

/// The error for a number or a name that is not one of the five levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 0 to 4 or one of debug, info, warning, error, critical")]
pub struct UnknownLevel;

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// Returns the name as it is written in a line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// Returns the level with this number.
    ///
    /// # Errors
    /// Fails if `number` is greater than 4.
    pub fn from_number(number: u64) -> Result<Self, UnknownLevel> {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n).copied()).ok_or(UnknownLevel)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a decimal number, or a name in any case, without surrounding white space. `warn` means
/// `warning`.
impl std::str::FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Self::from_number(text.parse().map_err(|_| UnknownLevel)?);
        }
        if text.eq_ignore_ascii_case("warn") {
            return Ok(Self::Warning);
        }
        Self::ALL.into_iter().find(|level| text.eq_ignore_ascii_case(level.as_str())).ok_or(UnknownLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_parsed() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(level.as_str().to_lowercase().parse(), Ok(level));
            assert_eq!((level as u8).to_string().parse(), Ok(level));
        }
        assert_eq!("WaRn".parse(), Ok(Level::Warning));
        for wrong in ["", "5", "-1", "1.0", " 1", "true", "notice", "+1", "99999999999999999999999"] {
            assert_eq!(wrong.parse::<Level>(), Err(UnknownLevel), "{wrong:?}");
        }
    }
}
