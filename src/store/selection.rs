//! Defines the conditions that select records, independent of the format of their lines.

use std::net::IpAddr;

use super::pattern::Pattern;
use crate::config::IpSet;
use crate::record::{AnyBody, LOCAL_CLIENT, Level, LineHead, Origin};

/// Conditions that must all hold. The default admits every record.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Earliest time, microseconds since the epoch.
    pub since: Option<i64>,
    /// End of the time range, exclusive, microseconds since the epoch.
    pub until: Option<i64>,
    /// Lowest level.
    pub level: Option<Level>,
    /// Texts that must all occur in the message or in values of fields, byte for byte.
    pub contains: Vec<String>,
    /// Pattern that the message or the value of a field matches.
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

    /// Returns whether there are conditions on texts and no others. Such a selection also admits
    /// lines that belong to no record.
    #[must_use]
    pub fn is_text_only(&self) -> bool {
        let has_text = !self.contains.is_empty() || self.regex.is_some();
        has_text && !self.is_for_head() && self.clients.is_none() && self.keys.is_empty()
    }

    /// Returns whether a record is admitted, or a line that belongs to no record. The first line is
    /// the one of the record. The others continue it. Lines come without their line ends.
    ///
    /// Each text may be in the message, in the value of a field, or in a line that continues the
    /// record. Different texts may be in different places.
    #[must_use]
    pub fn admits<'l>(&self, lines: impl IntoIterator<Item = &'l [u8]>) -> bool {
        let mut lines = lines.into_iter();
        if self.is_all() {
            return true;
        }
        let Some(first) = lines.next() else { return false };
        match LineHead::of(first) {
            Some(head) => self.admits_record(&head, first, lines),
            None => self.admits_stray(first),
        }
    }

    /// Returns whether a record is admitted, whose first line has this head. The other lines continue
    /// it. Lines come without their line ends.
    #[must_use]
    pub fn admits_record<'l>(
        &self,
        head: &LineHead<'l>,
        first: &'l [u8],
        others: impl Iterator<Item = &'l [u8]>,
    ) -> bool {
        // Level and time are checked first, because they need only the head of the line.
        if !self.admits_head(head) {
            return false;
        }
        if !self.needs_fields() {
            return true;
        }
        let AnyBody { origin, message, fields, .. } = head.body(first);
        if !self.admits_origin(origin.as_ref()) {
            return false;
        }
        let mut missing = MissingTexts::of(self);
        missing.look_at(self, &message);
        for (_, value) in fields.iter() {
            missing.look_at(self, &value);
        }
        for line in others {
            if missing.is_empty() {
                return true;
            }
            missing.look_at(self, &String::from_utf8_lossy(line));
        }
        missing.is_empty()
    }

    /// Returns whether a line that belongs to no record is admitted.
    #[must_use]
    pub fn admits_stray(&self, line: &[u8]) -> bool {
        if !self.is_text_only() {
            return self.is_all();
        }
        let mut missing = MissingTexts::of(self);
        missing.look_at(self, &String::from_utf8_lossy(line));
        missing.is_empty()
    }

    /// Returns whether there is a condition on the level or the time.
    fn is_for_head(&self) -> bool {
        self.level.is_some() || self.since.is_some() || self.until.is_some()
    }

    /// Returns whether level and time of a record are admitted.
    pub(crate) fn admits_head(&self, head: &LineHead<'_>) -> bool {
        self.admits_level(head.level) && self.admits_head_time(head)
    }

    /// Returns the length of the longest text that a record must contain, in bytes.
    pub(crate) fn longest_text(&self) -> usize {
        self.contains.iter().map(String::len).max().unwrap_or(0)
    }

    /// Returns whether the sender of a record is admitted.
    pub(crate) fn admits_origin(&self, origin: Option<&Origin<'_>>) -> bool {
        let (keys, clients) = (&self.keys, &self.clients);
        match origin {
            Some(origin) => {
                (keys.is_empty() || keys.iter().any(|key| *key == origin.key))
                    && clients.as_ref().is_none_or(|clients| clients.contain(&origin.client))
            }
            None => keys.is_empty() && clients.is_none(),
        }
    }

    /// Returns whether a record of this time, microseconds since the epoch, may be selected.
    #[must_use]
    pub fn admits_time(&self, micros: i64) -> bool {
        self.since.is_none_or(|since| micros >= since) && self.until.is_none_or(|until| micros < until)
    }

    fn admits_head_time(&self, head: &LineHead<'_>) -> bool {
        (self.since.is_none() && self.until.is_none()) || self.admits_time(head.time().micros)
    }

    /// Returns whether a record of this level may be selected.
    #[must_use]
    pub fn admits_level(&self, level: Level) -> bool {
        self.level.is_none_or(|lowest| level >= lowest)
    }
}

/// The conditions on texts of one selection that no text has met so far.
pub(crate) struct MissingTexts {
    /// Which texts of `contains` were found. Has no room before one was found and another was not.
    found: Vec<bool>,
    has_all: bool,
    has_match: bool,
}

impl MissingTexts {
    pub(crate) const fn of(selection: &Selection) -> Self {
        let (has_all, has_match) = (selection.contains.is_empty(), selection.regex.is_none());
        Self { found: Vec::new(), has_all, has_match }
    }

