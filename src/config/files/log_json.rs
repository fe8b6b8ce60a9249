//! Reads `log.json`: the logs, with the address, the file and the rotation of each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::listen::{self, Listen, LogSockets, listen};
use crate::config::syntax::document::{Document, KnownOptions, options_of};
use crate::config::syntax::finding::Finding;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{Element, List, Object, Pairs, Scalar, boolean, integer, scalar, text};
use crate::config::values::log_name::LogName;
use crate::config::values::units;
use crate::record::{Level, LineFormat};

/// One entry of `log.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LogEntry {
    /// Whether the log is started (default true).
    #[serde(default = "yes", deserialize_with = "boolean")]
    pub status: bool,
    /// The address to listen on: an IP address or a host name.
    #[serde(deserialize_with = "host")]
    pub host: String,
    /// The TCP port to listen on.
    #[serde(deserialize_with = "port")]
    pub port: u16,
    /// Whether to listen on IPv6 (default false); `::` accepts IPv4 as well.
    #[serde(default, deserialize_with = "boolean")]
    pub use_ipv6: bool,
    /// The file of the log: absolute, or relative to the log directory.
    #[serde(deserialize_with = "file")]
    pub file: PathBuf,
    /// The lowest level that is stored (default debug). Records below it are accepted and counted.
    #[serde(default = "lowest", deserialize_with = "level")]
    pub level: Level,
    /// The format of a line (default text).
    #[serde(default, deserialize_with = "format")]
    pub format: LineFormat,
    /// The guarantee that the server gives with a 200 answer (default disk).
    #[serde(default, deserialize_with = "durability")]
    pub durability: Durability,
    /// Rotation and retention; `None` means that the file grows without limit.
    #[serde(default, deserialize_with = "rotate")]
    pub rotate: Option<Rotate>,
    /// Maximum length of a message in characters (default 8192).
    #[serde(default = "max_message_default", deserialize_with = "max_message")]
    pub max_message: u32,
    /// What becomes of a longer message (default refuse).
    #[serde(default, deserialize_with = "long_messages")]
    pub long_messages: LongMessages,
    /// Maximum number of records in `logs` (default 1024).
    #[serde(default = "max_batch_default", deserialize_with = "max_batch")]
    pub max_batch: u32,
    /// Whether records keep the fields of their senders (default true).
    #[serde(default = "yes", deserialize_with = "boolean")]
    pub fields: bool,
    /// Names of fields that are not kept, with all names below them (default none).
    #[serde(default, deserialize_with = "drop_fields")]
    pub drop_fields: Vec<String>,
    /// Sockets that are not HTTP, with their keys (default none).
    #[serde(default, deserialize_with = "listen")]
    pub listen: Vec<Listen>,
}

/// What becomes of a message that is longer than `max_message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongMessages {
    /// The request is refused: `refuse`.
    #[default]
    Refuse,
    /// The message is cut, and the record says how long it was: `cut`.
    Cut,
}

/// The guarantee that the server gives with a 200 answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The record is on the disk: fdatasync(2) has returned.
    #[default]
    Disk,
    /// The kernel has the record: write(2) has completed.
    Os,
}

/// The option `rotate` of a log, with at least one of its options set.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Rotate {
    /// Maximum size of the active file, in uncompressed bytes. The file is rotated before it grows
    /// beyond this size.
    #[serde(deserialize_with = "some_size")]
    pub max_size: Option<NonZeroU64>,
    /// Rotates the file each hour, day or week, in the time zone of the server.
    #[serde(deserialize_with = "every")]
    pub every: Option<Every>,
    /// Number of rotated segments to keep.
    #[serde(deserialize_with = "count")]
    pub keep: Option<u64>,
    /// Maximum age of the newest record of a segment. Older segments are removed.
    #[serde(deserialize_with = "age")]
    pub max_age: Option<Duration>,
    /// Maximum size of the log on the disk in bytes, with the active file.
    #[serde(deserialize_with = "some_size")]
    pub max_total: Option<NonZeroU64>,
    /// Minimum free space of the file system in bytes. Below it, records are answered 503.
    #[serde(deserialize_with = "size")]
    pub min_free: Option<u64>,
    /// Compression of rotated segments (default none).
    #[serde(deserialize_with = "compression")]
    pub compress: Compression,
}

impl Rotate {
    /// Returns whether there are options for rotated segments, but none that rotates the file.
    fn never_takes_effect(&self) -> bool {
        let rotates = self.max_size.is_some()
            || self.every.is_some()
            || self.max_total.is_some()
            || self.max_age.is_some();
        !rotates && (self.keep.is_some() || self.compress != Compression::None)
    }
}

/// The calendar period at which a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// At the start of each hour: `hour`.
    Hour,
    /// At the start of each day: `day`.
    Day,
    /// At the start of each week: `week`.
    Week,
}

/// Compression of rotated segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// No compression: `none` or null.
    #[default]
    None,
    /// Zstandard: `zstd`.
    Zstd,
    /// gzip: `gzip`.
    Gzip,
}

pub(crate) const FILE: &str = "log.json";

