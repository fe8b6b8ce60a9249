//! Reads multipart forms (RFC 7578; RFC 2046, section 5.1) from a whole body in memory. The values
//! are borrowed. Only texts that are not UTF-8 are copied.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use memchr::memmem;

use super::body::media_type::named_encoding;
use super::body::memory::BodyMemory;
use super::error::IngestError;
use super::form::{CHARSET_FIELD, Fields, FormError};
use super::text::{DecodedText, decode};

/// Returns the fields of the form whose content type is `media_type`. The value of a file is its
/// content. Parts without a name are skipped. A part is decoded in the charset of its own content type,
/// else in that of the field `_charset_`, else in `named`, which the body's content type gives.
///
/// # Errors
/// Fails for a body that is no such form, for an unknown charset, and when the memory is used up.
pub(crate) fn fields_in<'a>(
    media_type: &str,
    body: &'a [u8],
    named: Option<&'static Encoding>,
    memory: &dyn BodyMemory,
) -> Result<Fields<'a>, IngestError> {
    let boundary = multer::parse_boundary(media_type).map_err(|_| FormError::MalformedMultipart)?;
    let of_form = charset_field(body, &boundary)?.or(named);
    let mut fields = Fields::default();
    for part in Parts::new(body, &boundary)? {
        let (head, content) = part?;
        let head = fields.text(head, of_form.unwrap_or(UTF_8));
        let Some(name) = name_of(&head).filter(|name| name != CHARSET_FIELD) else { continue };
        let of_part = content_type_of(&head).map(named_encoding).transpose()?.flatten();
        let DecodedText { text, replaced } = decode(content, of_part.or(of_form), memory)?;
        fields.has_replacements |= !replaced.is_empty();
        fields.push(Cow::Owned(name), text);
    }
    Ok(fields)
}

/// Returns the encoding that the field `_charset_` names.
fn charset_field(body: &[u8], boundary: &str) -> Result<Option<&'static Encoding>, FormError> {
    if memmem::find(body, CHARSET_FIELD.as_bytes()).is_none() {
        return Ok(None);
    }
    for part in Parts::new(body, boundary)? {
        let (head, content) = part?;
        if name_of(&String::from_utf8_lossy(head)).is_some_and(|name| name == CHARSET_FIELD) {
            return Ok(Encoding::for_label_no_replacement(content.trim_ascii()));
        }
    }
    Ok(None)
}

/// The head and the content of a part.
type Part<'a> = (&'a [u8], &'a [u8]);

/// Iterates over the parts between the delimiters.
struct Parts<'a> {
    /// The unread part of the body. It begins right after a delimiter.
    rest: &'a [u8],
    delimiter: memmem::Finder<'static>,
    ended: bool,
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], boundary: &str) -> Result<Self, FormError> {
        let delimiter = format!("\r\n--{boundary}");
        let delimiter = memmem::Finder::new(delimiter.as_bytes()).into_owned();
        let mut parts = Self { rest: body, delimiter, ended: false };
        // The first delimiter may begin the body. A text before it (the preamble) is ignored.
        let opening = parts.delimiter.needle().get(2..).unwrap_or_default();
        match body.strip_prefix(opening) {
            Some(rest) => parts.rest = rest,
            None => {
                let at = parts.delimiter.find(body).ok_or(FormError::MalformedMultipart)?;
                parts.rest = &body[at + parts.delimiter.needle().len()..];
            }
        }
        Ok(parts)
    }

    fn next_part(&mut self) -> Result<Option<Part<'a>>, FormError> {
        if self.rest.starts_with(b"--") {
            return Ok(None);
        }
        // A delimiter may have spaces before its line end (transport padding).
        let padding = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = self.rest[padding..].strip_prefix(b"\r\n").ok_or(FormError::MalformedMultipart)?;
        let (head, content) = match part.strip_prefix(b"\r\n") {
            Some(content) => (&part[..0], content),
            None => {
                let end = memmem::find(part, b"\r\n\r\n").ok_or(FormError::MalformedMultipart)?;
                (&part[..end], &part[end + 4..])
            }
        };
        let mut from = 0;
        loop {
            let at = from + self.delimiter.find(&content[from..]).ok_or(FormError::MalformedMultipart)?;
            let after = &content[at + self.delimiter.needle().len()..];
            // A line of the content may begin with the delimiter and continue.
            if after.starts_with(b"--") || matches!(after.first(), Some(b'\r' | b' ' | b'\t')) {
                self.rest = after;
                return Ok(Some((head, &content[..at])));
            }
            from = at + 2;
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, FormError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_part().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Returns the value of a header of a part.
fn header_of<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case(wanted).then_some(value)
    })
}

