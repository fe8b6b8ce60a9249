//! The `Forwarded` header of RFC 7239, read from the right.
//!
//! Proxies append, so what stands on the left was written by somebody further away, in the end by the client itself,
//! who may leave a quoted string open (`for=x;host="`) to swallow what follows. Read from the right, the element of
//! the nearest proxy is complete before anything of the client's is looked at.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search<'h> {
    /// No well-formed element carries the secret.
    Nothing,
    /// The rightmost element with the secret; its `for`, unless that is missing or stands there twice.
    Found(Option<Cow<'h, [u8]>>),
}

/// The `for` of the rightmost element whose `secret` or `by` is `secret`. `lines` are the values of all `Forwarded`
/// lines, in their order.
pub(super) fn node<'h>(lines: impl DoubleEndedIterator<Item = &'h [u8]>, secret: &[u8]) -> Search<'h> {
    for line in lines.rev() {
        let mut rest = Some(line);
        while let Some(text) = rest {
            // What stands left of a malformed element cannot be told from its content.
            let Some((element, left)) = take_element(text, secret) else { break };
            if element.trusted {
                return Search::Found(element.node.filter(|_| element.nodes == 1));
            }
            rest = left;
        }
    }
    Search::Nothing
}

#[derive(Default)]
struct Element<'h> {
    trusted: bool,
    node: Option<Cow<'h, [u8]>>,
    nodes: u32,
}

/// Takes the rightmost element off; with it what remains on its left. `None` = malformed.
fn take_element<'h>(mut text: &'h [u8], secret: &[u8]) -> Option<(Element<'h>, Option<&'h [u8]>)> {
    let mut element = Element::default();
    loop {
        let (pair, left) = take_pair(text)?;
        if let Some((name, value)) = pair {
            if name.eq_ignore_ascii_case(b"for") {
                element.nodes += 1;
                element.node = Some(value);
            } else if name.eq_ignore_ascii_case(b"secret") || name.eq_ignore_ascii_case(b"by") {
                element.trusted |= bool::from(value.ct_eq(secret));
            }
        }
        match left {
            Some((b';', more)) => text = more,
            Some((_, more)) => return Some((element, Some(more))),
            None => return Some((element, None)),
        }
    }
}

type Pair<'h> = (&'h [u8], Cow<'h, [u8]>);
/// The separator left of a pair, and what stands left of that.
type Left<'h> = (u8, &'h [u8]);

/// Takes the rightmost `NAME=VALUE` off; there may be none between two separators. `None` = malformed.
///
/// Values that ought to be quoted but need not be to be understood (`for=[2001:db8::1]:80`) are accepted.
fn take_pair(text: &[u8]) -> Option<(Option<Pair<'_>>, Option<Left<'_>>)> {
    let text = text.trim_ascii_end();
    if let Some(body) = text.strip_suffix(b"\"") {
        let open = opening_quote(body)?;
        let value = unescaped(body.get(open + 1..)?)?;
        let (name, left) = cut(body.get(..open)?.strip_suffix(b"=")?);
        return is_token(name).then_some((Some((name, value)), left));
    }
    let (pair, left) = cut(text);
    if pair.is_empty() {
        return Some((None, left));
    }
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
    let valid =
        is_token(name) && !value.is_empty() && value.iter().all(|&b| b.is_ascii_graphic() && b != b'"');
    valid.then_some((Some((name, Cow::Borrowed(value))), left))
}

/// What follows the last separator, and the separator with what precedes it.
fn cut(text: &[u8]) -> (&[u8], Option<Left<'_>>) {
    match text.iter().rposition(|byte| matches!(byte, b',' | b';')) {
        Some(at) => {
            let (left, right) = text.split_at(at);
            (right.get(1..).unwrap_or_default().trim_ascii_start(), right.first().map(|&byte| (byte, left)))
        }
        None => (text.trim_ascii_start(), None),
    }
}

/// Where the quoted string begins whose end was cut off: at the last quote behind `=`. Any other quote inside must be
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

/// The content of a quoted string (RFC 9110, section 5.6.4).
fn unescaped(content: &[u8]) -> Option<Cow<'_, [u8]>> {
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
        match node(lines.iter().map(|line| line.as_bytes()), b"s3\"c") {
            Search::Nothing => None,
            Search::Found(None) => Some("-".to_owned()),
            Search::Found(Some(node)) => Some(String::from_utf8(node.into_owned()).unwrap()),
        }
    }

    #[test]
    fn the_element_with_the_secret() {
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
    fn what_the_client_wrote_cannot_swallow_it() {
        let own = r#"for=1.1.1.1;secret="s3\"c""#;
        for injected in ["for=6.6.6.6;host=\"", "for=6.6.6.6;x=\"\\", "\"\"\"", "=;=,", "\u{fc}", ";"] {
            assert_eq!(found(&[&format!("{injected}, {own}")]).as_deref(), Some("1.1.1.1"), "{injected}");
            assert_eq!(found(&[injected, own]).as_deref(), Some("1.1.1.1"), "{injected}");
            assert_eq!(found(&[own, injected]).as_deref(), Some("1.1.1.1"), "{injected}");
        }
    }

    #[test]
    fn no_element_has_it() {
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
        fn reads_anything(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
                          secret in prop::collection::vec(any::<u8>(), 1..4)) {
            let _found = node(lines.iter().map(Vec::as_slice), &secret);
        }

        #[test]
        fn reads_anything_in_its_own_alphabet(line in r#"[,;="\\ forsect1]{0,60}"#, before in r#"[,;="\\ a]{0,9}"#) {
            let _found = node([line.as_bytes()].into_iter(), b"s");
            // whatever stands before, the nearest proxy's element is found
            let line = format!("{before},for=1.1.1.1;secret=s");
            prop_assert_eq!(
                node([line.as_bytes()].into_iter(), b"s"),
                Search::Found(Some(Cow::Borrowed(&b"1.1.1.1"[..])))
            );
        }

        #[test]
        fn well_formed_values_survive(value in "[ -~]{0,20}", secret in "[ -~]{1,20}", token in "[a-z0-9._-]{1,9}") {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let line = format!("for={token};host={}, for={};proto={token} ; secret={}, by={token}",
                quoted(&value), quoted(&value), quoted(&secret));
            prop_assume!(secret != token);
            let expected = Search::Found(Some(Cow::Owned(value.into_bytes())));
            prop_assert_eq!(node([line.as_bytes()].into_iter(), secret.as_bytes()), expected);
        }
    }
}
