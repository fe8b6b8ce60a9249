//! Defines the conditions that select records, independent of the format of their lines.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use crate::config::IpSet;
use crate::record::{Level, Record};

/// Conditions that must all hold. The default admits every record.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Earliest time, microseconds since the epoch.
    pub since: Option<i64>,
    /// End of the time range, exclusive, microseconds since the epoch.
    pub until: Option<i64>,
    /// Lowest level.
    pub level: Option<Level>,
    /// Texts that must all occur in the message, byte for byte. Fields are not searched.
    pub contains: Vec<String>,
    /// Pattern that the message matches. Fields are not searched.
    pub regex: Option<Pattern>,
    /// Clients that may have sent the record.
    pub clients: Option<Clients>,
    /// Names of the keys with which the record may have been sent. Empty: any key.
    pub keys: Vec<String>,
}

impl Selection {
    /// Returns whether every record is admitted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.is_any_time()
    }

    /// Returns whether the time is the only condition.
    #[must_use]
    pub fn is_any_time(&self) -> bool {
        self.level.is_none() && !self.needs_fields()
    }

    /// Returns whether a condition needs more of a record than its time and level.
    #[must_use]
    pub fn needs_fields(&self) -> bool {
        !self.contains.is_empty() || self.regex.is_some() || self.clients.is_some() || !self.keys.is_empty()
    }

    /// Returns whether `record` meets all conditions.
    #[must_use]
    pub fn admits<T: AsRef<str>>(&self, record: &Record<T>) -> bool {
        self.admits_time(record.time.micros)
            && self.admits_level(record.level)
            && (self.keys.is_empty() || self.keys.iter().any(|key| key == record.key.as_ref()))
            && self.clients.as_ref().is_none_or(|clients| clients.contain(record.client.as_ref()))
            && self.admits_message(record.message.as_ref())
    }

    /// Returns whether a record of this time, microseconds since the epoch, may be selected.
    #[must_use]
    pub fn admits_time(&self, micros: i64) -> bool {
        self.since.is_none_or(|since| micros >= since) && self.until.is_none_or(|until| micros < until)
    }

    /// Returns whether a record of this level may be selected.
    #[must_use]
    pub fn admits_level(&self, level: Level) -> bool {
        self.level.is_none_or(|lowest| level >= lowest)
    }

    fn admits_message(&self, message: &str) -> bool {
        self.contains.iter().all(|text| memchr::memmem::find(message.as_bytes(), text.as_bytes()).is_some())
            && self.regex.as_ref().is_none_or(|pattern| pattern.matches(message))
    }
}

/// A set of clients: addresses, networks, and the admin socket.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    addresses: IpSet,
    /// True when the set contains the admin socket.
    local: bool,
}

/// The text names no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address such as 192.0.2.7, a network such as 10.0.0.0/8 or 2001:db8::/32, or local")]
pub struct NotAClient;

impl Clients {
    /// The client of records that came through the admin socket.
    pub const LOCAL: &str = "local";

    /// Parses addresses, networks and [`Self::LOCAL`].
    ///
    /// # Errors
    /// Fails on the first text that is neither an address, a network nor [`Self::LOCAL`].
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, NotAClient> {
        let mut clients = Self::default();
        for text in texts {
            let text = text.as_ref().trim();
            if text == Self::LOCAL {
                clients.local = true;
            } else {
                clients.addresses.insert_text(text).map_err(|_| NotAClient)?;
            }
        }
        Ok(clients)
    }

    /// Returns whether the set contains the client of a record.
    #[must_use]
    pub fn contain(&self, client: &str) -> bool {
        match client.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(address),
            Err(_) => self.local && client == Self::LOCAL,
        }
    }
}

/// A regular expression. For every expression, the search time is linear in the length of the text.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Why a text is not accepted as a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is longer than [`Pattern::MAX_CHARS`].
    #[error("longer than {} characters", Pattern::MAX_CHARS)]
    TooLong,
    /// The compiled expression is too large. An example is `(a{99}){99}`.
    #[error("the expression is too large")]
    TooLarge,
    /// The text is not a regular expression.
    #[error("{0}")]
    Syntax(String),
}

impl Pattern {
    /// Maximum number of characters of a pattern.
    pub const MAX_CHARS: usize = 1024;

    /// Maximum size of a compiled pattern.
    const MAX_COMPILED_BYTES: usize = 256 * 1024;
    /// Size of the state cache of a search. Patterns that need more are searched more slowly.
    const STATE_CACHE_BYTES: usize = 1024 * 1024;
    /// Maximum depth of nested groups.
    const MAX_NESTING: u32 = 50;

