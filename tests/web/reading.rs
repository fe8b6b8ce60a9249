//! Tests of following, filtering, going back, downloading and clearing.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{KEY, ROOT, Server, Setup, encode, route};
use crate::page::Page;

/// Saves a record as this client, with this key.
fn save_as(server: &Server, client: &str, key: &str, level: u8, message: &str) {
    let target = format!("{}?level={level}&message={}", route("save-log"), encode(message));
    server.get_with(&target, &[("API-KEY", key), ("X-Real-IP", client)]).success();
}

/// Saves records with these numbers. Their levels are the five levels in turn.
fn batch(server: &Server, range: std::ops::Range<usize>) {
    let logs: Vec<Value> = range.map(|n| json!({"message": format!("line {n}"), "level": n % 5})).collect();
    for part in logs.chunks(1000) {
        server.save_batch(&json!(part)).success();
    }
}

#[test]
fn new_record_appears_within_two_seconds() {
    let server = Setup::new().start();
    let Some(page) = Page::signed_in("live", &server) else { return };
    let nothing = "return document.querySelector('#nothing').checkVisibility()";
    page.browser.eventually("nothing yet", nothing);
    let mut slowest = std::time::Duration::ZERO;
    let mut expected = Vec::new();
    for message in ["first", "second", "third"] {
        let began = Instant::now();
        server.save(message);
        expected.push(message);
        page.shows(&expected);
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest.as_secs() < 2, "{slowest:?}");
    page.counts("info", "3");
    assert!(page.browser.text("#rows .about").contains("127.0.0.1"));
    page.browser.assert_well();
}

#[test]
fn each_filter_applies_to_stored_and_to_new_records() {
    let server = Setup::new().posed().key("shop-key", &json!({"name": "shop"})).start();
    save_as(&server, "203.0.113.7", KEY, 0, "alpha one");
    save_as(&server, "198.51.100.9", "shop-key", 2, "beta two");
    save_as(&server, "203.0.113.8", KEY, 3, "alpha three");
    save_as(&server, "198.51.100.9", "shop-key", 4, "gamma 4");
    let Some(page) = Page::signed_in("filters", &server) else { return };
    page.shows(&["alpha one", "beta two", "alpha three", "gamma 4"]);
    let cases: [(&str, &str, &[&str], bool); 8] = [
        ("level", "warning", &["beta two", "alpha three", "gamma 4"], true),
        ("level", "critical", &["gamma 4"], false),
        ("contains", "alpha", &["alpha one", "alpha three"], false),
        ("regex", "^b.*o$|\\d", &["beta two", "gamma 4"], true),
        ("client", "203.0.113.0/24", &["alpha one", "alpha three"], false),
        ("client", "198.51.100.9", &["beta two", "gamma 4"], true),
        ("key", "shop", &["beta two", "gamma 4"], true),
        ("since", "1h", &["alpha one", "beta two", "alpha three", "gamma 4"], true),
    ];
    for (field, value, expected, admits) in cases {
        page.filter(field, value);
        page.shows(expected);
        page.is_live();
        let message = format!("bravo {field}o");
        save_as(&server, "198.51.100.9", "shop-key", 2, &message);
        // A record that always matches shows that the other one would have arrived by now.
        save_as(&server, "203.0.113.7", KEY, 4, "marker");
        save_as(&server, "198.51.100.9", "shop-key", 4, "alpha marker 1o");
        let mut expected = expected.to_vec();
        expected.extend(admits.then_some(message.as_str()));
        for (marker, fits) in [("marker", "marker"), ("alpha marker 1o", "alpha marker 1o")] {
            let passes = match (field, value) {
                ("contains", _) => fits.contains("alpha"),
                ("regex", _) => fits.contains('1'),
                ("client", "203.0.113.0/24") => fits == "marker",
                ("client" | "key", _) => fits != "marker",
                _ => true,
            };
            expected.extend(passes.then_some(marker));
        }
        page.shows(&expected);
        server.get_with(&route("clear-logs"), &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).success();
        save_as(&server, "203.0.113.7", KEY, 0, "alpha one");
        save_as(&server, "198.51.100.9", "shop-key", 2, "beta two");
        save_as(&server, "203.0.113.8", KEY, 3, "alpha three");
        save_as(&server, "198.51.100.9", "shop-key", 4, "gamma 4");
        page.reset();
    }
    page.filter("until", "1h");
    let ended = "return document.querySelector('#state').textContent.startsWith('Not live')";
    page.browser.eventually("an end", ended);
    page.shows(&[]);
    page.browser.assert_well();
}

