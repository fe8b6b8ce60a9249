//! Takes a message apart: the priority, and then the header of RFC 5424 or of RFC 3164.
//!
//! Devices leave parts of RFC 3164 out. So a part counts only when it looks like one, and everything else
//! stays in the text. A message without a priority is text as a whole.

use super::structured;
use super::time::{Times, read_iso};
use crate::record::SenderTime;

/// Maximum length of a tag, in bytes. A longer word is text. The RFC says 32, and programs use more.
const MAX_TAG_BYTES: usize = 128;

const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The number in angle brackets: 0 to 191.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priority(u8);

impl Priority {
    /// Returns the keyword of the severity.
    pub(super) fn severity(self) -> &'static str {
        SEVERITIES.get(usize::from(self.0 % 8)).copied().unwrap_or_default()
    }

    /// Returns the keyword of the facility.
    pub(super) fn facility(self) -> &'static str {
        FACILITIES.get(usize::from(self.0 / 8)).copied().unwrap_or_default()
    }
}

/// A message in its parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `None`: the message is text.
    pub(super) priority: Option<Priority>,
    pub(super) time: Option<SenderTime>,
    pub(super) host: Option<&'a str>,
    pub(super) app: Option<&'a str>,
    pub(super) procid: Option<&'a str>,
    pub(super) msgid: Option<&'a str>,
    /// The number that Cisco counts its messages with.
    pub(super) sequence: Option<&'a str>,
    /// Structured data that is well-formed.
    pub(super) structured: &'a str,
    pub(super) text: &'a str,
}

/// Takes a message apart.
pub(super) fn parse<'a>(message: &'a str, times: &mut Times) -> Message<'a> {
    let message = without_bom(message);
    let Some((priority, rest)) = split_priority(message) else {
        return Message { text: message, ..Message::default() };
    };
    let parsed = parse_5424(rest).unwrap_or_else(|| parse_3164(rest, times));
    Message { priority: Some(priority), ..parsed }
}

fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads `<34>`.
fn split_priority(text: &str) -> Option<(Priority, &str)> {
    let (digits, rest) =
        text.strip_prefix('<')?.split_at_checked(text.bytes().take(5).position(|b| b == b'>')? - 1)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| is_number && *number < 192)?;
    Some((Priority(number), rest.strip_prefix('>')?))
}

/// Reads what stands behind the priority as RFC 5424 has it. `None`: it is something else.
fn parse_5424(text: &str) -> Option<Message<'_>> {
    let (version, rest) = text.split_once(' ')?;
    let is_version = (1..=3).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_digit());
    if !is_version || version.starts_with('0') {
        return None;
    }
    let (time, rest) = rest.split_once(' ')?;
    let time = match time {
        "-" => None,
        time if time.as_bytes().get(4) == Some(&b'-') => Some(read_iso(time)?),
        _ => return None,
    };
    let (host, rest) = rest.split_once(' ')?;
    let (app, rest) = rest.split_once(' ')?;
    let (procid, rest) = rest.split_once(' ')?;
    let (msgid, rest) = rest.split_once(' ')?;
    let (structured, rest) = structured::split(rest)?;
    // rsyslog leaves the space behind the tag of RFC 3164 before the text, so that there are two.
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    let text = without_bom(text.strip_prefix(' ').unwrap_or(text));
    Some(Message {
        time,
        host: some(host),
        app: some(app),
        procid: some(procid),
        msgid: some(msgid),
        structured,
        text,
        ..Message::default()
    })
}

/// Returns a part of the header, unless it stands for nothing.
fn some(part: &str) -> Option<&str> {
    (part != "-" && !part.is_empty()).then_some(part)
}

