//! Tests of all checks together: their order, and the state that survives a reload and a restart.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::{Files, IpSet, KeyDigest, KeyEntry, RequiredHeader, System};
use crate::guard::admission::{KeyAdmitted, admit_address};
use crate::guard::caller::{Access, Caller, Head, Parameters, PresentedKey};
use crate::guard::client_addr::client_addr;
use crate::guard::testing;

const CLIENT: &str = "192.0.2.1";

fn client(text: &str) -> ClientAddr {
    ClientAddr::from(text.parse::<IpAddr>().unwrap())
}

fn guard() -> (tempfile::TempDir, Guard) {
    let dir = tempfile::tempdir().unwrap();
    let guard = Guard::open(&dir.path().join("state"), &"a".parse().unwrap()).unwrap();
    (dir, guard)
}

fn files() -> Files {
    let key = KeyEntry { status: true, ..KeyEntry::new(KeyDigest::of("k")) };
    Files { keys: vec![key], ..testing::files() }
}

fn rules_of(system: System) -> Rules {
    Rules::new(&Files { system, ..files() })
}

fn check_address(guard: &Guard, rules: &Rules, client: ClientAddr, now: Instant) -> Result<(), Refusal> {
    admit_address(&Caller { guard, rules, client, now }, &mut ()).map(|_| ())
}

/// The head of a request to store a record with the key `k` in a header.
const PATHS: [&str; 2] = ["/moca-file-log/save-log", "/moca-file-log/a/save-log"];

static KEY: PresentedKey<'static> = PresentedKey::Key(Cow::Borrowed("k"));

fn head(headers: &HeaderMap) -> Head<'_> {
    Head { paths: &PATHS, headers, key: Some(&KEY), body_may_hold_key: false }
}

/// The parameters of a body.
struct Body(&'static [(&'static str, &'static str)]);

impl Parameters for Body {
    fn key_in_body(&self) -> Option<Cow<'_, str>> {
        self.text("api_key")
    }

    fn key(&self) -> Option<Cow<'_, str>> {
        self.text("api_key")
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.iter().find(|(known, _)| *known == name).map(|&(_, value)| value.into())
    }
}

/// Passes a request through the steps before its body.
fn admit_head(caller: &Caller<'_>, access: Access, head: &Head<'_>) -> Result<KeyAdmitted, Refusal> {
    let address = admit_address(caller, &mut ())?;
    address.admit_headers(caller, access, head.headers, &mut ())?.admit_key(caller, head, &mut ())
}

/// Passes a request through all steps, and returns the rest of its limits.
fn admit(caller: &Caller<'_>, head: &Head<'_>, body: &Body) -> Result<Quota, Refusal> {
    let mut admitted = admit_head(caller, Access::Key, head)?;
    let counted = admitted.count(caller, Cost::REQUEST);
    let counted = counted.map(decided).transpose()?;
    let mut parameters = admitted.admit_parameters(caller, head, body, &mut ())?;
    match (counted, parameters.count(caller, Cost::REQUEST)) {
        (Some(quota), None) => Ok(quota),
        (None, Some(spending)) => decided(spending),
        _ => panic!("a request counts once"),
    }
}

fn decided(spending: Spending<'_>) -> Result<Quota, Refusal> {
    match spending {
        Spending::InMemory(outcome) => outcome,
        Spending::InRedis(_) => panic!("no Redis is configured"),
    }
}

#[test]
fn guard_and_rules_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>(_value: &T) {}
    let (_dir, guard) = guard();
    shared(&guard);
    shared(&Rules::new(&files()));
    shared(&Refusal::Maintenance);
}

#[test]
fn a_missing_state_directory_is_created_or_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Guard::open(&dir.path().join("a/b/c"), &"a".parse().unwrap()).is_ok());
    let error = Guard::open(&file.join("state"), &"a".parse().unwrap()).err().unwrap().to_string();
    assert!(error.starts_with("the state directory /") && error.contains("/file/state"), "{error}");
}

