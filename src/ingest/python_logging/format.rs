//! Formats a message as Python's `%` operator does (printf-style string formatting).

use super::literal::{Arguments, Literal, Value, arguments};

/// Maximum length of a formatted message, and of a width or precision.
const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_WIDTH: usize = 10_000;

/// Returns `template % args`, where `args` is the text of a tuple or of a dictionary. `None` when the
/// text cannot be read, or when Python would fail.
pub(crate) fn format(template: &str, args: &str) -> Option<String> {
    let arguments = arguments(args)?;
    if matches!(&arguments, Arguments::Tuple(items) if items.is_empty()) {
        // Without arguments, `logging` does not format at all.
        return Some(template.to_owned());
    }
    let mut source = Source { arguments: &arguments, next: 0, is_named: false };
    let mut out = String::with_capacity(template.len() + args.len());
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at)?);
        let (directive, after) = Directive::parse(rest.get(at + 1..)?, &mut source)?;
        directive.write(&mut out, &mut source)?;
        if out.len() > MAX_BYTES {
            return None;
        }
        rest = after;
    }
    out.push_str(rest);
    source.is_used_up().then_some(out)
}

/// The arguments, in the order in which a format takes them.
struct Source<'a> {
    arguments: &'a Arguments<'a>,
    next: usize,
    is_named: bool,
}

impl<'a> Source<'a> {
    fn take(&mut self, name: Option<&str>) -> Option<&'a Literal<'a>> {
        match (self.arguments, name) {
            (Arguments::Dictionary(pairs, _), Some(name)) => {
                self.is_named = true;
                pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            (Arguments::Dictionary(_, whole), None) if self.next == 0 => {
                self.next = 1;
                Some(whole)
            }
            (Arguments::Tuple(items), None) => {
                self.next += 1;
                items.get(self.next - 1)
            }
            _ => None,
        }
    }

    /// Python refuses a format that leaves elements of a tuple over.
    fn is_used_up(&self) -> bool {
        match self.arguments {
            Arguments::Tuple(items) => self.next == items.len(),
            Arguments::Dictionary(..) => true,
        }
    }
}

/// One conversion, such as `%(name)-8.3f`.
#[derive(Default)]
struct Directive<'t> {
    name: Option<&'t str>,
    is_left: bool,
    sign: Option<char>,
    is_zero_padded: bool,
    is_alternate: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl<'t> Directive<'t> {
    /// Parses the text behind a `%`, and returns the text behind the conversion.
    fn parse(text: &'t str, source: &mut Source<'_>) -> Option<(Self, &'t str)> {
        let mut directive = Self::default();
        let mut rest = text;
        if let Some(named) = rest.strip_prefix('(') {
            let end = named.find(')')?;
            directive.name = named.get(..end);
            rest = named.get(end + 1..)?;
        }
        while let Some(flag) = rest.chars().next().filter(|flag| "-+ 0#".contains(*flag)) {
            match flag {
                '-' => directive.is_left = true,
                '0' => directive.is_zero_padded = true,
                '#' => directive.is_alternate = true,
                '+' => directive.sign = Some('+'),
                _ => directive.sign = directive.sign.or(Some(' ')),
            }
            rest = rest.get(1..)?;
        }
        let width = size(&mut rest, source)?;
        directive.is_left |= width.is_some_and(|width| width < 0);
        directive.width = usize::try_from(width.unwrap_or(0).unsigned_abs()).ok()?;
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            directive.precision = usize::try_from(size(&mut rest, source)?.unwrap_or(0).max(0)).ok();
        }
        rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
        directive.conversion = rest.chars().next()?;
        let is_bounded = directive.width <= MAX_WIDTH && directive.precision.unwrap_or(0) <= MAX_WIDTH;
        is_bounded.then_some((directive, rest.get(directive_len(rest)..)?))
    }

    fn write(&self, out: &mut String, source: &mut Source<'_>) -> Option<()> {
        if self.conversion == '%' {
            out.push('%');
            return Some(());
        }
        let argument = source.take(self.name)?;
        let text = match self.conversion {
            's' => self.cut(plain(argument)),
            'r' => self.cut(argument.text),
            'a' => self.cut(&ascii(argument.text)),
            'c' => character(&argument.value)?,
            'd' | 'i' | 'u' => return self.write_number(out, &integer(&argument.value)?, ""),
            'x' | 'X' | 'o' => return self.write_radix(out, &argument.value),
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => return self.write_float(out, float(&argument.value)?),
            _ => return None,
        };
        self.pad(out, "", &text, false);
        Some(())
    }

