//! The parameter `filter_path`, with which clients choose the members of an answer. Logstash and Filebeat
//! ask for `errors,items.*.error,items.*.status`.

use super::action::Operation;

/// Maximum number of patterns that are read, and of the bytes of one. Clients send a few short ones.
const MAX_PATTERNS: usize = 32;
const MAX_PATTERN_BYTES: usize = 64;

/// Stands for any number of names.
const ANY_NAMES: &str = "**";

/// The members that a client wants of the answer to a bulk request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilterPath {
    is_empty: bool,
    pub(super) keeps_took: bool,
    pub(super) keeps_errors: bool,
    /// For each operation, in the order of [`OPERATIONS`].
    items: [ItemMembers; OPERATIONS.len()],
}

const OPERATIONS: [Operation; 4] =
    [Operation::Create, Operation::Index, Operation::Update, Operation::Delete];

/// The members that a client wants of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ItemMembers {
    pub(super) index: bool,
    pub(super) id: bool,
    pub(super) status: bool,
    pub(super) error_type: bool,
    pub(super) error_reason: bool,
}

impl ItemMembers {
    /// Returns whether an item has a member that is wanted.
    pub(super) const fn any(&self, has_error: bool) -> bool {
        self.index || self.id || self.status || has_error && (self.error_type || self.error_reason)
    }
}

impl FilterPath {
    /// Reads the parameter of a query.
    pub(super) fn of(query: Option<&str>) -> Self {
        let query = query.filter(|query| query.contains("filter_path")).unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let texts: Vec<_> = pairs.filter(|(name, _)| name == "filter_path").map(|(_, text)| text).collect();
        let patterns = || {
            let all = texts.iter().flat_map(|text| text.split(','));
            let all = all
                .map(str::trim)
                .filter(|pattern| !pattern.is_empty() && pattern.len() <= MAX_PATTERN_BYTES);
            all.take(MAX_PATTERNS)
        };
        let excluded: Vec<_> = patterns().filter_map(|pattern| pattern.strip_prefix('-')).collect();
        let included: Vec<_> = patterns().filter(|pattern| !pattern.starts_with('-')).collect();
        let keeps = |path: &[&str]| {
            (included.is_empty() || included.iter().any(|pattern| covers(pattern, path)))
                && !excluded.iter().any(|pattern| covers(pattern, path))
        };
        let items = OPERATIONS.map(|operation| {
            let keeps = |member: &[&str]| keeps(&[&["items", operation.name()], member].concat());
            ItemMembers {
                index: keeps(&["_index"]),
                id: keeps(&["_id"]),
                status: keeps(&["status"]),
                error_type: keeps(&["error", "type"]),
                error_reason: keeps(&["error", "reason"]),
            }
        });
        Self {
            is_empty: included.is_empty() && excluded.is_empty(),
            keeps_took: keeps(&["took"]),
            keeps_errors: keeps(&["errors"]),
            items,
        }
    }

    /// Returns whether the client wants all members.
    pub(super) const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Returns what the client wants of the items of an operation.
    pub(super) const fn keeps_of(&self, operation: Operation) -> ItemMembers {
        let [create, index, update, delete] = self.items;
        match operation {
            Operation::Create => create,
            Operation::Index => index,
            Operation::Update => update,
            Operation::Delete => delete,
        }
    }
}

/// Returns whether a pattern names a member or an object around it. `*` stands for any part of one name, and
/// `**` for any number of names.
fn covers(pattern: &str, path: &[&str]) -> bool {
    let mut names: Vec<&str> = pattern.split('.').collect();
    // Without repetitions, the work for a short pattern is bounded.
    names.dedup_by(|name, before| *name == ANY_NAMES && *before == ANY_NAMES);
    covers_names(&names, path)
}

fn covers_names(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], _) => true,
        ([name, rest @ ..], _) if *name == ANY_NAMES => {
            (0..=path.len()).any(|skipped| match path.get(skipped..) {
                Some([]) | None => rest.is_empty(),
                Some(path) => covers_names(rest, path),
            })
        }
        (_, []) => false,
        ([name, pattern @ ..], [member, path @ ..]) => {
            matches_name(name, member) && covers_names(pattern, path)
        }
    }
}

/// Returns whether a name fits a pattern with `*`.
fn matches_name(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*');
    let last = parts.next_back().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = left.split_once(part).or_else(|| part.is_empty().then_some(("", left)))
        else {
            return false;
        };
        left = behind;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(query: &str) -> String {
        let filter = FilterPath::of(Some(query));
        let of = |operation| {
            let ItemMembers { index, id, status, error_type, error_reason } = filter.keeps_of(operation);
            let names = [("i", index), ("d", id), ("s", status), ("t", error_type), ("r", error_reason)];
            names.iter().filter(|(_, keeps)| *keeps).map(|(name, _)| *name).collect::<String>()
        };
        let top = [("took", filter.keeps_took), ("errors", filter.keeps_errors)];
        let top: Vec<_> = top.iter().filter(|(_, keeps)| *keeps).map(|(name, _)| *name).collect();
        format!("{} {} {}", top.join(","), of(Operation::Create), of(Operation::Delete))
    }

    #[test]
    fn members_are_chosen_as_elasticsearch_does() {
        for (query, expected) in [
            ("", "took,errors idstr idstr"),
            ("filter_path=", "took,errors idstr idstr"),
            ("pretty&filter_path=errors,items.*.error,items.*.status", "errors str str"),
            ("filter_path=errors%2Citems.*.error", "errors tr tr"),
            ("filter_path=items.create.status", " s "),
            ("filter_path=errors&filter_path=took", "took,errors  "),
            ("filter_path=items", " idstr idstr"),
            ("filter_path=**.reason", " r r"),
            ("filter_path=items.*.err*.t*e", " t t"),
            ("filter_path=-items.*._id,-took", "errors istr istr"),
            ("filter_path=items,-items.**.type", " idsr idsr"),
            ("filter_path=nothing", "  "),
        ] {
            assert_eq!(kept(query), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_fast(text in r"([*.,a-z_-]|\*\*\.|\*){0,400}") {
            kept(&format!("filter_path={text}"));
        }
    }
}
