//! Parses sizes (`10MB`, `1GiB`) and ages (`30d`, `12h`).

use std::time::Duration;

/// Parses a size such as `10MB`, `1GiB` or `4096` and returns bytes.
///
/// KB, MB, GB and TB are powers of 1000. KiB, MiB, GiB and TiB are powers of 1024.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Parses an age such as `45s`, `90m`, `12h`, `30d` or `2w`, of at most 100 years.
pub(crate) fn age(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let seconds = number.checked_mul(factor).filter(|seconds| (1..=36_525 * 86_400).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    Some((digits.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("10MB", 10_000_000),
            ("1GiB", 1 << 30),
            ("2 kb", 2_000),
            ("3TB", 3_000_000_000_000),
            ("3TiB", 3 << 40),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for wrong in ["", "MB", "1.5MB", "-1", "10M", "10 MB ", "10MBit", "20000000TB", "1\tMB", "٣MB"] {
            assert_eq!(size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn ages_are_parsed() {
        for (text, seconds) in
            [("45s", 45), ("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
        {
            assert_eq!(age(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "30", "0s", "1M", "1y", "1d12h", "-1d", "99999999999w", "18446744073709551615s"] {
            assert_eq!(age(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn sizes_are_number_times_unit(number in 0..1_000_000_u64, power in 1..5_u32) {
            let unit = ["", "K", "M", "G", "T"][power as usize];
            prop_assert_eq!(size(&format!("{number}{unit}B")), Some(number * 1000_u64.pow(power)));
            prop_assert_eq!(size(&format!("{number}{unit}iB")), Some(number * 1024_u64.pow(power)));
        }

        #[test]
        fn no_text_panics(text in ".*", near in "[0-9]{0,25}[kmgtKMGTibBsmhdw ]{0,4}") {
            for text in [text, near] {
                size(&text);
                prop_assert!(age(&text).is_none_or(|age| !age.is_zero()));
            }
        }
    }
}
