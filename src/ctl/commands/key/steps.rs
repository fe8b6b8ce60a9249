//! Runs the checks of the guard in their order and describes the result of each.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use serde::Serialize;

use crate::config::{Files, KeyEntry, RootPassword};
use crate::guard::{ClientAddr, Guard, Key, Refusal, Rules};

/// Holds the parts of a request that the checks read.
pub(super) struct Request {
    pub(super) key: Option<String>,
    pub(super) ip: IpAddr,
    /// Both forms of the path, decoded.
    pub(super) paths: [String; 2],
    pub(super) route: String,
    pub(super) headers: HeaderMap,
    pub(super) arguments: Vec<(String, String)>,
}

/// Holds the rules, and a guard that works on a copy of its state.
pub(super) struct Checks {
    pub(super) files: Files,
    pub(super) rules: Rules,
    pub(super) guard: Guard,
    pub(super) now: Instant,
}

/// Describes the result of one rule.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) rule: &'static str,
    pub(super) verdict: Verdict,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Admits,
    Refuses,
    /// The rule admits the request, and the text adds a detail.
    Note,
}

impl Checks {
    /// Finds the key of a request as the service does.
    pub(super) fn key(&self, request: &Request) -> Result<Arc<Key>, Refusal> {
        self.guard.find_key(&self.rules, request.key.as_deref(), &request.ip.into(), self.now).cloned()
    }
}

/// Routes that need no root password.
const ROUTES_WITHOUT_ROOT_PASSWORD: [&str; 2] = ["save-log", "save-logs"];

/// Returns the steps up to the one that refuses.
pub(super) fn explain(request: &Request, checks: &Checks) -> Vec<Step> {
    let mut steps = Vec::new();
    // `None` means a refusal, which is the last step already.
    let _admitted = run_checks(request, checks, &mut steps).is_some();
    steps
}

fn run_checks(request: &Request, checks: &Checks, steps: &mut Vec<Step>) -> Option<()> {
    let Checks { files, rules, guard, now, .. } = checks;
    let client = ClientAddr::from(request.ip);
    add_group(steps, &[BLOCK_LIST, MAINTENANCE], guard.check_address(rules, &client, *now))?;
    add_group(steps, &[FORCE_HEADERS, REFERER], guard.check_headers(rules, &request.headers))?;

    let key = add_group(steps, &["key"], checks.key(request))?;
    let entry = &key.entry;
    add_step(steps, Verdict::Note, "key", format!("it is {:?} ({})", entry.name, entry.digest.short()));
    let paths: Vec<&str> = request.paths.iter().map(String::as_str).collect();
    let checked = guard.check_key(&key, &client, &paths, &request.headers);
    let rule = add_group(steps, &[STATUS, IP, ALLOWED_PATH, REQUIRED_HEADERS], checked)?;
    if let Some(admitting) = admitting_path(&key, request, checks) {
        add_step(steps, Verdict::Note, ALLOWED_PATH, format!("{admitting} is the first that admits it"));
    }
    let value_of = |name: &str| {
        // An empty parameter counts as absent, as in a query.
        let mut arguments = request.arguments.iter().filter(|(_, value)| !value.is_empty());
        let argument = arguments.find(|(argument, _)| argument == name).map(|(_, value)| value);
        let key = request.key.as_ref().filter(|_| name == "api_key");
        argument.or(key).map(|value| Cow::Borrowed(value.as_str()))
    };
    add_group(steps, &[REQUIRED_ARGS], guard.check_args(&key, &value_of))?;
    let quota = add_group(steps, &[RATE], guard.spend(&key, rule, &client, *now))?;
    for limit in quota.limits() {
        let (amount, seconds) = (limit.amount, limit.window.as_secs());
        let text =
            format!("at most {amount} in {seconds} s; what is left of it only the running service knows");
        add_step(steps, Verdict::Note, RATE, text);
    }
    if !entry.delay.is_zero() {
        add_step(steps, Verdict::Note, "delay", format!("the answer waits {} s", entry.delay.as_secs_f64()));
    }
    if !ROUTES_WITHOUT_ROOT_PASSWORD.contains(&request.route.as_str()) {
        let closed = match &files.system.root_pass {
            RootPassword::Closed => true,
            RootPassword::Clear(password) => password.is_empty(),
            RootPassword::Argon2id(_) => false,
        };
        if closed {
            add_refusal(
                steps,
                "root password",
                &Refusal::InvalidRootPassword,
                "none is configured: `mocactl passwd`",
            );
            return None;
        }
        add_step(steps, Verdict::Note, "root password", format!("{} needs it as well", request.route));
    }
    Some(())
}

