//! Parses rate limits: `N (/ | per) [M] UNIT[s]`. Several are joined by `,`, `;` or `|`, and `*`
//! means none.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The rate limits of one key or path; empty if unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RateLimits(Vec<RateLimit>);

/// A limit of `amount` requests in a window of `multiple` × `unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Number of requests in a window. With 0, every request is refused.
    pub amount: u64,
    /// Number of units in a window, at least 1.
    pub multiple: u64,
    /// The unit of time.
    pub unit: Unit,
}

/// A unit of time in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 24 hours.
    Day,
    /// 30 days.
    Month,
    /// 360 days.
    Year,
}

impl RateLimits {
    /// Returns the limits in the order in which they are written.
    #[must_use]
    pub fn as_slice(&self) -> &[RateLimit] {
        &self.0
    }
}

impl RateLimit {
    /// Returns the length of the window.
    #[must_use]
    pub fn window(&self) -> Duration {
        let seconds: u64 = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Month => 30 * 86_400,
            Unit::Year => 360 * 86_400,
        };
        Duration::from_secs(seconds.saturating_mul(self.multiple))
    }
}

/// Maximum length of a window: 100 years of 360 days.
const MAX_WINDOW: Duration = Duration::from_secs(100 * 360 * 86_400);

/// The error for a text that is not a valid rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The text does not follow the grammar.
    #[error("expected limits such as `60/second`, `10 per 2 minutes, 100/hour`, or `*` for none")]
    Grammar,
    /// A number is too large, or the window is zero or longer than 100 years.
    #[error("expected a rate limit with a window between 1 second and 100 years and a smaller number")]
    Range,
}

impl RateLimits {
    /// Creates a list of limits in this order.
    #[must_use]
    pub const fn new(limits: Vec<RateLimit>) -> Self {
        Self(limits)
    }

    /// Returns whether there is no limit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for RateLimits {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text.trim() == "*" {
            return Ok(Self::default());
        }
        text.split([',', ';', '|']).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for RateLimit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let lower = text.to_ascii_lowercase();
        let (amount, rest) = leading_number(&lower)?;
        let amount = amount.ok_or(RateError::Grammar)?;
        let rest = rest.strip_prefix('/').or_else(|| rest.strip_prefix("per")).ok_or(RateError::Grammar)?;
        let (multiple, unit) = leading_number(rest)?;
        let unit = unit.trim_end();
        let unit = Unit::ALL
            .into_iter()
            .find(|known| unit.strip_prefix(known.name()).is_some_and(|end| matches!(end, "" | "s")))
            .ok_or(RateError::Grammar)?;
        let limit = Self { amount, multiple: multiple.unwrap_or(1), unit };
        if limit.multiple == 0 || limit.window() > MAX_WINDOW {
            return Err(RateError::Range);
        }
        Ok(limit)
    }
}

/// Splits off the number at the start, if there is one. Spaces around it are ignored.
fn leading_number(text: &str) -> Result<(Option<u64>, &str), RateError> {
    let text = text.trim_start();
    let (digits, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number = match digits {
        "" => None,
        digits => Some(digits.parse().map_err(|_| RateError::Range)?),
    };
    Ok((number, rest.trim_start()))
}

impl Unit {
    const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    /// Returns the name in the grammar, in singular.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// Formats the limits in the grammar: `60 per second, 100 per 2 hours`, or `*`.
impl fmt::Display for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else { return f.write_str("*") };
        write!(f, "{first}")?;
        others.iter().try_for_each(|limit| write!(f, ", {limit}"))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.multiple, self.unit.name()) {
            (1, unit) => write!(f, "{} per {unit}", self.amount),
            (multiple, unit) => write!(f, "{} per {multiple} {unit}s", self.amount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Result<String, RateError> {
        text.parse::<RateLimits>().map(|limits| limits.to_string())
    }

    #[test]
    fn valid_limits_are_parsed() {
        for (text, meaning) in [
            ("60 per second", "60 per second"),
            ("10/minute;100/hour", "10 per minute, 100 per hour"),
            ("5 per 2 minutes", "5 per 2 minutes"),
            ("5/2minutes", "5 per 2 minutes"),
            ("1perhour", "1 per hour"),
            ("10 / minute", "10 per minute"),
            (" 3/second ", "3 per second"),
            ("1/DAY|2 Per Month , 3/years", "1 per day, 2 per month, 3 per year"),
            ("0/minute", "0 per minute"),
            ("*", "*"),
            (" * ", "*"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(meaning), "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for wrong in [
            "",
            "10",
            "3/week",
            "1.5/second",
            "1/second;",
            ";1/second",
            "-1/second",
            "1/secondss",
            "1//second",
            "*,1/second",
            "1/second:",
            "per second",
            "1 pe r second",
            "1/1.5 second",
            "１/second",
        ] {
            assert_eq!(shown(wrong), Err(RateError::Grammar), "{wrong:?}");
        }
        for wrong in ["99999999999999999999/second", "1/0 seconds", "1/101 years", "1/99999999999999999 days"]
        {
            assert_eq!(shown(wrong), Err(RateError::Range), "{wrong:?}");
        }
    }

    #[test]
    fn windows_have_the_length_of_their_units() {
        let window = |text: &str| text.parse::<RateLimit>().unwrap().window().as_secs();
        assert_eq!(window("1/2 months"), 60 * 86_400);
        assert_eq!(window("1/year"), 360 * 86_400);
    }

    proptest! {
        #[test]
        fn displayed_limits_parse_back(parts in prop::collection::vec((any::<u64>(), 1..100_u64, 0..6_usize), 0..5)) {
            let limits = parts.into_iter()
                .map(|(amount, multiple, unit)| RateLimit { amount, multiple, unit: Unit::ALL[unit] });
            let limits = RateLimits::new(limits.collect());
            prop_assert_eq!(limits.to_string().parse(), Ok(limits));
        }

        #[test]
        fn no_text_panics(text in ".*", near in "[0-9 */;,|perscondayhuim]{0,20}") {
            for text in [text, near] {
                if let Ok(limits) = text.parse::<RateLimits>() {
                    prop_assert_eq!(limits.to_string().parse(), Ok(limits));
                }
            }
        }
    }
}