#[test]
fn the_block_list_comes_before_floods_and_maintenance() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let system = System { maintenance_mode: true, dos_detect: NonZeroU64::new(2), ..testing::system() };
    let rules = rules_of(system);
    let client = client(CLIENT);
    let check = || check_address(&guard, &rules, client, now);
    assert_eq!([check(), check()], [Err(Refusal::Maintenance), Err(Refusal::Maintenance)]);
    assert_eq!(check(), Err(Refusal::Blocked), "requests in maintenance count as well");
    assert_eq!(check(), Err(Refusal::Blocked));
    guard.unblock(CLIENT.parse().unwrap());
    assert_eq!(check(), Err(Refusal::Maintenance));
}

#[test]
fn the_maintenance_whitelist_does_not_unblock() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let whitelist = IpSet::from_texts([CLIENT]).unwrap();
    let rules = rules_of(System {
        maintenance_mode: true,
        maintenance_mode_whitelist: whitelist,
        ..testing::system()
    });
    assert_eq!(check_address(&guard, &rules, client(CLIENT), now), Ok(()));
    guard.block(CLIENT.parse().unwrap(), "by hand");
    assert_eq!(check_address(&guard, &rules, client(CLIENT), now), Err(Refusal::Blocked));
}

#[test]
fn forced_headers_are_required_except_on_public_routes() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let required = RequiredHeader { name: HeaderName::from_static("x-app"), value: None };
    let rules = rules_of(System { force_headers: vec![required], ..testing::system() });
    let caller = Caller { guard: &guard, rules: &rules, client: client(CLIENT), now };
    let check = |access, headers: &HeaderMap| admit_head(&caller, access, &head(headers)).map(|_| ());
    let mut headers = HeaderMap::new();
    assert_eq!(check(Access::Headers, &headers), Err(Refusal::MissingForcedHeader));
    assert_eq!(check(Access::Key, &headers), Err(Refusal::MissingForcedHeader));
    assert_eq!(check(Access::Public, &headers), Ok(()));
    headers.insert("x-app", HeaderValue::from_static(""));
    assert_eq!(check(Access::Headers, &headers), Ok(()));
    assert_eq!(check(Access::Key, &headers), Ok(()));
}

#[test]
fn a_route_of_the_admin_socket_admits_no_other_client() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let rules = Rules::new(&files());
    let headers = HeaderMap::new();
    for (client, expected) in [(client(CLIENT), Err(Refusal::PathNotAllowed)), (ClientAddr::Local, Ok(()))] {
        let caller = Caller { guard: &guard, rules: &rules, client, now };
        let admitted = admit_head(&caller, Access::AdminSocket, &head(&headers));
        assert_eq!(admitted.map(|_| ()), expected);
    }
}

#[test]
fn a_route_without_a_key_authorizes_nothing() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let (rules, headers) = (Rules::new(&files()), HeaderMap::new());
    let caller = Caller { guard: &guard, rules: &rules, client: client(CLIENT), now };
    for access in [Access::Public, Access::Headers] {
        let admitted = admit_head(&caller, access, &head(&headers)).unwrap();
        let outcome =
            admitted.admit_parameters(&caller, &head(&headers), &Body(&[("api_key", "k")]), &mut ());
        assert_eq!(outcome.err(), Some(Refusal::MissingKey));
    }
}

#[test]
fn unknown_keys_block_the_address_and_missing_keys_do_not() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let system =
        System { block_ip_when_received_invalid_system_auth: NonZeroU64::new(2), ..testing::system() };
    let rules = rules_of(system);
    let client = client(CLIENT);
    let find = |key: Option<&str>| {
        guard.find_key(&rules, key, &client, now).map(|key| key.entry.digest == KeyDigest::of("k"))
    };
    assert_eq!(find(Some("k")), Ok(true));
    for _ in 0..10 {
        assert_eq!(find(None), Err(Refusal::MissingKey));
        assert_eq!(find(Some("")), Err(Refusal::MissingKey));
        assert_eq!(find(Some(&"k".repeat(1025))), Err(Refusal::MissingKey));
    }
    assert_eq!([find(Some("x")), find(Some("K"))], [Err(Refusal::UnknownKey), Err(Refusal::UnknownKey)]);
    assert_eq!(check_address(&guard, &rules, client, now), Ok(()), "a missing key is not an unknown one");
    assert_eq!(find(Some("k ")), Err(Refusal::UnknownKey));
    assert_eq!(check_address(&guard, &rules, client, now), Err(Refusal::Blocked));
    assert_eq!(guard.blocked().len(), 1);
}

