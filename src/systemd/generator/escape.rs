//! Escapes texts in unit names like systemd-escape(1).

use std::fmt::Write;

/// Escapes a text for a unit name. systemd unescapes it where a unit contains `%I`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            // A unit file whose name starts with a dot is hidden, and systemd ignores it.
            b'.' if index > 0 => escaped.push('.'),
            b':' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => escaped.push(char::from(byte)),
            // Writing to a string never fails.
            _ => _ = write!(escaped, "\\x{byte:02x}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn known_names_are_escaped() {
        assert_eq!(escape("sample1"), "sample1");
        assert_eq!(escape("a b-c.d"), r"a\x20b\x2dc.d");
        assert_eq!(escape(".hidden"), r"\x2ehidden");
        assert_eq!(escape("ä;$(x)\\"), r"\xc3\xa4\x3b\x24\x28x\x29\x5c");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn result_equals_that_of_systemd_escape(texts in prop::collection::vec("[^\0\n]{1,40}", 1..64)) {
            // Many texts in one call, since starting the program takes most of the time.
            let Ok(output) = Command::new("systemd-escape").arg("--").args(&texts).output() else {
                return Ok(());
            };
            let ours: Vec<String> = texts.iter().map(|text| escape(text)).collect();
            let theirs = String::from_utf8(output.stdout).unwrap();
            prop_assert_eq!(theirs.trim_end(), ours.join(" "));
        }
    }
}
