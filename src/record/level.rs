//! The severity of a record: five levels, ordered, with the numbers and names that clients send.

use std::fmt;

/// Severity of a record. Ordered: a log stores what is at or above its configured level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Level {
    /// 0
    Debug = 0,
    /// 1, what a record without a level gets
    #[default]
    Info = 1,
    /// 2
    Warning = 2,
    /// 3
    Error = 3,
    /// 4
    Critical = 4,
}

/// A number or name that is none of the five levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 0 to 4 or one of debug, info, warning, error, critical")]
pub struct UnknownLevel;

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The name as it stands in a line.
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

    /// The level with this number.
    ///
    /// # Errors
    /// When `number` is not 0 to 4.
    pub fn from_number(number: u64) -> Result<Self, UnknownLevel> {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n).copied()).ok_or(UnknownLevel)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number in decimal, or a name in any case (`warn` is `warning`), without surrounding space.
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
    fn numbers_and_names() {
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
