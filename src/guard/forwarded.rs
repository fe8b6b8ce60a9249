//! Parses the `Forwarded` header (RFC 7239) from the right.
//!
//! Each proxy appends its element, so the client controls the left part. A client may leave a
//! quoted string open (`for=x;host="`) to swallow the elements that follow. A parser that starts at
//! the right has the complete element of the nearest proxy before it reaches the text of the
//! client.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

/// The result of [`find_node`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search<'h> {
    /// No well-formed element has the secret.
    Nothing,
    /// The `for` of the rightmost element with the secret. `None` when it is missing or occurs
    /// twice.
    Found(Option<Cow<'h, [u8]>>),
}

/// Returns the `for` of the rightmost element whose `secret` or `by` equals `secret`.
///
/// `lines` are the values of all `Forwarded` lines in their order.
pub(super) fn find_node<'h>(lines: impl DoubleEndedIterator<Item = &'h [u8]>, secret: &[u8]) -> Search<'h> {
    for line in lines.rev() {
        let mut rest = Some(line);
        while let Some(text) = rest {
            // To the left of a malformed element, the parser cannot tell its content from the
            // elements before it.
            let Some((element, left)) = take_element(text, secret) else { break };
            if element.is_trusted {
                return Search::Found(element.node.filter(|_| element.nodes == 1));
            }
            rest = left;
        }
    }
    Search::Nothing
}

#[derive(Default)]
/// One element of the header, as far as it matters.
struct Element<'h> {
    /// `secret` or `by` equals the secret.
    is_trusted: bool,
    node: Option<Cow<'h, [u8]>>,
    /// Number of `for` parameters.
    nodes: u32,
}

/// Splits off the rightmost element. Returns it with the text left of it, or `None` when it is
/// malformed.
fn take_element<'h>(mut text: &'h [u8], secret: &[u8]) -> Option<(Element<'h>, Option<&'h [u8]>)> {
    let mut element = Element::default();
    loop {
        let (pair, left) = take_pair(text)?;
        if let Some((name, value)) = pair {
            if name.eq_ignore_ascii_case(b"for") {
                element.nodes += 1;
                element.node = Some(value);
            } else if name.eq_ignore_ascii_case(b"secret") || name.eq_ignore_ascii_case(b"by") {
                element.is_trusted |= bool::from(value.ct_eq(secret));
            }
        }
        match left {
            Some((b';', more)) => text = more,
            Some((_, more)) => return Some((element, Some(more))),
            None => return Some((element, None)),
        }
    }
}

/// A name and its value.
type Pair<'h> = (&'h [u8], Cow<'h, [u8]>);
/// The separator left of a pair, and the text left of the separator.
type Rest<'h> = (u8, &'h [u8]);

/// Splits off the rightmost `NAME=VALUE`, or nothing between two separators. Returns `None` when it
/// is malformed.
///
/// Accepts values that RFC 7239 wants in quotes and that are clear without them
/// (`for=[2001:db8::1]:80`).
fn take_pair(text: &[u8]) -> Option<(Option<Pair<'_>>, Option<Rest<'_>>)> {
    let text = text.trim_ascii_end();
    if let Some(body) = text.strip_suffix(b"\"") {
        let open = opening_quote(body)?;
        let value = unescape(body.get(open + 1..)?)?;
        let (name, left) = split_last(body.get(..open)?.strip_suffix(b"=")?);
        return is_token(name).then_some((Some((name, value)), left));
    }
    let (pair, left) = split_last(text);
    if pair.is_empty() {
        return Some((None, left));
    }
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
    let valid =
        is_token(name) && !value.is_empty() && value.iter().all(|&b| b.is_ascii_graphic() && b != b'"');
    valid.then_some((Some((name, Cow::Borrowed(value))), left))
}

/// Returns the text after the last separator, and the separator with the text before it.
fn split_last(text: &[u8]) -> (&[u8], Option<Rest<'_>>) {
    match text.iter().rposition(|byte| matches!(byte, b',' | b';')) {
        Some(at) => {
            let (left, right) = text.split_at(at);
            (right.get(1..).unwrap_or_default().trim_ascii_start(), right.first().map(|&byte| (byte, left)))
        }
        None => (text.trim_ascii_start(), None),
    }
}

/// Returns the position of the opening quote in `body`, which ends before the closing quote of a
/// quoted string. The opening quote is the last one after `=`. Every other quote in it must be
/// escaped.
fn opening_quote(body: &[u8]) -> Option<usize> {
    let mut end = body.len();
    loop {
        let at = body.get(..end)?.iter().rposition(|&byte| byte == b'"')?;
        match body.get(at.checked_sub(1)?)? {
            b'=' => return Some(at),
            b'\\' => end = at,
            _ => return None,
        }
    }
}