const BLOCK_LIST: &str = "block list";
const MAINTENANCE: &str = "maintenance";
const FORCE_HEADERS: &str = "force_headers";
const REFERER: &str = "referer";
const STATUS: &str = "status";
const IP: &str = "ip";
const ALLOWED_PATH: &str = "allowed_path";
const REQUIRED_HEADERS: &str = "required.headers";
const REQUIRED_ARGS: &str = "required.args";
const RATE: &str = "rate";

/// Adds a step for each rule that one call of the guard checks, in their order. The rules before
/// the refusing one have admitted the request.
fn add_group<T>(steps: &mut Vec<Step>, rules: &[&'static str], outcome: Result<T, Refusal>) -> Option<T> {
    let refusal = match outcome {
        Ok(value) => {
            for rule in rules {
                add_step(steps, Verdict::Admits, rule, String::new());
            }
            return Some(value);
        }
        Err(refusal) => refusal,
    };
    let (refusing, remedy) = rule_and_remedy(&refusal);
    for rule in rules.iter().take_while(|rule| **rule != refusing) {
        add_step(steps, Verdict::Admits, rule, String::new());
    }
    add_refusal(steps, refusing, &refusal, remedy);
    None
}

/// Returns the rule that gives this refusal, and a remedy for the operator.
fn rule_and_remedy(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::Blocked => (BLOCK_LIST, "see ip_blacklist.json and `mocactl block list`"),
        Refusal::Maintenance => {
            (MAINTENANCE, "`mocactl turn-on`, or the address in maintenance_mode_whitelist of system.json")
        }
        Refusal::MissingForcedHeader => {
            (FORCE_HEADERS, "system.json demands a header; pass it with --header")
        }
        Refusal::MissingReferer | Refusal::InvalidReferer => {
            (REFERER, "see referer in system.json; pass it with --header referer:URL")
        }
        Refusal::MissingKey => ("key", "pass it with --key"),
        Refusal::UnknownKey => ("key", "it is not in api_key.json; `mocactl key list`"),
        Refusal::KeyOffline => (STATUS, "set `status` of this key to true"),
        Refusal::AddressNotAllowed(_) => (IP, "add the address to `ip` of this key"),
        Refusal::PathNotAllowed => (ALLOWED_PATH, "add the path to `allowed_path` of this key"),
        Refusal::MissingRequiredHeader => {
            (REQUIRED_HEADERS, "the key demands a header; pass it with --header")
        }
        Refusal::MissingRequiredArgument => {
            (REQUIRED_ARGS, "the key demands a parameter; pass it with --arg")
        }
        Refusal::TooManyRequests { .. } => (RATE, "a limit of this key admits nothing"),
        Refusal::InvalidRootPassword => ("root password", "`mocactl passwd`"),
    }
}

/// Returns the first path of the key that admits the request. The function asks the guard with the
/// first path alone, then with the first two, and so on, until the guard admits.
fn admitting_path<'k>(key: &'k Key, request: &Request, checks: &Checks) -> Option<&'k str> {
    let paths: Vec<&str> = request.paths.iter().map(String::as_str).collect();
    let admits = |count: usize| {
        let allowed_path = key.entry.allowed_path[..count].to_vec();
        let shorter = Key::new(KeyEntry { allowed_path, ..key.entry.clone() });
        checks.guard.check_key(&shorter, &request.ip.into(), &paths, &request.headers).is_ok()
    };
    let count = (1..=key.entry.allowed_path.len()).find(|&count| admits(count))?;
    Some(&key.entry.allowed_path[count - 1].path)
}

fn add_refusal(steps: &mut Vec<Step>, rule: &'static str, refusal: &Refusal, remedy: &str) {
    let text = format!("{} {refusal} ({remedy})", refusal.status().as_u16());
    add_step(steps, Verdict::Refuses, rule, text);
}

fn add_step(steps: &mut Vec<Step>, verdict: Verdict, rule: &'static str, text: String) {
    steps.push(Step { rule, verdict, text });
}
