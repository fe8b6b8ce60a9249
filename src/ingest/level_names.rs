//! Reads the levels of senders: the names of many libraries, and the numbers of several scales.
//!
//! No level refuses a record. One that is unknown counts as INFO. A level that is not one of the
//! server's own is kept as a field, in the words of the sender.

pub(crate) use crate::config::LevelScale as Scale;
use crate::record::Level;

/// Length of the longest name.
const MAX_NAME_LEN: usize = 13;

/// Returns the level of a name in lower case.
const fn level_of_name(name: &[u8]) -> Option<Level> {
    Some(match name {
        b"info" | b"information" | b"informational" | b"notice" | b"http" | b"success" | b"log" => {
            Level::Info
        }
        b"debug" | b"dbg" | b"trace" | b"verbose" | b"silly" => Level::Debug,
        b"fine" | b"finer" | b"finest" | b"config" => Level::Debug,
        b"warning" | b"warn" => Level::Warning,
        b"error" | b"err" | b"severe" => Level::Error,
        b"critical" | b"crit" | b"fatal" | b"alert" => Level::Critical,
        b"emerg" | b"emergency" | b"panic" | b"dpanic" => Level::Critical,
        _ => return None,
    })
}

/// The steps of pino and bunyan. A number below the first step is DEBUG.
const PINO: [(i64, Level); 4] =
    [(30, Level::Info), (40, Level::Warning), (50, Level::Error), (60, Level::Critical)];
/// The steps of Python's `logging`.
const PYTHON: [(i64, Level); 4] =
    [(20, Level::Info), (30, Level::Warning), (40, Level::Error), (50, Level::Critical)];
/// The steps of Monolog. Notice (250) is INFO.
const MONOLOG: [(i64, Level); 4] =
    [(200, Level::Info), (300, Level::Warning), (400, Level::Error), (500, Level::Critical)];
/// The numbers that only Monolog uses.
const MONOLOG_NUMBERS: [i64; 8] = [100, 200, 250, 300, 400, 500, 550, 600];

/// A level as the server understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadLevel {
    /// The level of the record.
    pub(crate) level: Level,
    /// Whether the record keeps the level in the sender's words.
    pub(crate) is_kept: bool,
    /// Whether the level has a meaning.
    pub(crate) is_known: bool,
}

impl ReadLevel {
    /// The level of a record that names none.
    pub(crate) const ABSENT: Self = Self::own(Level::Info);

    const UNKNOWN: Self = Self { level: Level::Info, is_kept: true, is_known: false };

    const fn own(level: Level) -> Self {
        Self { level, is_kept: false, is_known: true }
    }

    const fn foreign(level: Level) -> Self {
        Self { level, is_kept: true, is_known: true }
    }
}

/// Returns the level with this name, in any case and with any white space around it. `None` for a
/// text that is no name of a level.
pub(crate) fn level_by_name(text: &str) -> Option<ReadLevel> {
    let text = text.trim();
    let mut lower = [0; MAX_NAME_LEN];
    let lower = lower.get_mut(..text.len())?;
    lower.copy_from_slice(text.as_bytes());
    lower.make_ascii_lowercase();
    let level = level_of_name(lower)?;
    let is_own = text.eq_ignore_ascii_case("warn") || text.eq_ignore_ascii_case(level.as_str());
    Some(if is_own { ReadLevel::own(level) } else { ReadLevel::foreign(level) })
}

/// Returns the level of a text that needs no field: one of the server's own.
pub(crate) fn own_level(text: &str, scale: Scale) -> Option<Level> {
    if let ([digit @ b'0'..=b'4'], false) = (text.as_bytes(), scale == Scale::Syslog) {
        return Level::from_number(u64::from(digit - b'0')).ok();
    }
    let read = read_level(text, scale);
    (!read.is_kept).then_some(read.level)
}

/// Reads a level that is a name or a number, with white space around it.
pub(crate) fn read_level(text: &str, scale: Scale) -> ReadLevel {
    let text = text.trim();
    level_by_name(text)
        .or_else(|| whole_number(text).map(|number| level_by_number(number, scale)))
        .unwrap_or(ReadLevel::UNKNOWN)
}

/// Returns the level of a number on a scale.
pub(crate) fn level_by_number(number: i64, scale: Scale) -> ReadLevel {
    let own = u64::try_from(number).ok().and_then(|number| Level::from_number(number).ok());
    match (own, scale) {
        (_, Scale::Syslog) => syslog(number),
        (Some(level), _) => ReadLevel::own(level),
        (None, Scale::Pino) => step(&PINO, number),
        (None, Scale::Python) => step(&PYTHON, number),
        (None, Scale::Monolog) => step(&MONOLOG, number),
        (None, Scale::Auto) if MONOLOG_NUMBERS.contains(&number) => step(&MONOLOG, number),
        (None, Scale::Auto) if (10..70).contains(&number) => step(&PINO, number),
        (None, Scale::Auto) => ReadLevel::UNKNOWN,
    }
}

/// Returns the level of a number of Python's `logging`, whose scale begins at 0.
pub(crate) fn python_level(number: i64) -> ReadLevel {
    step(&PYTHON, number)
}

fn step(steps: &[(i64, Level)], number: i64) -> ReadLevel {
    let below = steps.iter().rev().find(|(step, _)| *step <= number);
    ReadLevel::foreign(below.map_or(Level::Debug, |(_, level)| *level))
}