#[test]
fn filters_are_kept_in_the_address_of_the_page() {
    let server = Setup::new().start();
    batch(&server, 0..20);
    let Some(page) = Page::signed_in("together", &server) else { return };
    page.filter("contains", "line 1");
    page.filter("level", "error");
    page.shows(&["line 13", "line 14", "line 18", "line 19"]);
    let address = page.browser.run("return location.href");
    assert!(address.as_str().unwrap().ends_with("#level=error&contains=line+1"), "{address}");
    page.browser.run("history.back()");
    page.browser.eventually("one filter", "return document.querySelectorAll('#rows li').length === 11");
    page.browser.open(&format!("{}#regex=7%24", page.url));
    page.browser.run("location.reload()");
    page.sign_in(KEY, ROOT);
    page.shows(&["line 7", "line 17"]);
    page.browser.assert_well();
}

#[test]
fn invalid_filter_is_explained_at_its_field() {
    let server = Setup::new().start();
    server.save("one");
    let Some(page) = Page::signed_in("mistake", &server) else { return };
    for (field, value) in [("regex", "(unclosed"), ("since", "the day before"), ("client", "10.0.0.0/99")] {
        page.filter(field, value);
        let script = format!(
            "return document.querySelector('#filter-error').textContent.includes('{field} parameter format error.')
                && document.querySelector('#{field}').getAttribute('aria-invalid') === 'true'"
        );
        page.browser.eventually(field, &script);
        page.browser.screenshot(field);
        page.reset();
        page.shows(&["one"]);
    }
    page.browser.assert_well();
}

#[test]
fn older_records_load_without_moving_the_view() {
    let server = Setup::new().start();
    batch(&server, 0..1300);
    let Some(page) = Page::signed_in("older", &server) else { return };
    let browser = &page.browser;
    let count = |count: usize| {
        let script = format!("return document.querySelectorAll('#rows li').length === {count}");
        browser.eventually(&format!("{count} rows"), &script);
    };
    count(500);
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '1,300 lines'");
    let seen = browser.run(
        "scroller.scrollTop = 300; const top = scroller.getBoundingClientRect().top;
        window.watched = [...document.querySelectorAll('#rows li')].find(e => e.getBoundingClientRect().top >= top);
        return watched.getBoundingClientRect().top",
    );
    count(1000);
    let now = browser.run("return watched.getBoundingClientRect().top");
    assert!((seen.as_f64().unwrap() - now.as_f64().unwrap()).abs() < 2.0, "{seen} {now}");
    browser.click("#older");
    count(1300);
    browser.eventually(
        "the beginning",
        "return document.querySelector('#older').textContent === 'This is the beginning'",
    );
    assert_eq!(page.messages().len(), 1300);
    for (n, message) in page.messages().iter().enumerate() {
        assert_eq!(message, &format!("line {n}"));
    }
    // A new record does not move the view. Follow scrolls to it.
    server.save("newest");
    count(1301);
    assert_eq!(browser.text("#state"), "Live, scrolled back");
    browser.click("#follow");
    browser.eventually(
        "the end",
        "return scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 2",
    );
    page.is_live();
    browser.assert_well();
}