pub(crate) const KNOWN_OPTIONS: KnownOptions = KnownOptions {
    siblings: |path| match path {
        [Step::Name(_), Step::Name(_)] => options_of::<LogEntry>(),
        [Step::Name(_), Step::Name(rotate), ..] if rotate == "rotate" => options_of::<Rotate>(),
        [Step::Name(_), Step::Name(listen), ..] if listen == "listen" => options_of::<Listen>(),
        _ => &[],
    },
    ignored: &[
        ("google_spread_sheets_auth", "records are not copied to Google Sheets; this changes nothing"),
        ("spread_sheets_key", "records are not copied to Google Sheets; this changes nothing"),
    ],
};

/// Reads the text of `log.json`.
pub(crate) fn read(
    source: &str,
    warnings: &mut Vec<Finding>,
) -> Result<BTreeMap<LogName, LogEntry>, Finding> {
    let document = Document::json(FILE, source)?;
    let Pairs(logs) = document.read::<Pairs<LogName, Object<LogEntry>>>(&KNOWN_OPTIONS, warnings)?;
    let logs: Vec<_> = logs.into_iter().map(|(name, Object(log))| (name, log)).collect();
    let place = |name: &LogName, option: &str| [Step::Name(name.to_string()), Step::Name(option.to_owned())];
    for (index, (name, log)) in logs.iter().enumerate() {
        if log.use_ipv6 && log.host.parse::<std::net::Ipv4Addr>().is_ok() {
            let message =
                format!("true, but host `{}` is an IPv4 address, expected an IPv6 address", log.host);
            return Err(document
                .finding(&place(name, "use_ipv6"), message)
                .with_remedy("`::` listens on both"));
        }
        for (other_name, other) in &logs[..index] {
            if log.status && other.status && same_address(log, other) {
                let message = format!("port {} of this host is taken by log `{other_name}`", log.port);
                let remedy = "give each log its own port, or set `status` of one to false";
                return Err(document.finding(&place(name, "port"), message).with_remedy(remedy));
            }
            // Compared by components, so that `./a.log` is `a.log`.
            if log.file.components().filter(named).eq(other.file.components().filter(named)) {
                let message = format!("log `{other_name}` has the same file, expected one of its own");
                return Err(document.finding(&place(name, "file"), message));
            }
            if belongs_to(&log.file, &other.file) || belongs_to(&other.file, &log.file) {
                let message = format!(
                    "the file of this log or of log `{other_name}` has a name that the other log gives to its segments or torn lines, expected another name"
                );
                return Err(document.finding(&place(name, "file"), message));
            }
        }
    }
    let sockets = logs.iter().map(|(name, log)| LogSockets {
        name,
        is_on: log.status,
        http: (&log.host, log.port, log.use_ipv6),
        listen: &log.listen,
    });
    listen::check(&document, &sockets.collect::<Vec<_>>())?;
    for (name, _) in
        logs.iter().filter(|(_, log)| log.rotate.as_ref().is_some_and(Rotate::never_takes_effect))
    {
        let message = "nothing is rotated without `max_size`, `every`, `max_total` or `max_age`: `keep` and \
            `compress` have no effect";
        warnings.push(document.finding(&place(name, "rotate"), message));
    }
    for (name, _) in logs.iter().filter(|(_, log)| !log.fields && !log.drop_fields.is_empty()) {
        let message = "has no effect, because `fields` is false and no fields are kept";
        warnings.push(document.finding(&place(name, "drop_fields"), message));
    }
    if logs.is_empty() {
        warnings.push(Finding::of_file(FILE, "no log is configured"));
    }
    Ok(logs.into_iter().collect())
}

fn named(component: &Component<'_>) -> bool {
    *component != Component::CurDir
}

/// Returns whether `file` has a name that the log of `log` gives to its segments
/// (`FILE.YYYYMMDDTHHMMSSZ-SEQ`) or to a torn line (`FILE.torn`).
///
/// The log would mistake the file for one of its segments, and retention would remove it.
fn belongs_to(file: &Path, log: &Path) -> bool {
    let folder = |path: &Path| -> PathBuf {
        path.parent().into_iter().flat_map(Path::components).filter(named).collect()
    };
    let name = |path: &Path| path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default().to_vec();
    let (name, log_name) = (name(file), name(log));
    let Some(rest) = name.strip_prefix(&*log_name).and_then(|rest| rest.strip_prefix(b".")) else {
        return false;
    };
    let is_stamp = |stamp: &[u8]| {
        stamp.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            16 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    };
    folder(file) == folder(log) && (rest == b"torn" || rest.get(..17).is_some_and(is_stamp))
}

/// Returns whether two logs cannot both bind their address.
///
/// A wildcard address takes its port on every address of its family, and `::` on all addresses.
fn same_address(a: &LogEntry, b: &LogEntry) -> bool {
    let covers = |wide: &LogEntry, other: &LogEntry| match (wide.host.as_str(), other.host.parse::<IpAddr>())
    {
        ("::", Ok(_)) | ("0.0.0.0", Ok(IpAddr::V4(_))) => true,
        (host, Ok(address)) => host.parse() == Ok(address),
        (host, Err(_)) => host.eq_ignore_ascii_case(&other.host),
    };
    a.port == b.port && (covers(a, b) || covers(b, a))
}