/// Returns the content type of a part.
fn content_type_of(head: &str) -> Option<&str> {
    header_of(head, "content-type").map(str::trim)
}

/// Returns the parameter `name` of the part's Content-Disposition.
fn name_of(head: &str) -> Option<String> {
    let value = header_of(head, "content-disposition")?;
    let mut rest = value;
    while let Some((_, parameters)) = rest.split_once(';') {
        let parameters = parameters.trim_start();
        let (name, value) = parameters.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value.get(..end)?.trim().to_owned(), value.get(end..)?)
            }
        };
        if name.trim().eq_ignore_ascii_case("name") {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Returns the quoted value up to the closing quote, and the text behind the quote.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::body::memory::Unlimited;
    use proptest::prelude::*;

    fn parse(body: &[u8]) -> Option<Vec<(String, String)>> {
        let fields = fields_in("multipart/form-data; boundary=B", body, None, &Unlimited).ok()?;
        Some(fields.list.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    fn form(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut body = String::new();
        for (name, value) in fields {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            body += &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        (body + "--B--\r\n").into_bytes()
    }

    #[test]
    fn forms_of_real_clients_are_read_and_broken_ones_are_refused() {
        let one = |body: &str| parse(body.as_bytes()).map(|fields| fields.into_iter().next());
        let m = || Some(Some(("m".to_owned(), "x".to_owned())));
        assert_eq!(one("--B\r\nContent-Disposition: form-data; name=\"m\"\r\n\r\nx\r\n--B--\r\n"), m());
        assert_eq!(
            one("preamble\r\n--B \r\ncontent-disposition:form-data;name=m\r\nX: y\r\n\r\nx\r\n--B--"),
            m()
        );
        let file = "--B\r\nContent-Disposition: form-data; filename=\"a;b\"; name=\"m\"\r\nContent-Type: a/b\r\n\r\nx\r\n--B--\r\n";
        assert_eq!(one(file), m());
        assert_eq!(one("--B\r\n\r\nnameless\r\n--B--\r\n"), Some(None));
        assert_eq!(one("--B--\r\n"), Some(None));
        for broken in
            ["", "x", "--B", "--B\r\n", "--B\r\nno end of the head", "--B\r\n\r\nno end", "--C--\r\n"]
        {
            assert_eq!(one(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn content_that_looks_like_a_delimiter_is_kept() {
        let value = "a\r\n--Bx\r\n--\r\n-B\r\n\r\nb";
        assert_eq!(parse(&form(&[("m", value)])), Some(vec![("m".to_owned(), value.to_owned())]));
    }

    #[test]
    fn each_part_is_decoded_in_its_own_charset() {
        let part = |name: &str, content_type: &str, value: &[u8]| {
            let head =
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{content_type}\r\n\r\n");
            [head.as_bytes(), value, b"\r\n"].concat()
        };
        let read = |parts: &[Vec<u8>], named| {
            let body = [&parts.concat()[..], b"--B--\r\n"].concat();
            let fields = fields_in("multipart/form-data; boundary=B", &body, named, &Unlimited)?;
            let values = fields.list.into_iter().map(|(_, value)| value.into_owned()).collect::<Vec<_>>();
            Ok::<_, IngestError>((values, fields.has_replacements))
        };
        let latin1 = part("a", "\r\nContent-Type: text/plain; charset=ISO-8859-1", b"\xe9");
        let plain = part("b", "", "é".as_bytes());
        let marked = part("c", "\r\nContent-Type: text/plain", b"\xff\xfea\0");
        assert_eq!(
            read(&[latin1, plain, marked], None),
            Ok((vec!["é".into(), "é".into(), "a".into()], false))
        );
        let field = part("_charset_", "", b"shift_jis");
        assert_eq!(read(&[part("a", "", b"\x93\xfa"), field], None), Ok((vec!["日".into()], false)));
        assert_eq!(
            read(&[part("a", "", b"\xe9")], Some(encoding_rs::WINDOWS_1252)),
            Ok((vec!["é".into()], false))
        );
        assert_eq!(read(&[part("a", "", b"\xe9")], None), Ok((vec!["\u{fffd}".into()], true)));
        let unknown = part("a", "\r\ncontent-type: text/plain; charset=klingon", b"x");
        assert!(matches!(read(&[unknown], None), Err(IngestError::UnknownCharset(_))));
    }

    proptest! {
        #[test]
        fn any_form_comes_back(fields in proptest::collection::vec(("[^\\r\\n]{1,8}", "[a-z\\r\\n\u{e9}-]{0,20}"), 0..6)) {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let expected: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            prop_assert_eq!(parse(&form(&fields)), Some(expected));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'B'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..80)) {
            parse(&body);
        }
    }
}
