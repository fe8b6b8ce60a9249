//! Any text as part of a unit's name, as `systemd-escape` does it.

use std::fmt::Write;

/// The text in letters that a unit's name may have; systemd turns it back where a unit says `%I`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            // a name that begins with a dot would be a hidden file, which systemd does not look at
            b'.' if index > 0 => escaped.push('.'),
            b':' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => escaped.push(char::from(byte)),
            // writing to a string cannot fail
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
    fn known_names() {
        assert_eq!(escape("sample1"), "sample1");
        assert_eq!(escape("a b-c.d"), r"a\x20b\x2dc.d");
        assert_eq!(escape(".hidden"), r"\x2ehidden");
        assert_eq!(escape("ä;$(x)\\"), r"\xc3\xa4\x3b\x24\x28x\x29\x5c");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_systemd_escape(texts in prop::collection::vec("[^\0\n]{1,40}", 1..64)) {
            // many at once, since starting a program is what takes the time
            let Ok(output) = Command::new("systemd-escape").arg("--").args(&texts).output() else {
                return Ok(());
            };
            let ours: Vec<String> = texts.iter().map(|text| escape(text)).collect();
            let theirs = String::from_utf8(output.stdout).unwrap();
            prop_assert_eq!(theirs.trim_end(), ours.join(" "));
        }
    }
}