const fn yes() -> bool {
    true
}

const fn lowest() -> Level {
    Level::Debug
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let expected = "a host name or an IP address without brackets, such as 127.0.0.1, :: or localhost";
    text(deserializer, expected, |host| {
        let name = |host: &str| {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
                && host.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'.'))
        };
        (host.parse::<IpAddr>().is_ok() || name(host)).then(|| host.to_owned())
    })
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    integer(deserializer, "a port", 1..=65_535)
}

fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let expected = "the path of a file, absolute or inside the log directory (no `..`)";
    text(deserializer, expected, |text| {
        let path = Path::new(text);
        let valid = path.file_name().is_some()
            && !text.ends_with('/')
            && !text.ends_with("/.")
            && !text.contains('\0')
            && !path.components().any(|component| component == Component::ParentDir);
        valid.then(|| path.to_owned())
    })
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    let expected = "a level: 0 to 4 or one of debug, info, warning, error, critical";
    scalar(deserializer, expected, |value| match value {
        Scalar::Integer(number) => Level::from_number(number).ok(),
        Scalar::Text(name) if !name.starts_with(|c: char| c.is_ascii_digit()) => name.parse().ok(),
        _ => None,
    })
}

fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LineFormat, D::Error> {
    text(deserializer, "`text` or `json`", |format| match format {
        "text" => Some(LineFormat::Text),
        "json" => Some(LineFormat::Json),
        _ => None,
    })
}

fn durability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Durability, D::Error> {
    text(deserializer, "`disk` or `os`", |durability| match durability {
        "disk" => Some(Durability::Disk),
        "os" => Some(Durability::Os),
        _ => None,
    })
}

const fn max_message_default() -> u32 {
    8192
}

const fn max_batch_default() -> u32 {
    1024
}

fn max_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer, "a number of characters", 1..=1_048_576)
}

fn max_batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer, "a number of records", 1..=131_072)
}

fn long_messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LongMessages, D::Error> {
    text(deserializer, "`refuse` or `cut`", |value| match value {
        "refuse" => Some(LongMessages::Refuse),
        "cut" => Some(LongMessages::Cut),
        _ => None,
    })
}

fn drop_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let List(names) = List::<FieldName>::deserialize(deserializer)?;
    Ok(names.into_iter().map(|FieldName(name)| name).collect())
}

/// The name of a field in `drop_fields`.
struct FieldName(String);

impl Element for FieldName {
    const EXPECTED: &'static str = "the name of a field such as `password` or `http.request.headers`";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

/// Deserializes `rotate`. Null and an empty object both mean no rotation.
fn rotate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rotate>, D::Error> {
    let rotate = Option::<Object<Rotate>>::deserialize(deserializer)?;
    Ok(rotate.map(|Object(rotate)| rotate).filter(|rotate| *rotate != Rotate::default()))
}

fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Every>, D::Error> {
    scalar(deserializer, "`hour`, `day`, `week` or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text("hour") => Some(Some(Every::Hour)),
        Scalar::Text("day") => Some(Some(Every::Day)),
        Scalar::Text("week") => Some(Some(Every::Week)),
        _ => None,
    })
}

fn compression<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Compression, D::Error> {
    scalar(deserializer, "`zstd`, `gzip`, `none` or null", |value| match value {
        Scalar::Null | Scalar::Text("none") => Some(Compression::None),
        Scalar::Text("zstd") => Some(Compression::Zstd),
        Scalar::Text("gzip") => Some(Compression::Gzip),
        _ => None,
    })
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    scalar(deserializer, "a count, an integer from 0, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Integer(count) => Some(Some(count)),
        _ => None,
    })
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    scalar(deserializer, "a size such as 4096, `10MB` or `1GiB`, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Integer(bytes) => Some(Some(bytes)),
        Scalar::Text(text) => units::size(text).map(Some),
        _ => None,
    })
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error> {
    scalar(deserializer, "a size above 0 such as 4096, `10MB` or `1GiB`, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Integer(bytes) => NonZeroU64::new(bytes).map(Some),
        Scalar::Text(text) => units::size(text).and_then(NonZeroU64::new).map(Some),
        _ => None,
    })
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    scalar(deserializer, "an age such as `45s`, `90m`, `12h`, `30d` or `2w`, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(text) => units::age(text).map(Some),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_and_torn_lines_belong_to_a_log() {
        let of = |file: &str, log: &str| belongs_to(Path::new(file), Path::new(log));
        assert!(of("a.log.20200101T000000Z-1", "a.log"));
        assert!(of("x/a.log.20200101T000000Z-12.zst.tmp", "./x/a.log"));
        assert!(of("a.log.torn", "a.log"));
        for other in
            ["a.log", "a.log.1", "a.log.20200101", "a.log.20200101T000000Z", "b.log.20200101T000000Z-1"]
        {
            assert!(!of(other, "a.log"), "{other}");
        }
        assert!(!of("x/a.log.20200101T000000Z-1", "a.log"));
    }
}