#[test]
fn all_checks_of_a_request_in_their_order() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let mut files = files();
    files.keys[0].name = "web".to_owned();
    files.keys[0].rate = "2/minute".parse().unwrap();
    let (client, headers) = (client(CLIENT), HeaderMap::new());
    let request = |rules: &Rules| {
        let caller = Caller { guard: &guard, rules, client, now };
        admit(&caller, &head(&headers), &Body(&[]))
    };
    assert_eq!(request(&Rules::new(&files)).unwrap().rate_limit().unwrap(), r#""web";r=1;t=60"#);
    // A reload keeps the window.
    assert_eq!(request(&Rules::new(&files)).unwrap().rate_limit().unwrap(), r#""web";r=0;t=60"#);
    let refusal = request(&Rules::new(&files)).unwrap_err();
    assert_eq!(refusal.retry_after(), Some(Duration::from_secs(60)));
    // A request that an earlier check refuses does not count.
    files.keys[0].rate = "1/minute".parse().unwrap();
    files.keys[0].status = false;
    assert_eq!(request(&Rules::new(&files)), Err(Refusal::KeyOffline));
    files.keys[0].status = true;
    assert!(request(&Rules::new(&files)).is_ok());
}

#[test]
fn rules_of_parsed_files_apply() {
    let ((_dir, guard), now) = (guard(), Instant::now());
    let files = testing::parsed(
        r#"[{"key": "k", "status": true, "name": "web", "allowed_path": ["/moca-file-log/a/save-log:1/minute"],
             "ip": ["203.0.113.0/24"], "rate": "100/day", "required": {"args": {"n": 1}}}]"#,
        r#"{"force_headers": {"X-App": null}, "referer": {"force": true, "allowed_referer": ["http://localhost"]}}"#,
        "proxies_count = 1\ntrusted_proxies = [\"192.0.2.0/24\"]\n",
    );
    let rules = Rules::new(&files);
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("x-app", "1"), ("referer", "http://localhost:80/"), ("x-forwarded-for", "1.1.1.1, 203.0.113.7")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let reported = client_addr(client(CLIENT), &headers, &files.http);
    assert_eq!(reported, client("203.0.113.7"));
    let caller = Caller { guard: &guard, rules: &rules, client: reported, now };
    let wrong = admit(&caller, &head(&headers), &Body(&[("n", "2")]));
    assert_eq!(wrong, Err(Refusal::MissingRequiredArgument));
    let quota = admit(&caller, &head(&headers), &Body(&[("n", "1")])).unwrap();
    assert_eq!(
        quota.rate_limit_policy().unwrap(),
        r#""web-/moca-file-log/a/save-log-1/60";q=1;w=60, "web-100/86400";q=100;w=86400"#
    );
    let second = admit(&caller, &head(&headers), &Body(&[("n", "1")]));
    assert_eq!(second.unwrap_err().status(), 429);
}

#[test]
fn blocked_addresses_and_maintenance_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Guard::open(dir.path(), &"a/b".replace('/', "%").parse().unwrap()).unwrap();
    let first = open();
    assert!(first.block(CLIENT.parse().unwrap(), "by hand") && !first.block(CLIENT.parse().unwrap(), ""));
    first.persist_now().unwrap();
    first.maintenance().set_by_signal(true).unwrap();
    let second = open();
    assert_eq!(second.blocked(), first.blocked());
    assert_eq!(second.blocked()[0].reason, "by hand");
    assert!(second.maintenance().is_on(&Rules::new(&files())));
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a%25b.blocked.json", "a%25b.maintenance"]);
}

#[test]
fn the_background_task_writes_changes_to_disk() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let guard = Arc::new(Guard::open(dir.path(), &"a".parse().unwrap()).unwrap());
    guard.block(CLIENT.parse().unwrap(), "before");
    let own = Arc::clone(&guard);
    runtime.block_on(async move {
        let writer = tokio::spawn(async move { own.persist().await });
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if !Guard::open(dir.path(), &"a".parse().unwrap()).unwrap().blocked().is_empty() {
                writer.abort();
                return;
            }
        }
        panic!("not written within five seconds");
    });
}