/// Reads what stands behind the priority as RFC 3164 has it, as far as it is there.
fn parse_3164<'a>(text: &'a str, times: &mut Times) -> Message<'a> {
    let mut message = Message::default();
    let text = without_bom(text).trim_start_matches(' ');
    let Some(rest) = split_time(text, &mut message, times) else {
        message.text = text;
        // Without a time, only an unmistakable `host app[1]:` names a host.
        if let Some((tag, rest)) = split_tag(text) {
            set_tag(&mut message, tag, rest);
        } else if let Some((host, behind)) = text.split_once(' ')
            && is_host(host)
            && let Some((tag, rest)) = split_tag(behind).filter(|(tag, _)| tag.procid.is_some())
        {
            message.host = Some(host);
            set_tag(&mut message, tag, rest);
        }
        return message;
    };
    let rest = rest.trim_start_matches(' ');
    message.text = without_bom(rest);
    if let Some((tag, behind)) = split_tag(rest) {
        // `router: %SYS-5-CONFIG_I: …` has a host with a colon.
        let is_host_of_cisco = tag.procid.is_none() && behind.starts_with('%');
        if is_host_of_cisco && let Some((cisco, behind)) = split_tag(behind) {
            message.host = Some(tag.app);
            set_tag(&mut message, cisco, behind);
        } else {
            set_tag(&mut message, tag, behind);
        }
        return message;
    }
    let (host, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    if behind.is_empty() || !is_host(host) {
        return message;
    }
    message.host = Some(host);
    // `host : %ASA-6-302013: …`
    let behind = behind.trim_start_matches(' ');
    let behind = behind.strip_prefix(": ").unwrap_or(behind);
    message.text = without_bom(behind);
    if let Some((tag, behind)) = split_tag(behind) {
        set_tag(&mut message, tag, behind);
    }
    message
}

/// Reads the time, and what Cisco and others put before and behind it. Returns the text behind all that.
fn split_time<'a>(text: &'a str, message: &mut Message<'a>, times: &mut Times) -> Option<&'a str> {
    let (time, rest) = match times.split(text) {
        Some(found) => found,
        None => {
            // `45: Oct 11 …`, `: Oct 11 …`, `45: router: Oct 11 …`, and `1 1374543213.34 …` of Meraki.
            let digits = text.bytes().take(20).take_while(u8::is_ascii_digit).count();
            let (number, behind) = text.split_at(digits);
            let behind =
                behind.strip_prefix(':').or_else(|| behind.strip_prefix(' '))?.trim_start_matches(' ');
            message.sequence = Some(number).filter(|number| !number.is_empty() && *number != "1");
            let found = times.split(behind).or_else(|| {
                let (host, rest) = behind.split_once(": ")?;
                let found = times.split(rest).filter(|_| is_host(host))?;
                message.host = Some(host);
                Some(found)
            });
            let Some(found) = found else {
                message.sequence = None;
                return None;
            };
            found
        }
    };
    message.time = Some(time);
    // The name of a zone stands before a colon.
    let zone = rest.strip_prefix(' ').unwrap_or_default();
    let letters = zone.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    let rest = match zone.get(letters..) {
        Some(behind) if (2..=5).contains(&letters) && behind.starts_with(": ") => behind,
        _ => rest,
    };
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// The tag: the program and its process.
#[derive(Clone, Copy)]
struct Tag<'a> {
    app: &'a str,
    procid: Option<&'a str>,
}

fn set_tag<'a>(message: &mut Message<'a>, tag: Tag<'a>, text: &'a str) {
    message.app = Some(tag.app);
    message.procid = tag.procid;
    message.text = without_bom(text);
}

/// Reads `app[123]: `, `app[123] ` or `app: `, and returns the text behind it.
fn split_tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let is_tag_byte =
        |byte: u8| byte > b' ' && !matches!(byte, b':' | b'[' | b']' | b'"' | b'=' | b'<' | b'{');
    let mut end = text.bytes().take(MAX_TAG_BYTES).position(|byte| !is_tag_byte(byte))?;
    // `postgres::worker[1]:` has colons that do not end it.
    while text.get(end..)?.starts_with("::") {
        end =
            end + 2 + text.get(end + 2..)?.bytes().take(MAX_TAG_BYTES).position(|byte| !is_tag_byte(byte))?;
    }
    let (app, rest) =
        text.split_at_checked(end).filter(|(app, _)| !app.is_empty() && app.len() <= MAX_TAG_BYTES)?;
    let (procid, rest) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (procid, rest) = inner.split_once(']')?;
            let is_procid =
                !procid.is_empty() && procid.len() <= MAX_TAG_BYTES && !procid.contains([' ', '[']);
            is_procid.then_some((Some(procid), rest))?
        }
        None => (None, rest),
    };
    let rest = match (rest.strip_prefix(':'), procid) {
        (Some(rest), _) => rest,
        (None, Some(_)) if rest.starts_with(' ') => rest,
        _ => return None,
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t', '\n']) {
        return None;
    }
    Some((Tag { app, procid }, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// Returns whether a word can be the name or the address of a host.
fn is_host(word: &str) -> bool {
    let is_host_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/' | b'@');
    (1..=255).contains(&word.len()) && word.bytes().all(|byte| is_host_byte(byte) || byte >= 0x80)
}
