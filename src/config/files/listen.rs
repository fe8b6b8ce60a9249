//! Reads the option `listen` of a log: its sockets that are not HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::syntax::document::Document;
use crate::config::syntax::finding::Finding;
use crate::config::syntax::formats::Json;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{Object, Scalar, secret, text};
use crate::config::values::listen_address::{self, ListenAddress};
use crate::config::values::log_name::LogName;

/// One element of `listen`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Listen {
    /// The format of the records.
    #[serde(rename = "type", deserialize_with = "format")]
    pub format: ListenFormat,
    /// The address.
    #[serde(deserialize_with = "on")]
    pub on: ListenAddress,
    /// The `name` of the key in `api_key.json` whose rules apply to the senders.
    #[serde(deserialize_with = "key")]
    pub key: String,
    /// The secret of the handshake of Fluent Forward (default none).
    #[serde(default, deserialize_with = "shared_key")]
    pub shared_key: Option<SharedKey>,
}

/// The format of records from a socket that is not HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenFormat {
    /// `syslog`: RFC 5424 and RFC 3164.
    Syslog,
    /// `gelf`: the format of Graylog.
    Gelf,
    /// `forward`: Fluent Forward.
    Forward,
}

/// A secret, which no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(String);

impl SharedKey {
    /// Returns the secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

impl ListenFormat {
    /// Returns the name in `log.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::Gelf => "gelf",
            Self::Forward => "forward",
        }
    }

    /// Describes the addresses of this format.
    const fn addresses(self) -> &'static str {
        match self {
            Self::Syslog => "`udp://`, `tcp://`, `tls://`, `unix:` or `unix-stream:`",
            Self::Gelf => "`udp://`, `tcp://` or `tls://`",
            Self::Forward => "`tcp://`, `tls://` or `unix:`",
        }
    }

    /// Returns whether senders of this format use such a socket.
    const fn is_on(self, on: &ListenAddress) -> bool {
        match (self, on) {
            (Self::Syslog, _) | (_, ListenAddress::Tcp(_) | ListenAddress::Tls(_)) => true,
            (Self::Gelf, ListenAddress::Udp(_)) | (Self::Forward, ListenAddress::Unix(_)) => true,
            (Self::Gelf | Self::Forward, _) => false,
        }
    }
}

impl Listen {
    /// Returns whether the socket is for datagrams, and not for connections.
    #[must_use]
    pub const fn is_datagram(&self) -> bool {
        match &self.on {
            ListenAddress::Udp(_) => true,
            ListenAddress::Unix(_) => matches!(self.format, ListenFormat::Syslog),
            ListenAddress::Tcp(_) | ListenAddress::Tls(_) | ListenAddress::UnixStream(_) => false,
        }
    }

    /// Returns whether another element describes the same socket.
    #[must_use]
    pub fn is_same_socket(&self, other: &Self) -> bool {
        self.format == other.format && self.on == other.on
    }
}

/// Deserializes `listen`. Null means no socket.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listen>, D::Error> {
    let sockets = Option::<Vec<Object<Listen>>>::deserialize(deserializer)?;
    Ok(sockets.unwrap_or_default().into_iter().map(|Object(socket)| socket).collect())
}

fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ListenFormat, D::Error> {
    text(deserializer, "`syslog`, `gelf` or `forward`", |format| match format {
        "syslog" => Some(ListenFormat::Syslog),
        "gelf" => Some(ListenFormat::Gelf),
        "forward" => Some(ListenFormat::Forward),
        _ => None,
    })
}

fn on<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ListenAddress, D::Error> {
    text(deserializer, listen_address::EXPECTED, ListenAddress::parse)
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, "the `name` of a key in api_key.json", |name| {
        (!name.is_empty()).then(|| name.to_owned())
    })
}

fn shared_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SharedKey>, D::Error> {
    secret(deserializer, "a secret of 1 to 1024 characters, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(text) if (1..=1024).contains(&text.chars().count()) => {
            Some(Some(SharedKey(text.to_owned())))
        }
        _ => None,
    })
}

/// The sockets of one log.
pub(super) struct LogSockets<'a> {
    /// The name of the log.
    pub(super) name: &'a LogName,
    /// Whether the log is switched on.
    pub(super) is_on: bool,
    /// The host and the port of HTTP.
    pub(super) http: (&'a str, u16, bool),
    /// The other sockets.
    pub(super) listen: &'a [Listen],
}

/// Checks each element by itself and with all other sockets of the file.
pub(super) fn check(document: &Document<'_, Json>, logs: &[LogSockets<'_>]) -> Result<(), Finding> {
    let mut taken: Vec<(String, ListenAddress)> = logs
        .iter()
        .filter(|log| log.is_on)
        .filter_map(|log| Some((format!("the port of log `{}`", log.name), http_address(log.http)?)))
        .collect();
    for log in logs {
        for (index, socket) in log.listen.iter().enumerate() {
            check_alone(socket)
                .map_err(|(option, message)| document.finding(&place(log.name, index, option), message))?;
            if !log.is_on {
                continue;
            }
            if let Some((owner, _)) = taken.iter().find(|(_, other)| other.overlaps(&socket.on)) {
                let message = format!("`{}` is taken by {owner}", socket.on);
                let finding = document.finding(&place(log.name, index, "on"), message);
                return Err(finding.with_remedy("give each socket its own address"));
            }
            taken.push((format!("{}.listen[{index}]", log.name), socket.on.clone()));
        }
    }
    Ok(())
}

/// Checks an element by itself. The error is the option and the message.
fn check_alone(socket: &Listen) -> Result<(), (&'static str, String)> {
    let format = socket.format.name();
    if !socket.format.is_on(&socket.on) {
        let expected = socket.format.addresses();
        return Err(("on", format!("`{}` is no address for {format}, expected {expected}", socket.on)));
    }
    if socket.shared_key.is_some() && socket.format != ListenFormat::Forward {
        return Err(("shared_key", format!("{format} has no handshake, expected no secret")));
    }
    Ok(())
}

fn place(log: &LogName, index: usize, option: &str) -> [Step; 4] {
    let [log, listen, option] = [log.as_str(), "listen", option].map(|name| Step::Name(name.to_owned()));
    [log, listen, Step::Index(index), option]
}

/// Returns the address of HTTP; `None` for a host name, which is known only when it is looked up.
fn http_address((host, port, use_ipv6): (&str, u16, bool)) -> Option<ListenAddress> {
    let address: IpAddr = if host.eq_ignore_ascii_case("localhost") {
        if use_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
    } else {
        host.parse().ok()?
    };
    Some(ListenAddress::Tcp(SocketAddr::new(address, port)))
}
