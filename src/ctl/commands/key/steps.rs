//! Runs the checks of the service on one request, and puts each result into words.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, Uri};
use serde::Serialize;

use crate::config::{Files, LevelScale, LogName, RootPassword};
use crate::guard::{
    Caller, Check, ClientAddr, Cost, Guard, Head, HeadersAdmitted, Key, Parameters, ParametersAdmitted,
    PresentedKey, Quota, Refusal, Rules, Spending, Watch, admit_address,
};
use crate::http::find_route;
use crate::http::observe::refusal_log::RefusalDetails;
use crate::http::request::url_key::UrlKey;
use crate::http::response::problem::Problem;
use crate::http::route::Route;

/// The parts of a request that the checks read.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) log: LogName,
    pub(super) client: ClientAddr,
    pub(super) key: Option<PresentedKey<'static>>,
    pub(super) headers: HeaderMap,
    pub(super) arguments: Vec<(String, String)>,
}

/// The rules, and the guard with a copy of its state.
pub(super) struct Checks {
    pub(super) files: Files,
    pub(super) rules: Rules,
    pub(super) guard: Guard,
    pub(super) now: Instant,
}

/// The result of one rule.
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
    /// The rule admits the request; the text has more to know.
    Note,
}

/// Why a request is refused.
enum Refused {
    /// By a check.
    Check(Refusal),
    /// By the table of routes.
    Route(Problem),
    /// The route demands the root password, and none is configured.
    NoRootPassword,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Check(refusal)
    }
}

/// Returns the steps up to the one that refuses.
pub(super) fn explain(request: &Request, checks: &Checks) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    match run_checks(request, checks, &mut steps) {
        Ok(()) => {}
        Err(Refused::Check(refusal)) => {
            let (rule, remedy) = rule_and_remedy(&refusal);
            steps.refuse(rule, refusal.status().as_u16(), &refusal.to_string(), remedy);
        }
        Err(Refused::Route(refusal)) => {
            steps.refuse(ROUTE, refusal.status(), &refusal.words(), "see --path and --method");
        }
        Err(Refused::NoRootPassword) => {
            let refusal = Refusal::InvalidRootPassword;
            let remedy = "none is configured: `mocactl passwd`";
            steps.refuse(ROOT_PASSWORD, refusal.status().as_u16(), &refusal.to_string(), remedy);
        }
    }
    steps.0
}

/// Runs the checks in the order of the service.
fn run_checks(request: &Request, checks: &Checks, steps: &mut Steps) -> Result<(), Refused> {
    let Checks { rules, guard, now, .. } = checks;
    let caller = Caller { guard, rules, client: request.client, now: *now };
    let address = admit_address(&caller, steps)?;
    let route = find_route(&request.method, &request.target, request.client, &request.log);
    let route = route.map_err(Refused::Route)?;
    steps.add(ROUTE, Verdict::Admits, String::new());
    if route.endpoint.is_some_and(|endpoint| endpoint.is_probe(&request.method)) {
        steps.add(ROUTE, Verdict::Note, "it needs no key".to_owned());
        return Ok(());
    }
    if request.method == Method::OPTIONS {
        steps.add(ROUTE, Verdict::Note, "OPTIONS needs no key".to_owned());
        return Ok(());
    }
    let headers = address.admit_headers(&caller, route.access, &request.headers, steps)?;
    let sent = request.target.path();
    let paths = route.rule_paths(&request.log, sent, &UrlKey::of(sent));
    let with_head = |paths: &[&str], steps: &mut Steps| {
        let (headers_of_request, key) = (&request.headers, request.key.as_ref());
        let head = Head { paths, headers: headers_of_request, key, body_may_hold_key: false };
        check_key(route, headers, &head, (request, checks), &caller, steps)
    };
    paths.with(|paths| with_head(paths, steps))
}

/// Runs the checks of the key.
fn check_key(
    route: &Route,
    headers: HeadersAdmitted,
    head: &Head<'_>,
    (request, checks): (&Request, &Checks),
    caller: &Caller<'_>,
    steps: &mut Steps,
) -> Result<(), Refused> {
    let mut key = headers.admit_key(caller, head, steps)?;
    if !route.access.needs_key() {
        steps.add(ROUTE, Verdict::Note, "it needs no key".to_owned());
        return Ok(());
    }
    let counted = key.count(caller, Cost::REQUEST).map(in_memory).transpose()?;
    let mut parameters = key.admit_parameters(caller, head, request, steps)?;
    if let Some(path) = parameters.allowed_path() {
        steps.add(ALLOWED_PATH, Verdict::Note, format!("{path} is the first that admits it"));
    }
    let quota = match parameters.count(caller, Cost::REQUEST) {
        Some(spending) => in_memory(spending)?,
        None => counted.unwrap_or_default(),
    };
    note_limits(parameters.key(), &quota, steps);
    check_root_password(&parameters, route, &checks.files, steps)
}

/// Returns the decision of limits that no Redis counts.
fn in_memory(spending: Spending<'_>) -> Result<Quota, Refusal> {
    match spending {
        Spending::InMemory(outcome) => outcome,
        // The guard of this program has no Redis.
        Spending::InRedis(_) => Ok(Quota::default()),
    }
}