/// Returns the level of a severity of syslog.
fn syslog(severity: i64) -> ReadLevel {
    let level = match severity {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        _ => return ReadLevel::UNKNOWN,
    };
    ReadLevel { level, is_kept: severity > 4, is_known: true }
}

/// Reads a whole number in decimal: `30`, `30.0`, `3e1`.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    // `inf` and `nan` are no numbers here, and no level is beyond 2^53.
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0)?;
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    if number.abs() > LARGEST { None } else { format!("{number:.0}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The names, in lower case.
    const NAMES: [(&str, Level); 29] = [
        ("debug", Level::Debug),
        ("dbg", Level::Debug),
        ("trace", Level::Debug),
        ("verbose", Level::Debug),
        ("silly", Level::Debug),
        ("fine", Level::Debug),
        ("finer", Level::Debug),
        ("finest", Level::Debug),
        ("config", Level::Debug),
        ("info", Level::Info),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("notice", Level::Info),
        ("http", Level::Info),
        ("success", Level::Info),
        ("log", Level::Info),
        ("warning", Level::Warning),
        ("warn", Level::Warning),
        ("error", Level::Error),
        ("err", Level::Error),
        ("severe", Level::Error),
        ("critical", Level::Critical),
        ("crit", Level::Critical),
        ("fatal", Level::Critical),
        ("alert", Level::Critical),
        ("emerg", Level::Critical),
        ("emergency", Level::Critical),
        ("panic", Level::Critical),
        ("dpanic", Level::Critical),
    ];

    fn on(scale: Scale, number: i64) -> Level {
        level_by_number(number, scale).level
    }

    #[test]
    fn names_are_known_in_any_case_and_kept_unless_they_are_the_servers_own() {
        for (name, level) in NAMES {
            for text in [name.to_owned(), name.to_uppercase(), format!(" {name}\t")] {
                let read = read_level(&text, Scale::Auto);
                assert_eq!((read.level, read.is_known), (level, true), "{text}");
                let is_own = ["debug", "info", "warning", "warn", "error", "critical"].contains(&name);
                assert_eq!(read.is_kept, !is_own, "{text}");
            }
        }
        for unknown in ["", "noise", "infos", "é", "NaN", "inf", "-", "1e400", "true"] {
            assert_eq!(read_level(unknown, Scale::Auto), ReadLevel::UNKNOWN, "{unknown}");
        }
    }

    #[test]
    fn own_numbers_are_read_in_any_form_on_every_scale_but_that_of_syslog() {
        for scale in [Scale::Auto, Scale::Pino, Scale::Python, Scale::Monolog] {
            for level in Level::ALL {
                let number = level as u8;
                for text in [format!("{number}"), format!("{number}.0"), format!(" {number} ")] {
                    assert_eq!(read_level(&text, scale), ReadLevel::own(level), "{text}");
                }
            }
        }
        assert_eq!(read_level("3.5", Scale::Auto), ReadLevel::UNKNOWN);
        assert_eq!(read_level("-1", Scale::Auto), ReadLevel::UNKNOWN);
    }

    #[test]
    fn each_scale_counts_a_number_as_the_step_below_it() {
        use Level::{Critical, Debug, Error, Info, Warning};
        let cases = [
            (
                Scale::Auto,
                vec![
                    (10, Debug),
                    (20, Debug),
                    (30, Info),
                    (35, Info),
                    (40, Warning),
                    (50, Error),
                    (60, Critical),
                    (69, Critical),
                ],
            ),
            (
                Scale::Auto,
                vec![
                    (100, Debug),
                    (200, Info),
                    (250, Info),
                    (300, Warning),
                    (400, Error),
                    (500, Critical),
                    (550, Critical),
                    (600, Critical),
                ],
            ),
            (Scale::Pino, vec![(5, Debug), (29, Debug), (30, Info), (60, Critical), (100, Critical)]),
            (
                Scale::Python,
                vec![
                    (5, Debug),
                    (10, Debug),
                    (19, Debug),
                    (20, Info),
                    (25, Info),
                    (30, Warning),
                    (40, Error),
                    (50, Critical),
                    (60, Critical),
                ],
            ),
            (
                Scale::Monolog,
                vec![
                    (99, Debug),
                    (100, Debug),
                    (249, Info),
                    (250, Info),
                    (300, Warning),
                    (400, Error),
                    (450, Error),
                    (550, Critical),
                ],
            ),
            (
                Scale::Syslog,
                vec![
                    (0, Critical),
                    (1, Critical),
                    (2, Critical),
                    (3, Error),
                    (4, Warning),
                    (5, Info),
                    (6, Info),
                    (7, Debug),
                ],
            ),
        ];
        for (scale, steps) in cases {
            for (number, level) in steps {
                assert_eq!(on(scale, number), level, "{number} on {scale:?}");
            }
        }
        for unknown in [5, 9, 70, 99, 101, 1000, -5] {
            assert_eq!(level_by_number(unknown, Scale::Auto), ReadLevel::UNKNOWN);
        }
        assert_eq!(level_by_number(8, Scale::Syslog), ReadLevel::UNKNOWN);
    }

    proptest! {
        #[test]
        fn any_text_has_a_level(text in ".{0,12}", number in "-?[0-9]{1,20}(\\.[0-9]{0,3})?([eE][0-9]{1,3})?") {
            for scale in [Scale::Auto, Scale::Pino, Scale::Python, Scale::Syslog, Scale::Monolog] {
                for text in [&text, &number] {
                    let read = read_level(text, scale);
                    prop_assert!(read.is_known || read.level == Level::Info);
                }
            }
        }
    }
}
