//! Holds the latest refused requests.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Maximum number of refused requests that are kept.
const MAX_KEPT: usize = 200;

/// One refused request. Its texts are escaped.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) client: String,
    pub(super) key: Option<String>,
    pub(super) method: Option<String>,
    pub(super) route: Option<String>,
    pub(super) status: u16,
    pub(super) reason: String,
}

impl Entry {
    fn to_json(&self) -> Value {
        let Self { time, client, key, method, route, status, reason } = self;
        json!({
            "time": format!("{time:.6}"),
            "client": client,
            "key": key,
            "method": method,
            "route": route,
            "status": status,
            "reason": reason,
        })
    }
}

/// A place in the sequence of refused requests of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The start of the process, so that no cursor names a request of another process.
    process: u128,
    /// Number of refused requests before this place.
    count: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.count)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (process, count) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { process: process.parse()?, count: count.parse()? })
    }
}

/// The latest refused requests, the oldest first.
pub(super) struct Latest {
    entries: VecDeque<Entry>,
    /// The place behind the newest entry.
    end: Cursor,
}

impl Latest {
    /// Returns an empty list. `process` names this process.
    pub(super) const fn new(process: u128) -> Self {
        Self { entries: VecDeque::new(), end: Cursor { process, count: 0 } }
    }

    /// Adds an entry, and drops the oldest one when there are too many.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.end.count += 1;
    }

    /// Returns the entries behind `after` as a JSON array, and the place behind the newest one. All
    /// entries are behind the cursor of another process.
    pub(super) fn to_json(&self, after: Option<Cursor>) -> (String, Cursor) {
        let known = after.filter(|after| after.process == self.end.process);
        let new = known.map_or(u64::MAX, |after| self.end.count.saturating_sub(after.count));
        let skipped = self.entries.len().saturating_sub(usize::try_from(new).unwrap_or(usize::MAX));
        let entries: Vec<Value> = self.entries.iter().skip(skipped).map(Entry::to_json).collect();
        (Value::from(entries).to_string(), self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        Entry {
            time: Timestamp::from_second(0).unwrap(),
            client: "192.0.2.1".to_owned(),
            key: None,
            method: Some("POST".to_owned()),
            route: Some(number.to_string()),
            status: 401,
            reason: "Unknown API-KEY.".to_owned(),
        }
    }

    fn routes(latest: &Latest, after: Option<Cursor>) -> Vec<u64> {
        let Ok(Value::Array(all)) = serde_json::from_str(&latest.to_json(after).0) else { panic!() };
        all.iter().map(|entry| entry["route"].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn the_latest_200_are_kept_and_read_after_a_cursor() {
        let mut latest = Latest::new(7);
        assert_eq!(routes(&latest, None), [0_u64; 0]);
        (0..250).for_each(|number| latest.push(entry(number)));
        assert_eq!(routes(&latest, None), (50..250).collect::<Vec<_>>());
        let end = latest.to_json(None).1;
        assert_eq!(end.to_string().parse(), Ok(end));
        assert_eq!(routes(&latest, Some(end)), [0_u64; 0]);
        latest.push(entry(250));
        assert_eq!(routes(&latest, Some(end)), [250]);
        let other = Cursor { process: 8, count: 251 };
        assert_eq!(routes(&latest, Some(other)).len(), 200, "a cursor of another process");
        let ahead = Cursor { count: 9999, ..end };
        assert_eq!(routes(&latest, Some(ahead)), [0_u64; 0]);
        let old = Cursor { count: 3, ..end };
        assert_eq!(routes(&latest, Some(old)).len(), 200);
    }

    #[test]
    fn an_entry_has_the_documented_members() {
        let shown = entry(1).to_json();
        let expected = json!({
            "time": "1970-01-01T00:00:00.000000Z", "client": "192.0.2.1", "key": null, "method": "POST",
            "route": "1", "status": 401, "reason": "Unknown API-KEY.",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn malformed_cursors_are_refused() {
        for text in ["", ".", "1", "1.", ".1", "a.b", "1.2.3", "-1.2"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