/// Notes the limits, the delay and the scale of levels of the key.
fn note_limits(key: &Key, quota: &Quota, steps: &mut Steps) {
    steps.passed(Check::Rate);
    for limit in quota.limits() {
        let (amount, seconds) = (limit.amount, limit.window.as_secs());
        let text =
            format!("at most {amount} in {seconds} s; what is left of it only the running service knows");
        steps.add(RATE, Verdict::Note, text);
    }
    let delay = key.entry.delay;
    if !delay.is_zero() {
        steps.add("delay", Verdict::Note, format!("the answer waits {} s", delay.as_secs_f64()));
    }
    let levels = key.entry.levels;
    if levels != LevelScale::Auto {
        let text = format!("levels that are numbers are those of {}", levels.name());
        steps.add("levels", Verdict::Note, text);
    }
}

/// Says whether the route demands the root password, and whether one is configured.
fn check_root_password(
    parameters: &ParametersAdmitted,
    route: &Route,
    files: &Files,
    steps: &mut Steps,
) -> Result<(), Refused> {
    if !parameters.needs_root_password() {
        return Ok(());
    }
    let is_closed = match &files.system.root_pass {
        RootPassword::Closed => true,
        RootPassword::Clear(password) => password.is_empty(),
        RootPassword::Argon2id(_) => false,
    };
    if is_closed {
        return Err(Refused::NoRootPassword);
    }
    steps.add(ROOT_PASSWORD, Verdict::Note, format!("{} needs it as well", route.name));
    Ok(())
}

const BLOCK_LIST: &str = "block list";
const FLOOD: &str = "dos_detect";
const MAINTENANCE: &str = "maintenance";
const ROUTE: &str = "route";
const FORCE_HEADERS: &str = "force_headers";
const REFERER: &str = "referer";
const KEY: &str = "key";
const STATUS: &str = "status";
const IP: &str = "ip";
const ALLOWED_PATH: &str = "allowed_path";
const REQUIRED_HEADERS: &str = "required.headers";
const REQUIRED_ARGS: &str = "required.args";
const RATE: &str = "rate";
const ROOT_PASSWORD: &str = "root password";

/// Returns the option that a check obeys.
const fn rule(check: Check) -> &'static str {
    match check {
        Check::BlockList => BLOCK_LIST,
        Check::Flood => FLOOD,
        Check::Maintenance => MAINTENANCE,
        Check::ForceHeaders => FORCE_HEADERS,
        Check::Referer => REFERER,
        Check::Key => KEY,
        Check::Status => STATUS,
        Check::Ip => IP,
        Check::AllowedPath => ALLOWED_PATH,
        Check::RequiredHeaders => REQUIRED_HEADERS,
        Check::RequiredArgs => REQUIRED_ARGS,
        Check::Rate => RATE,
        Check::RootPassword => ROOT_PASSWORD,
    }
}

/// Returns the option that gives this refusal, and a remedy for the operator.
const fn rule_and_remedy(refusal: &Refusal) -> (&'static str, &'static str) {
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
        Refusal::MissingKey => (KEY, "pass it with --key"),
        Refusal::UnknownKey => (KEY, "it is not in api_key.json; `mocactl key list`"),
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
        Refusal::TooManyVerifications => (ROOT_PASSWORD, "try again in a moment"),
        Refusal::InvalidRootPassword => (ROOT_PASSWORD, "`mocactl passwd`"),
    }
}

/// The steps so far.
struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, rule: &'static str, verdict: Verdict, text: String) {
        self.0.push(Step { rule, verdict, text });
    }

    fn refuse(&mut self, rule: &'static str, status: u16, detail: &str, remedy: &str) {
        self.add(rule, Verdict::Refuses, format!("{status} {detail} ({remedy})"));
    }
}

impl Watch for Steps {
    fn passed(&mut self, check: Check) {
        self.add(rule(check), Verdict::Admits, String::new());
    }

    fn recognized(&mut self, key: &Arc<Key>) {
        let entry = &key.entry;
        self.add(KEY, Verdict::Note, format!("it is {:?} ({})", entry.name, entry.digest.short()));
    }
}

/// The arguments of the command are the parameters of the body.
impl Parameters for Request {
    fn key_in_body(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn key(&self) -> Option<Cow<'_, str>> {
        match self.key.as_ref()? {
            PresentedKey::Key(key) => Some(Cow::Borrowed(key)),
            PresentedKey::Decoded { key, .. } | PresentedKey::Parameter(key) => Some(Cow::Borrowed(key)),
            PresentedKey::Basic { .. } => None,
        }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        // An empty parameter counts as absent, as in a query.
        let mut arguments = self.arguments.iter().filter(|(_, value)| !value.is_empty());
        let argument = arguments.find(|(argument, _)| argument == name).map(|(_, value)| value);
        let key = || if name == "api_key" { self.key() } else { None };
        argument.map(|value| Cow::Borrowed(value.as_str())).or_else(key)
    }
}