    pub(crate) fn look_at(&mut self, selection: &Selection, text: &str) {
        self.look_for_texts(selection, text);
        let matches = |pattern: &Pattern| pattern.matches(text);
        self.has_match = self.has_match || selection.regex.as_ref().is_some_and(matches);
    }

    /// Looks at a part of a text, see [`Pattern::matches_window`].
    pub(crate) fn look_at_window(
        &mut self,
        selection: &Selection,
        text: &str,
        is_first: bool,
        is_last: bool,
    ) {
        self.look_for_texts(selection, text);
        let matches = |pattern: &Pattern| pattern.matches_window(text, is_first, is_last);
        self.has_match = self.has_match || selection.regex.as_ref().is_some_and(matches);
    }

    fn look_for_texts(&mut self, selection: &Selection, text: &str) {
        if self.has_all {
            return;
        }
        if self.found.is_empty() {
            self.has_all = selection.contains.iter().all(|wanted| holds(text, wanted));
            if self.has_all {
                return;
            }
            self.found = vec![false; selection.contains.len()];
        }
        for (found, wanted) in self.found.iter_mut().zip(&selection.contains) {
            *found = *found || holds(text, wanted);
        }
        self.has_all = self.found.iter().all(|found| *found);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.has_all && self.has_match
    }
}

fn holds(text: &str, wanted: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), wanted.as_bytes()).is_some()
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
    pub const LOCAL: &str = LOCAL_CLIENT;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, Field, Line, LineFormat, Stamp, Time, write_line};

    const MESSAGE: &str = "disk /dev/sda: 93 % \"full\"\n";

    /// Returns a record, and a line that continues it.
    fn lines() -> [Vec<u8>; 2] {
        let stamp = Stamp::from(Time { micros: 1_000_000, offset: 0 });
        let fields = [Field::of_sender("path", "C:\\new")];
        let entry = Entry { fields: &fields, ..Entry::new(Level::Warning, MESSAGE) };
        let (client, key, route) = ("203.0.113.7", "web", "save-log");
        let line = Line { entry, stamp: &stamp, client, key, route, pid: 1, seq: 1 };
        let mut out = Vec::new();
        write_line(&mut out, LineFormat::Text, &line);
        out.pop();
        [out, b"  at caf\xe9.py:7".to_vec()]
    }

    fn admits(change: impl FnOnce(&mut Selection)) -> bool {
        let mut selection = Selection::default();
        let lines = lines();
        let lines = || lines.iter().map(|line| &line[..]);
        assert!(selection.is_all() && selection.admits(lines()));
        change(&mut selection);
        assert!(!selection.is_all());
        selection.admits(lines())
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
        assert!(!admits(|s| s.contains = vec!["WARNING".into()]), "neither level nor time");
        assert!(admits(|s| s.contains = vec!["C:\\new".into()]), "the value of a field");
        assert!(!admits(|s| s.contains = vec!["path".into()]), "not its name");
        assert!(admits(|s| s.contains = vec!["disk".into(), "new".into(), ".py:7".into()]), "in one each");
        assert!(!admits(|s| s.contains = vec!["\n  at".into()]), "not across lines");
        assert!(admits(|s| s.regex = Pattern::new(r"sd[a-z]: \d+ %").ok()));
        assert!(!admits(|s| s.regex = Pattern::new("^web$").ok()));
        assert!(admits(|s| s.regex = Pattern::new(r"^\s+at .*\.py:\d$").ok()));
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
    fn line_that_belongs_to_no_record_is_found_by_its_text_only() {
        let lines = || [&b"Nov 23 05:02:29 host app: payment refused"[..]];
        let text = Selection { contains: vec!["payment".into(), "host".into()], ..Selection::default() };
        assert!(text.admits(lines()) && Selection::default().admits(lines()));
        assert!(!Selection { contains: vec!["Payment".into()], ..Selection::default() }.admits(lines()));
        let regex = Pattern::new("^Nov .* refused$").ok();
        assert!(Selection { regex, ..text.clone() }.admits(lines()));
        for with_more in [
            Selection { since: Some(0), ..text.clone() },
            Selection { until: Some(i64::MAX), ..text.clone() },
            Selection { level: Some(Level::Debug), ..text.clone() },
            Selection { keys: vec!["web".into()], ..text.clone() },
            Selection { clients: Clients::from_texts(["::/0", "0.0.0.0/0", "local"]).ok(), ..text },
        ] {
            assert!(!with_more.admits(lines()), "{with_more:?}");
        }
    }

    #[test]
    fn record_of_version_1_has_no_client_and_no_key() {
        let lines = || [&b"[ERROR](2026-11-23 05:02:29+00:00)<root.py|save_log|48|7|9>in C:\\new"[..]];
        let error = Selection { level: Some(Level::Error), since: Some(0), ..Selection::default() };
        assert!(Selection { contains: vec!["C:\\new".into()], ..error.clone() }.admits(lines()));
        assert!(!Selection { keys: vec!["save_log".into()], ..error.clone() }.admits(lines()));
        assert!(!Selection { clients: Clients::from_texts(["::/0", "local"]).ok(), ..error }.admits(lines()));
    }
}
