//! Determines the address of a client: the address of the peer, or the one that a trusted proxy
//! reports.
//!
//! A header counts only when an option names it and `trusted_proxies` contains the peer. A value
//! that is no address means the address of the peer, so a client cannot hide its address behind a
//! malformed header. A reported loopback address means the peer too, because only a peer can be on
//! this machine, and loopback has privileges.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use http::header::FORWARDED;

use super::forwarded::{self, Search};
use crate::config::HttpSettings;
use crate::net::client_network::ClientNetwork;

/// The address of a client in rules, limits and lines.
///
/// `Display` writes it without brackets and without a port, and the admin socket as `local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddr {
    /// An IP address. [`ClientAddr::from`] turns IPv4-mapped IPv6 addresses into IPv4 ones.
    Ip(IpAddr),
    /// The admin socket, a Unix socket for the operator. No address list and no maintenance applies
    /// to it.
    Local,
}

/// A client as limits count it.
///
/// `Display` writes the network, and the admin socket as `local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CountedClient {
    /// All clients of one network.
    Network(ClientNetwork),
    /// The admin socket.
    Local,
}

impl CountedClient {
    /// Returns the site of the network, see [`ClientNetwork::site`].
    pub(crate) fn site(self) -> Option<Self> {
        match self {
            Self::Network(network) => network.site().map(Self::Network),
            Self::Local => None,
        }
    }
}

impl fmt::Display for CountedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Local => f.pad("local"),
        }
    }
}

impl ClientAddr {
    /// Returns the client as limits count it.
    pub(crate) const fn counted(self) -> CountedClient {
        match self {
            Self::Ip(address) => CountedClient::Network(ClientNetwork::of(address)),
            Self::Local => CountedClient::Local,
        }
    }

    /// Returns whether the client is on this machine: `127.0.0.0/8`, `::1`, or the admin socket.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(address) => address.to_canonical().is_loopback(),
            Self::Local => true,
        }
    }
}

/// An address as text, made without an allocation, because every record has one.
#[derive(Debug, Clone, Copy)]
pub struct ClientText {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl ClientText {
    /// The length of `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
    const MAX_BYTES: usize = 45;

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text);
            self.len += text.len();
        }
    }
}

impl fmt::Write for ClientText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl ClientAddr {
    /// Returns the text of `Display`.
    ///
    /// IPv4 addresses are written without `core::fmt`, which would cost a twentieth of the time of
    /// a record.
    #[must_use]
    pub fn text(&self) -> ClientText {
        let mut text = ClientText { bytes: [0; ClientText::MAX_BYTES], len: 0 };
        if let Self::Ip(address) = self
            && let IpAddr::V4(address) = address.to_canonical()
        {
            let mut digits = itoa::Buffer::new();
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b".");
                }
                text.push(digits.format(octet).as_bytes());
            }
        } else {
            let written = fmt::write(&mut text, format_args!("{self}"));
            debug_assert!(written.is_ok(), "the longest address fits");
        }
        text
    }
}

impl From<IpAddr> for ClientAddr {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.to_canonical().fmt(f),
            Self::Local => f.pad("local"),
        }
    }
}

/// Returns the address of the client: `peer`, or the address that a trusted proxy reports.
///
/// As in Sanic, the server uses the first of these options that is configured and whose header is
/// present:
/// 1. `forwarded_secret`: the `for` of the rightmost element of `Forwarded` (RFC 7239) with this
///    secret
/// 2. `real_ip_header`: the last line of this header
/// 3. `proxies_count`: the entry with this number from the right in all lines of
///    `forwarded_for_header`
///
/// The result is `peer` when the address is malformed, obfuscated (`_hidden`, `unknown`), loopback or
/// missing, and when there are fewer entries than `proxies_count`.
#[must_use]
pub fn client_addr(peer: ClientAddr, headers: &HeaderMap, http: &HttpSettings) -> ClientAddr {
    let ClientAddr::Ip(peer_ip) = peer else { return peer };
    let peer = ClientAddr::from(peer_ip);
    let no_header_configured =
        http.forwarded_secret.is_none() && http.real_ip_header.is_none() && http.proxies_count.is_none();
    if no_header_configured || !http.trusted_proxies.as_ref().is_none_or(|trusted| trusted.contains(peer_ip))
    {
        return peer;
    }
    reported_text(headers, http)
        .and_then(|text| parse_address(&text))
        .map(ClientAddr::from)
        .filter(|reported| !reported.is_loopback())
        .unwrap_or(peer)
}