    /// Compiles a pattern.
    ///
    /// # Errors
    /// Fails when the text is not a regular expression or exceeds a limit.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > Self::MAX_CHARS && text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(PatternError::TooLong);
        }
        let built = RegexBuilder::new(text)
            .size_limit(Self::MAX_COMPILED_BYTES)
            .dfa_size_limit(Self::STATE_CACHE_BYTES)
            .nest_limit(Self::MAX_NESTING)
            .build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            other => PatternError::Syntax(last_line(&other.to_string())),
        })
    }

    /// Returns whether the pattern matches anywhere in `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Returns the message without the lines above it, in which the compiler shows the pattern.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Time;

    fn record() -> Record {
        Record {
            time: Time { micros: 1_000_000, offset: 0 },
            level: Level::Warning,
            client: "203.0.113.7".into(),
            key: "web".into(),
            route: "save-log".into(),
            pid: 1,
            seq: 1,
            message: "disk /dev/sda: 93 % \"full\"\n".into(),
            fields: crate::record::LineFields::default(),
        }
    }

    fn admits(change: impl FnOnce(&mut Selection)) -> bool {
        let mut selection = Selection::default();
        assert!(selection.is_all() && selection.admits(&record()));
        change(&mut selection);
        assert!(!selection.is_all());
        selection.admits(&record())
    }

    #[test]
    fn each_condition_selects_records() {
        for (since, until, expected) in [
            (Some(1_000_000), None, true),
            (Some(1_000_001), None, false),
            (None, Some(1_000_001), true),
            (None, Some(1_000_000), false),
            (Some(5_000_000), Some(0), false),
        ] {
            assert_eq!(admits(|s| (s.since, s.until) = (since, until)), expected, "{since:?} {until:?}");
        }
        assert!(admits(|s| s.level = Some(Level::Warning)));
        assert!(!admits(|s| s.level = Some(Level::Error)));
        assert!(admits(|s| s.contains = vec!["full\"\n".into(), "disk".into()]));
        assert!(!admits(|s| s.contains = vec!["disk".into(), "Disk".into()]));
        assert!(!admits(|s| s.contains = vec!["WARNING".into()]), "the message only");
        assert!(admits(|s| s.regex = Pattern::new(r"sd[a-z]: \d+ %").ok()));
        assert!(!admits(|s| s.regex = Pattern::new("^web$").ok()));
        assert!(admits(|s| s.keys = vec!["app".into(), "web".into()]));
        assert!(!admits(|s| s.keys = vec!["we".into()]));
        for (client, expected) in [
            ("203.0.113.7", true),
            ("203.0.113.0/24", true),
            ("::ffff:203.0.113.7", true),
            ("203.0.113.8", false),
            ("::/0", false),
            ("local", false),
        ] {
            assert_eq!(admits(|s| s.clients = Clients::from_texts([client]).ok()), expected, "{client}");
        }
        let local = Clients::from_texts(["local"]).unwrap();
        assert!(local.contain("local") && !local.contain("127.0.0.1") && !local.contain("somebody"));
        assert!(Clients::from_texts(["10.0.0.0/33"]).is_err());
    }

    #[test]
    fn patterns_over_a_limit_are_refused() {
        for (text, error) in [
            ("a".repeat(1025), PatternError::TooLong),
            ("(a{99}){99}{99}".to_owned(), PatternError::TooLarge),
            (r"\w{1000}".to_owned(), PatternError::TooLarge),
        ] {
            assert_eq!(Pattern::new(&text).unwrap_err(), error, "{text}");
        }
        for text in ["(", "a{2,1}", "[z-a]", "(?<n>a)\\k<n>", "a(?=b)", &"(".repeat(500)] {
            let PatternError::Syntax(why) = Pattern::new(text).unwrap_err() else { panic!("{text}") };
            assert!(!why.is_empty() && !why.contains('\n'), "{why}");
        }
        assert!(Pattern::new(&"é".repeat(1024)).is_ok());
        for (text, pattern, found) in [
            ("a\nb", "^b", false),
            ("a\nb", "(?m)^b", true),
            ("日本", r"^\w{2}$", true),
            ("日本", "^.{2}$", true),
            ("PAYMENT failed: ä", "(?i)payment FAILED: ä", true),
            ("PAYMENT failed: ä", "(?i:payment) FAILED", false),
            ("PAYMENT failed: Ä", "(?i)payment FAILED: ä$", true),
            ("PAYMENT failed: ä", "payment|ä$", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text), found, "{pattern}");
        }
    }
}