#[test]
fn pause_loses_no_record() {
    let server = Setup::new().start();
    server.save("before");
    let Some(page) = Page::signed_in("pause", &server) else { return };
    page.shows(&["before"]);
    page.browser.click("#follow");
    assert_eq!(
        (page.browser.text("#follow"), page.browser.text("#state")),
        ("Follow".into(), "Paused".into())
    );
    for message in ["a", "b"] {
        server.save(message);
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    page.shows(&["before"]);
    page.browser.click("#follow");
    page.shows(&["before", "a", "b"]);
    // The page also works when the operator clicks very fast.
    page.browser.run("for (let i = 0; i < 21; i++) follow.click()");
    server.save("c");
    page.browser.click("#follow");
    page.shows(&["before", "a", "b", "c"]);
    page.is_live();
    page.counts("info", "4");
    page.browser.assert_well();
}

#[test]
fn download_holds_the_selected_records() {
    let server = Setup::new().start();
    batch(&server, 0..40);
    server.save("two\nlines");
    let Some(page) = Page::signed_in("download", &server) else { return };
    let get = |query: &str| {
        let target = format!("{}?{query}", route("download-logs"));
        server.get_with(&target, &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).body
    };
    let download = |button: &str, before: usize| {
        page.browser.click(button);
        let paths = page.browser.downloaded(before + 1);
        let newest = paths.iter().max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap();
        (newest.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(newest).unwrap())
    };
    let (name, bytes) = download("#download-text", 0);
    assert!(name.starts_with("sample1-") && name.ends_with(".log"), "{name}");
    assert_eq!(bytes, std::fs::read(server.log_path()).unwrap());
    let (name, bytes) = download("#download-ndjson", 1);
    assert!(name.ends_with(".ndjson"), "{name}");
    assert_eq!(bytes, get("output=ndjson"));
    assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 41);
    page.filter("contains", "line 3");
    page.browser.eventually("filtered", "return document.querySelectorAll('#rows li').length === 11");
    // The name of the file contains the second, so the next download gets another name.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (_, bytes) = download("#download-text", 2);
    assert_eq!(bytes, get("contains=line+3"));
    assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 11);
    page.browser.assert_well();
}

#[test]
fn clear_asks_for_the_name_of_the_log() {
    let server = Setup::new().start();
    server.save("one");
    let Some(page) = Page::signed_in("clear", &server) else { return };
    let browser = &page.browser;
    page.shows(&["one"]);
    browser.click("#clear");
    assert!(browser.is_visible("#clear-dialog"));
    let can_clear = || browser.run("return !document.querySelector('#clear-yes').disabled") == true;
    assert!(!can_clear());
    browser.fill("#clear-word", "sample2");
    assert!(!can_clear());
    browser.press(&[], "\u{e007}");
    browser.screenshot("dialog");
    browser.click("#clear-no");
    assert!(!browser.is_visible("#clear-dialog"));
    assert_eq!(server.messages(), ["one"]);
    browser.click("#clear");
    assert_eq!(browser.run("return document.querySelector('#clear-word').value"), "");
    browser.fill("#clear-word", "sample1");
    assert!(can_clear());
    browser.click("#clear-yes");
    browser.eventually(
        "cleared",
        "return document.querySelector('#notice').textContent === 'The log was cleared.'",
    );
    assert!(!browser.is_visible("#clear-dialog"));
    assert!(server.messages().is_empty());
    page.shows(&[]);
    page.is_live();
    server.save("two");
    page.shows(&["two"]);
    browser.assert_well();
}

#[test]
fn page_survives_a_clear_by_another_operator() {
    let server = Setup::new().start();
    server.save("one");
    let Some(page) = Page::signed_in("cleared", &server) else { return };
    page.shows(&["one"]);
    let clear = || server.get_with(&route("clear-logs"), &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).success();
    // Clears while the page follows.
    clear();
    server.save("two");
    page.shows(&["one", "two"]);
    // Clears while the page is paused. The page says that records may have been cleared unseen.
    page.browser.click("#follow");
    server.save("never seen");
    clear();
    server.save("three");
    page.browser.click("#follow");
    page.shows(&["one", "two", "three"]);
    assert_eq!(page.browser.text("#rows .gap"), "Lines were cleared or retired here.");
    page.browser.assert_well();
}

#[test]
fn log_of_json_lines_looks_the_same() {
    let server = Setup::new().log("format", json!("json")).start();
    server.save_with(&json!({"message": "one\n\"two\"", "level": "error"})).success();
    let Some(page) = Page::signed_in("json", &server) else { return };
    page.shows(&["one\n\"two\""]);
    page.filter("level", "error");
    page.shows(&["one\n\"two\""]);
    page.browser.click("#download-text");
    assert_eq!(
        std::fs::read(&page.browser.downloaded(1)[0]).unwrap(),
        std::fs::read(server.log_path()).unwrap()
    );
    page.browser.assert_well();
}

#[test]
fn details_and_health_are_shown() {
    let server = Setup::new().start();
    server.save("one");
    let Some(page) = Page::signed_in("details", &server) else { return };
    page.browser.click("#health summary");
    let script = "return document.querySelector('#service').textContent.includes('is working')";
    page.browser.eventually("the service", script);
    let facts = page.browser.text("#facts");
    for fact in ["sample1", "durability", "count", "oldest"] {
        assert!(facts.contains(fact), "{facts}");
    }
    page.browser.screenshot("open");
    page.browser.assert_well();
}