/// Returns the text that the first configured and present header reports as the address.
fn reported_text<'h>(headers: &'h HeaderMap, http: &HttpSettings) -> Option<Cow<'h, [u8]>> {
    if let Some(secret) = http.forwarded_secret.as_deref().filter(|secret| !secret.is_empty()) {
        let lines = headers.get_all(FORWARDED).iter().map(http::HeaderValue::as_bytes);
        match forwarded::find_node(lines, secret.as_bytes()) {
            Search::Found(node) => return node,
            Search::Nothing => {}
        }
    }
    let real_ip = http.real_ip_header.as_ref().and_then(|name| {
        let last = headers.get_all(name).iter().next_back()?.as_bytes().trim_ascii();
        (!last.is_empty()).then_some(last)
    });
    if let Some(text) = real_ip {
        return Some(Cow::Borrowed(text));
    }
    // Bytes and not text, because invalid UTF-8 in an entry of the client must not hide the entries
    // of proxies after it.
    let steps = usize::try_from(http.proxies_count?.get()).ok()?.checked_sub(1)?;
    headers
        .get_all(&http.forwarded_for_header)
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .nth(steps)
        .map(Cow::Borrowed)
}

/// Parses an address as proxies write it: bare, with a port, in brackets, or any of these in
/// quotes.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let text = text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text);
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_valid.then(|| address.parse::<Ipv6Addr>().ok()).flatten().map(IpAddr::V6);
    }
    text.parse().ok().or_else(|| {
        let (address, port) = text.split_once(':')?;
        is_port(port).then(|| address.parse().ok().map(IpAddr::V4)).flatten()
    })
}

