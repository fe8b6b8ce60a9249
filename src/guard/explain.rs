//! Explains a refusal to the operator (`debug`): which rule refused the request, and what the rule
//! requires.
//!
//! The client gets only the refusal. Explanations contain names of headers and parameters, but no
//! values, because a value may be a key or a password.

use http::HeaderMap;
use http::header::REFERER;

use super::blocking::address_filter::AddressFilter;
use super::blocking::{BlockedAddress, BlockedEntry};
use super::client_addr::ClientAddr;
use super::key::Key;
use super::limits::quota::Quota;
use super::maintenance::Maintenance;
use super::refusal::Refusal;
use super::rules::Rules;
use super::{key_check, required_headers};

/// The facts about a refused request that an explanation needs.
#[derive(Debug, Clone, Copy)]
pub struct RefusalContext<'a> {
    /// The client.
    pub client: &'a ClientAddr,
    /// The key, if it was found.
    pub key: Option<&'a Key>,
    /// The path in both of its URL forms.
    pub paths: &'a [&'a str],
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The names of `required.args` that are missing or different.
    pub missing_args: &'a [String],
}

/// Explains `refusal` in the words of the configuration.
pub(super) fn explain(
    addresses: &AddressFilter,
    maintenance: &Maintenance,
    rules: &Rules,
    refusal: &Refusal,
    context: &RefusalContext<'_>,
) -> String {
    let key = context.key.map_or("of the request", |key| key.entry.name.as_str());
    match refusal {
        Refusal::MissingKey => "no key of 1 to 1024 characters in the body, the query or a header".to_owned(),
        Refusal::UnknownKey => "the key is not in api_key.json".to_owned(),
        Refusal::KeyOffline => format!("status of the key {key} is not true"),
        Refusal::AddressNotAllowed(client) => format!("ip of the key {key} does not hold {client}"),
        Refusal::PathNotAllowed => {
            let allowed = context.key.map(|key| key.entry.allowed_path.as_slice()).unwrap_or_default();
            let allowed: Vec<_> = allowed.iter().map(|allowed| allowed.path.as_str()).collect();
            let path = context.paths.join(" or ");
            format!("allowed_path of the key {key} admits [{}], not {path}", allowed.join(", "))
        }
        Refusal::MissingRequiredHeader => {
            let missing: Vec<_> = context
                .key
                .map(|key| key_check::missing_headers(key, context.headers).collect())
                .unwrap_or_default();
            format!("required.headers of the key {key}: {} missing or different", list_with_verb(&missing))
        }
        Refusal::MissingRequiredArgument => {
            format!(
                "required.args of the key {key}: {} missing or different",
                list_with_verb(context.missing_args)
            )
        }
        Refusal::InvalidRootPassword if rules.root.is_closed() => {
            "no root_pass in system.json: the root routes are closed".to_owned()
        }
        Refusal::InvalidRootPassword => "root_pass of the request is missing or wrong".to_owned(),
        Refusal::MissingReferer => "referer.force: there is no Referer".to_owned(),
        Refusal::InvalidReferer => {
            format!("referer.allowed_referer does not hold {}", referers(context.headers))
        }
        Refusal::MissingForcedHeader => {
            let missing: Vec<_> = required_headers::missing_forced(&rules.system, context.headers).collect();
            format!("force_headers: {} missing or different", list_with_verb(&missing))
        }
        Refusal::Blocked => blocked(addresses, rules, context.client),
        Refusal::TooManyRequests { quota, retry_after } if quota.is_empty() => {
            format!("ten wrong root passwords in a minute, for {:.1} s more", retry_after.as_secs_f64())
        }
        Refusal::TooManyRequests { quota, .. } => used_up(key, quota),
        Refusal::TooManyVerifications => {
            "too many root passwords wait for their verification (Argon2id)".to_owned()
        }
        Refusal::Maintenance if maintenance.is_on_by_signal() => {
            "maintenance was switched on by signal, and the address is not in maintenance_mode_whitelist"
                .to_owned()
        }
        Refusal::Maintenance => {
            "maintenance_mode in system.json, and the address is not in maintenance_mode_whitelist".to_owned()
        }
    }
}

/// Returns `A, B are` or `A is`.
fn list_with_verb(names: &[impl ToString]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

fn blocked(addresses: &AddressFilter, rules: &Rules, client: &ClientAddr) -> String {
    let ClientAddr::Ip(address) = client else { return "the address is blocked".to_owned() };
    let address = address.to_canonical();
    if rules.blacklist.contains(address) {
        return "ip_blacklist.json holds the address".to_owned();
    }
    match addresses.blocked.covering(address.into()) {
        Some(BlockedEntry { address: BlockedAddress::Network(network), reason, .. }) => {
            format!("the network {network} was blocked: {reason}")
        }
        Some(BlockedEntry { reason, .. }) => format!("the address was blocked: {reason}"),
        None => "the address was blocked a moment ago".to_owned(),
    }
}

fn used_up(key: &str, quota: &Quota) -> String {
    let spent = quota.limits().iter().filter(|limit| limit.remaining == 0);
    let spent: Vec<_> = spent
        .map(|limit| {
            let (amount, window) = (limit.amount, limit.window.as_secs());
            format!("{amount} in {window} s ({}) for {:.1} s more", limit.name, limit.reset.as_secs_f64())
        })
        .collect();
    format!("rate of the key {key} is used up: {}", spent.join(", "))
}

/// Returns the origins of all `Referer` lines. The rest of a URL may contain secrets.
fn referers(headers: &HeaderMap) -> String {
    let lines = headers.get_all(REFERER).iter().map(|line| {
        let text = String::from_utf8_lossy(line.as_bytes());
        let host = text.find("://").map_or(0, |at| at + 3);
        let end = text[host..].find(['/', '?', '#']).map_or(text.len(), |at| host + at);
        // A password may precede the host, and a text that is no origin may be a secret.
        if host == 0 || text[..end].contains(['@', '=', '&']) || end > 300 {
            return "the Referer of the request".to_owned();
        }
        text[..end].to_owned()
    });
    lines.collect::<Vec<_>>().join(", ")
}