    /// Returns at most `precision` characters of a text.
    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    fn write_radix(&self, out: &mut String, value: &Value) -> Option<()> {
        // Python takes no float here.
        let number = match value {
            Value::Integer(number) => *number,
            Value::Bool(is_true) => i128::from(*is_true),
            _ => return None,
        };
        let magnitude = number.unsigned_abs();
        let (digits, prefix) = match self.conversion {
            'x' => (format!("{magnitude:x}"), "0x"),
            'X' => (format!("{magnitude:X}"), "0X"),
            _ => (format!("{magnitude:o}"), "0o"),
        };
        let sign = if number < 0 { "-" } else { "" };
        self.write_number(out, &format!("{sign}{digits}"), if self.is_alternate { prefix } else { "" })
    }

    /// Writes the digits of a whole number with sign, prefix, precision and width.
    fn write_number(&self, out: &mut String, digits: &str, prefix: &str) -> Option<()> {
        let (sign, digits) = self.split_sign(digits);
        let zeros = "0".repeat(self.precision.unwrap_or(0).saturating_sub(digits.len()));
        self.pad(out, &format!("{sign}{prefix}"), &format!("{zeros}{digits}"), true);
        Some(())
    }

    fn split_sign<'d>(&self, digits: &'d str) -> (String, &'d str) {
        match digits.strip_prefix('-') {
            Some(digits) => ("-".to_owned(), digits),
            None => (self.sign.map(String::from).unwrap_or_default(), digits),
        }
    }

    fn write_float(&self, out: &mut String, number: f64) -> Option<()> {
        let precision = self.precision.unwrap_or(6);
        let magnitude = number.abs();
        let mut text = match self.conversion.to_ascii_lowercase() {
            _ if !number.is_finite() => if number.is_nan() { "nan" } else { "inf" }.to_owned(),
            'f' => format!("{magnitude:.precision$}"),
            'e' => scientific(magnitude, precision),
            _ => self.general(magnitude, precision.max(1)),
        };
        if self.conversion.is_ascii_uppercase() {
            text.make_ascii_uppercase();
        }
        let sign = if number.is_sign_negative() && !number.is_nan() {
            "-".to_owned()
        } else {
            self.sign.map(String::from).unwrap_or_default()
        };
        self.pad(out, &sign, &text, number.is_finite());
        Some(())
    }

    /// Formats as `%g`: fixed or scientific, whichever is shorter.
    fn general(&self, number: f64, precision: usize) -> String {
        let scientific = scientific(number, precision - 1);
        let exponent =
            scientific.split_once('e').and_then(|(_, digits)| digits.parse::<i64>().ok()).unwrap_or(0);
        let limit = i64::try_from(precision).unwrap_or(i64::MAX);
        let is_fixed = (-4..limit).contains(&exponent);
        let text = if is_fixed {
            let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
            format!("{number:.decimals$}")
        } else {
            scientific
        };
        if self.is_alternate || !text.contains('.') {
            return text;
        }
        let (mantissa, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
        format!("{}{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
    }

    /// Pads to the width: zeros behind the sign for numbers, else spaces.
    fn pad(&self, out: &mut String, sign: &str, text: &str, is_number: bool) {
        let missing = self.width.saturating_sub(sign.chars().count() + text.chars().count());
        let is_zero_padded = self.is_zero_padded && is_number && !self.is_left;
        if !self.is_left && !is_zero_padded {
            out.extend(std::iter::repeat_n(' ', missing));
        }
        out.push_str(sign);
        if is_zero_padded {
            out.extend(std::iter::repeat_n('0', missing));
        }
        out.push_str(text);
        if self.is_left {
            out.extend(std::iter::repeat_n(' ', missing));
        }
    }
}

fn directive_len(rest: &str) -> usize {
    rest.chars().next().map_or(0, char::len_utf8)
}

/// Reads a width or a precision: digits, or `*` for the next argument.
fn size(rest: &mut &str, source: &mut Source<'_>) -> Option<Option<i64>> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let Value::Integer(size) = source.take(None)?.value else { return None };
        return i64::try_from(size).ok().map(Some);
    }
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(len);
    *rest = after;
    if digits.is_empty() { Some(None) } else { digits.parse().ok().map(Some) }
}

/// Returns the text of `str()`.
fn plain<'l>(literal: &'l Literal<'_>) -> &'l str {
    match &literal.value {
        Value::Text(text) => text,
        _ => literal.text,
    }
}

fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character) {
            0..0x80 => out.push(character),
            code @ 0x80..=0xff => out.push_str(&format!("\\x{code:02x}")),
            code @ 0x100..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn character(value: &Value) -> Option<String> {
    match value {
        Value::Integer(code) => char::from_u32(u32::try_from(*code).ok()?).map(String::from),
        Value::Text(text) if text.chars().count() == 1 => Some(text.clone()),
        _ => None,
    }
}

/// Returns the digits of a whole number. A float is cut, as Python does.
fn integer(value: &Value) -> Option<String> {
    match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(is_true) => Some(u8::from(*is_true).to_string()),
        Value::Float(number) if number.is_finite() => {
            let text = format!("{:.0}", number.trunc());
            Some(if text == "-0" { "0".to_owned() } else { text })
        }
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        // The digits of an integer are read as a float, which rounds as Python does.
        Value::Integer(number) => number.to_string().parse().ok(),
        Value::Bool(is_true) => Some(f64::from(u8::from(*is_true))),
        _ => None,
    }
}

/// Formats as `1.500000e+00`, with an exponent of two digits or more.
fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_formatted_as_python_formats_them() {
        for (template, args, expected) in [
            ("user %s logged in after %d ms", "('bob', 12)", "user bob logged in after 12 ms"),
            ("%s %r %a", "('é', 'é', 'é')", "é 'é' '\\xe9'"),
            ("100%% of %s", "('it',)", "100% of it"),
            ("no arguments: %s %d", "()", "no arguments: %s %d"),
            ("%(who)s has %(n)03d", "{'who': 'x', 'n': 7}", "x has 007"),
            ("%s", "{'a': 1}", "{'a': 1}"),
            ("%s|%s|%s", "(None, [1, 'a'], True)", "None|[1, 'a']|True"),
            ("%5d|%-5d|%05d|%+d|% d", "(42, 42, 42, 42, 42)", "   42|42   |00042|+42| 42"),
            ("%d %d %d", "(3.9, -3.9, True)", "3 -3 1"),
            ("%x %X %#x %o %#o", "(255, 255, 255, 8, 8)", "ff FF 0xff 10 0o10"),
            (
                "%.2f|%8.3f|%-8.1f|%08.2f|%f",
                "(3.14159, 3.14159, 2.0, -1.5, 1)",
                "3.14|   3.142|2.0     |-0001.50|1.000000",
            ),
            ("%e %.1E", "(12345.678, 0.00012)", "1.234568e+04 1.2E-04"),
            ("%g %g %g %g", "(100000.0, 1000000.0, 0.0001, 0.00001)", "100000 1e+06 0.0001 1e-05"),
            ("%.3g %#g", "(3.14159, 1.0)", "3.14 1.00000"),
            ("%.2s|%5s|%-5s|", "('abc', 'ab', 'ab')", "ab|   ab|ab   |"),
            ("%c%c", "(65, 'b')", "Ab"),
            ("%*d|%-*d|%.*f", "(5, 42, 5, 42, 2, 3.14159)", "   42|42   |3.14"),
            ("%f %F", "(inf, nan)", "inf NAN"),
            ("%ld %hd", "(1, 2)", "1 2"),
        ] {
            assert_eq!(format(template, args).as_deref(), Some(expected), "{template}");
        }
    }

    #[test]
    fn formats_that_python_refuses_are_refused() {
        for (template, args) in [
            ("%s", "('a', 'b')"),
            ("%s %s", "('a',)"),
            ("%d", "('a',)"),
            ("%y", "(1,)"),
            ("%", "(1,)"),
            ("%(a)s", "('a',)"),
            ("%(b)s", "{'a': 1}"),
            ("%(a", "{'a': 1}"),
            ("%x", "(1.5,)"),
            ("%s", "(<object>,)"),
            ("%99999999d", "(1,)"),
        ] {
            assert_eq!(format(template, args), None, "{template} {args}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[^\u{0}-\u{1f}]{0,20}") {
            let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
            let args = format!("('{escaped}',)");
            prop_assert_eq!(super::format("a %s b", &args), Some(format!("a {text} b")));
        }

        #[test]
        fn any_template_is_formatted_or_refused(template in "([a-z]|%[-+ 0#]{0,3}[0-9*]{0,3}(\\.[0-9*]{0,2})?[sdifgexrc%y(]){0,6}") {
            drop(super::format(&template, "('a', 1, 2.5, 3, 'b', 4)"));
            drop(super::format(&template, "{'a': 1}"));
        }
    }
}