/// Returns whether the text is a port (RFC 7239, section 6): up to five digits, or obfuscated such
/// as `_p80`.
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(obfuscated) => {
            !obfuscated.is_empty()
                && obfuscated.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::config::IpSet;
    use crate::guard::testing;

    fn ip(text: &str) -> ClientAddr {
        ClientAddr::from(text.parse::<IpAddr>().unwrap())
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    fn counting(count: u32) -> HttpSettings {
        HttpSettings { proxies_count: NonZeroU32::new(count), ..testing::http() }
    }

    fn all_options() -> HttpSettings {
        HttpSettings {
            forwarded_secret: Some("s3cret".to_owned()),
            real_ip_header: Some(HeaderName::from_static("x-real-ip")),
            ..counting(1)
        }
    }

    const PEER: &str = "192.0.2.1";

    fn address_of(lines: &[(&'static str, &str)], http: &HttpSettings) -> String {
        client_addr(ip(PEER), &headers(lines), http).to_string()
    }

    #[test]
    fn text_has_no_brackets_and_no_mapped_addresses() {
        assert_eq!(ip("::1").to_string(), "::1");
        assert_eq!(ip("::ffff:203.0.113.7").to_string(), "203.0.113.7");
        assert_eq!(ClientAddr::Ip("::ffff:203.0.113.7".parse().unwrap()).to_string(), "203.0.113.7");
        assert_eq!(ClientAddr::Local.to_string(), "local");
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888";
        for address in ["0.0.0.0", "255.255.255.255", "10.9.100.7", "::1", "::ffff:203.0.113.7", longest] {
            let client = ClientAddr::Ip(address.parse().unwrap());
            assert_eq!(client.text().as_str(), client.to_string());
        }
        assert_eq!(ClientAddr::Local.text().as_str(), "local");
        assert!(ip("::ffff:127.0.0.1").is_loopback() && ip("::1").is_loopback());
        assert!(ClientAddr::Local.is_loopback() && !ip(PEER).is_loopback());
        assert_eq!(ip("2001:db8::1").counted(), ip("2001:db8::2").counted());
        assert_eq!(ip("2001:db8::1").counted().to_string(), "2001:db8::/64");
        assert_eq!(ClientAddr::Local.counted().to_string(), "local");
    }

    #[test]
    fn unconfigured_headers_are_ignored() {
        let all = [
            ("forwarded", "for=9.9.9.9;secret=s3cret"),
            ("x-real-ip", "9.9.9.9"),
            ("x-forwarded-for", "9.9.9.9"),
        ];
        assert_eq!(address_of(&all, &testing::http()), PEER);
        assert_eq!(address_of(&all, &all_options()), "9.9.9.9");
    }

    #[test]
    fn only_trusted_peers_report_addresses() {
        let all = [
            ("forwarded", "for=9.9.9.9;secret=s3cret"),
            ("x-real-ip", "9.9.9.9"),
            ("x-forwarded-for", "9.9.9.9"),
        ];
        let with_trusted =
            |list: &[&str]| HttpSettings { trusted_proxies: IpSet::from_texts(list).ok(), ..all_options() };
        assert_eq!(address_of(&all, &with_trusted(&["192.0.2.0/24"])), "9.9.9.9");
        assert_eq!(address_of(&all, &with_trusted(&["192.0.3.0/24"])), PEER);
        assert_eq!(address_of(&all, &with_trusted(&[])), PEER);
        assert_eq!(client_addr(ClientAddr::Local, &headers(&all), &all_options()), ClientAddr::Local);
    }

    #[test]
    fn proxies_count_selects_the_entry_from_the_right() {
        let line = [("x-forwarded-for", "6.6.6.6, 1.1.1.1,2.2.2.2")];
        assert_eq!(address_of(&line, &counting(1)), "2.2.2.2");
        assert_eq!(address_of(&line, &counting(2)), "1.1.1.1");
        assert_eq!(address_of(&line, &counting(3)), "6.6.6.6");
        assert_eq!(address_of(&line, &counting(4)), PEER, "fewer entries than proxies");
        assert_eq!(address_of(&[], &counting(1)), PEER);
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "1.1.1.1, , "),
            ("x-forwarded-for", "2.2.2.2"),
        ];
        assert_eq!(
            address_of(&lines, &counting(2)),
            "1.1.1.1",
            "lines are joined, empty entries do not count"
        );
        assert_eq!(address_of(&lines, &counting(3)), "6.6.6.6");
        assert_eq!(address_of(&[("x-forwarded-for", "\u{fc}ber, 1.1.1.1")], &counting(1)), "1.1.1.1");
    }

    #[test]
    fn forwarded_for_header_names_the_header() {
        let named =
            HttpSettings { forwarded_for_header: HeaderName::from_static("x-clients"), ..counting(1) };
        assert_eq!(
            address_of(&[("x-clients", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")], &named),
            "1.1.1.1"
        );
    }

    #[test]
    fn addresses_with_ports_brackets_and_quotes() {
        for (text, expected) in [
            ("1.1.1.1", "1.1.1.1"),
            ("1.1.1.1:4711", "1.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:DB8::1]:4711", "2001:db8::1"),
            ("\"[2001:db8::1]:_p\"", "2001:db8::1"),
            ("\"1.1.1.1\"", "1.1.1.1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
            ("[::ffff:1.1.1.1]:1", "1.1.1.1"),
            ("127.0.0.1", PEER),
            ("127.9.9.9:80", PEER),
            ("::1", PEER),
            ("\"[::1]:80\"", PEER),
            ("::ffff:127.0.0.1", PEER),
            ("unknown", PEER),
            ("_hidden", PEER),
            ("localhost", PEER),
            ("1.1.1", PEER),
            ("1.1.1.1:", PEER),
            ("1.1.1.1:x", PEER),
            ("1.1.1.1:123456", PEER),
            ("[1.1.1.1]", PEER),
            ("[::1", PEER),
            ("[::1]x", PEER),
            ("fe80::1%eth0", PEER),
            ("\"", PEER),
        ] {
            assert_eq!(address_of(&[("x-forwarded-for", text)], &counting(1)), expected, "{text}");
        }
    }

    #[test]
    fn the_options_apply_in_their_order() {
        let http = all_options();
        let forwarded = ("forwarded", "for=1.1.1.1;secret=s3cret");
        let (real, list) = (("x-real-ip", "2.2.2.2"), ("x-forwarded-for", "3.3.3.3"));
        assert_eq!(address_of(&[list, real, forwarded], &http), "1.1.1.1");
        assert_eq!(address_of(&[list, real, ("forwarded", "for=1.1.1.1;secret=guess")], &http), "2.2.2.2");
        assert_eq!(address_of(&[list, real], &http), "2.2.2.2");
        assert_eq!(address_of(&[list, ("x-real-ip", "")], &http), "3.3.3.3");
        assert_eq!(address_of(&[list], &http), "3.3.3.3");
        assert_eq!(address_of(&[list, real, ("forwarded", "for=_x;secret=s3cret")], &http), PEER);
        assert_eq!(address_of(&[list, real, ("forwarded", "secret=s3cret")], &http), PEER);
        assert_eq!(address_of(&[list, ("x-real-ip", "nonsense")], &http), PEER);
        assert_eq!(address_of(&[real, ("x-real-ip", "4.4.4.4")], &http), "4.4.4.4");
    }

    fn lines() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
        let name = prop_oneof![Just("forwarded"), Just("x-real-ip"), Just("x-forwarded-for")];
        let piece = prop_oneof![
            Just("for=".as_bytes().to_vec()),
            Just(b"secret=s3cret".to_vec()),
            Just(b"9.9.9.9".to_vec()),
            Just(b"127.0.0.1".to_vec()),
            Just(b"\"[2001:db8::9]:1\"".to_vec()),
            prop::sample::select(b",;=\"\\[]: \t".to_vec()).prop_map(|byte| vec![byte]),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        let value = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        prop::collection::vec((name, value), 0..6)
    }

    proptest! {
        #[test]
        fn never_panics_and_ignores_untrusted_peers(lines in lines(), count in 0_u32..4, trust_none: bool) {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.append(HeaderName::from_static(name), value);
                }
            }
            let all_trusted = HttpSettings { proxies_count: NonZeroU32::new(count), ..all_options() };
            prop_assert!(!client_addr(ip(PEER), &map, &all_trusted).is_loopback());
            let others = if trust_none { IpSet::default() } else { IpSet::from_texts(["10.0.0.0/8", "::/0"]).unwrap() };
            let peer_untrusted = HttpSettings { trusted_proxies: Some(others), ..all_trusted };
            prop_assert_eq!(client_addr(ip(PEER), &map, &peer_untrusted), ip(PEER));
        }
    }
}
