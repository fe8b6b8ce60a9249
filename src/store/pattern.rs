//! Defines the regular expressions of a selection, and finds the texts that their matches hold.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{Extractor, Literal, Seq};
use regex_syntax::hir::{Hir, HirKind};

/// A regular expression. For every expression, the search time is linear in the length of the text.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    literals: Option<Literals>,
}

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
        let regex = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            other => PatternError::Syntax(last_line(&other.to_string())),
        })?;
        let literals = regex_syntax::parse(text).ok().and_then(|hir| literals(&hir));
        Ok(Self { regex, literals })
    }

    /// Returns whether the pattern matches anywhere in `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Returns whether the pattern matches in a part of a text. Each part but the first begins with the
    /// character before it. A match that reaches the end of a part counts only in the last one,
    /// because the pattern may look at what follows.
    pub(crate) fn matches_window(&self, text: &str, is_first: bool, is_last: bool) -> bool {
        let start = if is_first { 0 } else { text.chars().next().map_or(0, char::len_utf8) };
        let end = self.regex.shortest_match_at(text, start);
        end.is_some_and(|end| is_last || end < text.len())
    }

    /// Returns a few strings of bytes of which each match holds at least one. `None`: they are not
    /// known. The last character of each may be cut.
    #[must_use]
    pub(crate) const fn literals(&self) -> Option<&Literals> {
        self.literals.as_ref()
    }
}

/// Returns the message without the lines above it, in which the compiler shows the pattern.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Strings of bytes, never empty.
pub(crate) type Literals = BTreeSet<Vec<u8>>;

/// Maximum number of literals of an expression.
const MAX_LITERALS: usize = 8;

/// Minimum length of a literal. Shorter ones are in almost every line.
const MIN_BYTES: usize = 2;

/// Length from which a longer literal is not found faster.
const LONG_BYTES: usize = 8;

/// Maximum number of the parts of an expression that are examined for literals together.
const MAX_PARTS: usize = 16;

/// Orders sets of literals by the speed of a search for them. Of literals that are equally long, a
/// search finds one faster than many.
pub(crate) fn search_speed(literals: &Literals) -> impl Ord + use<> {
    let shortest = literals.iter().map(Vec::len).min().unwrap_or(0);
    (shortest.min(LONG_BYTES), Reverse(literals.len()), shortest)
}

/// Returns strings of which each match of the expression holds at least one.
fn literals(hir: &Hir) -> Option<Literals> {
    let inner = match hir.kind() {
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => literals(&repetition.sub),
        HirKind::Alternation(branches) => {
            let of_branches: Option<Vec<Literals>> = branches.iter().map(literals).collect();
            of_branches.map(|all| all.into_iter().flatten().collect())
        }
        HirKind::Concat(parts) => {
            // A match holds a match of each run of parts.
            let runs = parts.windows(MAX_PARTS.min(parts.len())).skip(1);
            let tail = parts.len().saturating_sub(MAX_PARTS).max(1)..parts.len();
            let runs = runs.chain(tail.filter_map(|at| parts.get(at..)));
            runs.filter_map(|run| prefixes(&Hir::concat(run.to_vec())))
                .chain(parts.iter().filter_map(literals))
                .filter(are_useful)
                .max_by_key(search_speed)
        }
        _ => None,
    };
    inner.into_iter().chain(prefixes(hir)).filter(are_useful).max_by_key(search_speed)
}

fn are_useful(literals: &Literals) -> bool {
    (1..=MAX_LITERALS).contains(&literals.len()) && literals.iter().all(|text| text.len() >= MIN_BYTES)
}

/// Returns strings with one of which each match of the expression begins.
fn prefixes(hir: &Hir) -> Option<Literals> {
    let mut all: Seq = Extractor::new().extract(hir);
    if all.len().is_some_and(|len| len > MAX_LITERALS) {
        match all.longest_common_prefix().filter(|prefix| prefix.len() > MIN_BYTES) {
            Some(prefix) => all = Seq::singleton(Literal::inexact(prefix)),
            None => all.keep_first_bytes(MIN_BYTES + 1),
        }
    }
    all.literals().map(|literals| literals.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_hold_one_of_the_literals() {
        for (expression, expected) in [
            ("refused", &["refused"][..]),
            (r"user (12|13) took \d{3} ms", &["user 12 took ", "user 13 took "]),
            (r"\d+ refused", &[" refused"]),
            ("^.*(payment|card) .*refused$", &["refused"]),
            ("timeout|(?:not )?refused|a(b|c)+d", &["ab", "ac", "refused", "timeout"]),
            (r"(?i)no", &["NO", "No", "nO", "no"]),
            (r"(?i)not here", &[" HE", " He", " hE", " he"]),
            (r"user [a-z]", &["user "]),
            ("caf\u{e9}x+", &["caf\u{e9}x"]),
        ] {
            let expected: Literals = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            let pattern = Pattern::new(expression).unwrap();
            assert_eq!(pattern.literals(), Some(&expected), "{expression}");
        }
        for expression in ["", "a?", r"\d{3}", "[a-z]+|x", "(abc)?", "^$", r"\bx\b", ".{3}"] {
            assert_eq!(Pattern::new(expression).unwrap().literals(), None, "{expression}");
        }
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