/// Returns the content of a quoted string (RFC 9110, section 5.6.4) without its escapes.
fn unescape(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !content.iter().any(|byte| matches!(byte, b'\\' | b'"')) {
        return Some(Cow::Borrowed(content));
    }
    let mut plain = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => *bytes.next()?,
            b'"' => return None,
            other => other,
        });
    }
    Some(Cow::Owned(plain))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(lines: &[&str]) -> Option<String> {
        match find_node(lines.iter().map(|line| line.as_bytes()), b"s3\"c") {
            Search::Nothing => None,
            Search::Found(None) => Some("-".to_owned()),
            Search::Found(Some(node)) => Some(String::from_utf8(node.into_owned()).unwrap()),
        }
    }

    #[test]
    fn finds_the_rightmost_element_with_the_secret() {
        let secret = r#"secret="s3\"c""#;
        for (line, expected) in [
            (format!("for=1.1.1.1;{secret}"), "1.1.1.1"),
            (format!("{secret} ; FOR=1.1.1.1;proto=https"), "1.1.1.1"),
            (format!(r#"For="[::1]:80" ;; {secret};"#), "[::1]:80"),
            (format!("for=6.6.6.6, for=1.1.1.1;{secret}, for=2.2.2.2"), "1.1.1.1"),
            (format!("for=6.6.6.6;{secret}, for=1.1.1.1;{secret}"), "1.1.1.1"),
            (r#"for=1.1.1.1;by="s3\"c""#.to_owned(), "1.1.1.1"),
            (r#"for=1.1.1.1;Secret="\s\3\"\c""#.to_owned(), "1.1.1.1"),
            (format!(r#"for="a,b;c=\"d\\";{secret}"#), r#"a,b;c="d\"#),
            (format!("for=[::1]:80;{secret}"), "[::1]:80"),
            (secret.to_owned(), "-"),
            (format!("for=1.1.1.1;for=2.2.2.2;{secret}"), "-"),
            (format!("for=1.1.1.1,{secret}"), "-"),
        ] {
            assert_eq!(found(&[&line]).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn text_of_the_client_cannot_hide_the_element_of_the_proxy() {
        let proxy = r#"for=1.1.1.1;secret="s3\"c""#;
        for injected in ["for=6.6.6.6;host=\"", "for=6.6.6.6;x=\"\\", "\"\"\"", "=;=,", "\u{fc}", ";"] {
            assert_eq!(found(&[&format!("{injected}, {proxy}")]).as_deref(), Some("1.1.1.1"), "{injected}");
            assert_eq!(found(&[injected, proxy]).as_deref(), Some("1.1.1.1"), "{injected}");
            assert_eq!(found(&[proxy, injected]).as_deref(), Some("1.1.1.1"), "{injected}");
        }
    }

    #[test]
    fn finds_nothing_without_the_secret() {
        for line in [
            "",
            ",",
            "for=1.1.1.1",
            "for=1.1.1.1;secret=other",
            "for=1.1.1.1;secret=\"s3\\\"c",
            "for=1.1.1.1;secret=s3\"c",
            "for=1.1.1.1;secret = \"s3\\\"c\"",
            "for=1.1.1.1;secrets=\"s3\\\"c\"",
            "for=1.1.1.1;path=\"secret=\\\"s3\\\\\\\"c\\\"\"",
            "for=;secret=\"s3\\\"c\"",
        ] {
            assert_eq!(found(&[line]), None, "{line}");
        }
        assert_eq!(found(&[]), None);
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
                          secret in prop::collection::vec(any::<u8>(), 1..4)) {
            let _found = find_node(lines.iter().map(Vec::as_slice), &secret);
        }

        #[test]
        fn finds_the_appended_element_after_any_syntax(line in r#"[,;="\\ forsect1]{0,60}"#, before in r#"[,;="\\ a]{0,9}"#) {
            let _found = find_node([line.as_bytes()].into_iter(), b"s");
            let line = format!("{before},for=1.1.1.1;secret=s");
            prop_assert_eq!(
                find_node([line.as_bytes()].into_iter(), b"s"),
                Search::Found(Some(Cow::Borrowed(&b"1.1.1.1"[..])))
            );
        }

        #[test]
        fn well_formed_values_are_unescaped(value in "[ -~]{0,20}", secret in "[ -~]{1,20}", token in "[a-z0-9._-]{1,9}") {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let line = format!("for={token};host={}, for={};proto={token} ; secret={}, by={token}",
                quoted(&value), quoted(&value), quoted(&secret));
            prop_assume!(secret != token);
            let expected = Search::Found(Some(Cow::Owned(value.into_bytes())));
            prop_assert_eq!(find_node([line.as_bytes()].into_iter(), secret.as_bytes()), expected);
        }
    }
}
