//! Tests of the chart of records over time, with its counts and the selection of a time by mouse
//! and keyboard.

use std::fmt::Write;

use jiff::Timestamp;

use crate::browser::keys;
use crate::harness::{KEY, ROOT, Server, Setup, encode, route};
use crate::page::Page;

const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Starts a server whose log has a record for each ten seconds of a hundred minutes.
fn server_with_history() -> Server {
    let setup = Setup::new();
    let mut text = String::new();
    for n in 0..600 {
        let (hour, minute, second) = (10 + n / 360, n / 6 % 60, n % 6 * 10);
        let level = LEVELS[n % 5];
        writeln!(
            text,
            "[{level}](2026-03-01 {hour}:{minute:02}:{second:02}.000000+00:00)<203.0.113.7|shop|save-log|1|{n}>line {n}"
        )
        .unwrap();
    }
    std::fs::create_dir_all(setup.log_path().parent().unwrap()).unwrap();
    std::fs::write(setup.log_path(), text).unwrap();
    setup.start()
}

/// Returns the time in a field of the filters.
fn field(page: &Page, name: &str) -> Timestamp {
    let value = page.browser.run(&format!("return document.querySelector('#{name}').value"));
    let text = value.as_str().unwrap();
    text.parse().unwrap_or_else(|error| panic!("{name}: {text:?}: {error}"))
}

/// Checks that the page shows the records that the server returns for the selected times. Returns
/// these times.
fn shows_the_selection(page: &Page, server: &Server) -> (Timestamp, Timestamp) {
    let ended = "return document.querySelector('#state').textContent.startsWith('Not live')
        && document.querySelector('#counted').textContent.match(/^[\\d,]+ lines?$/)";
    page.browser.eventually("an end", ended);
    let (since, until) = (field(page, "since"), field(page, "until"));
    let [from, to] = [since, until].map(|time| encode(&time.to_string()));
    let target = format!("{}?since={from}&until={to}", route("get-logs"));
    let lines = server.get_with(&target, &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).text();
    let expected: Vec<&str> = lines.lines().map(|line| line.split_once('>').unwrap().1).collect();
    assert!(!expected.is_empty() && expected.len() < 600);
    page.shows(&expected);
    assert_eq!(page.browser.text("#counted"), format!("{} lines", expected.len()));
    (since, until)
}

#[test]
fn dragging_over_the_chart_selects_a_time() {
    let server = server_with_history();
    let Some(page) = Page::signed_in("drag", &server) else { return };
    let browser = &page.browser;
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '600 lines'");
    for level in LEVELS {
        page.counts(&level.to_lowercase(), "120");
    }
    assert!(browser.run("return document.querySelectorAll('#bars rect').length").as_u64().unwrap() >= 100);
    browser.screenshot("whole");
    browser.drag("#chart", 0.25, 0.5);
    let (since, until) = shows_the_selection(&page, &server);
    assert_eq!(
        (since, until),
        ("2026-03-01T10:25:00Z".parse().unwrap(), "2026-03-01T10:51:00Z".parse().unwrap())
    );
    browser.screenshot("part");
    // The second selection lies within the first and goes from right to left.
    browser.drag("#chart", 0.6, 0.4);
    let (closer, earlier) = shows_the_selection(&page, &server);
    assert!(closer > since && earlier < until, "{closer} {earlier}");
    browser.click("#all-times");
    page.is_live();
    browser.eventually("all", "return document.querySelector('#counted').textContent === '600 lines'");
    assert!(!browser.is_visible("#all-times"));
    browser.assert_well();
}

#[test]
fn arrow_keys_select_a_time() {
    let server = server_with_history();
    let Some(page) = Page::signed_in("chart-keys", &server) else { return };
    let browser = &page.browser;
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '600 lines'");
    let spoken = || browser.run("return chart.getAttribute('aria-valuetext')").as_str().unwrap().to_owned();
    assert!(spoken().contains("120 critical, 120 error, 120 warning, 120 info, 120 debug"), "{}", spoken());
    browser.run("chart.focus()");
    browser.press(&[], keys::HOME);
    assert!(spoken().starts_with("2026-03-01 10:00:00 to 2026-03-01 10:01:00: "), "{}", spoken());
    browser.press(&[], &keys::RIGHT.repeat(5));
    browser.press(&[keys::SHIFT], &keys::RIGHT.repeat(2));
    assert!(spoken().starts_with("2026-03-01 10:05:00 to 2026-03-01 10:08:00: "), "{}", spoken());
    browser.press(&[], keys::ESCAPE);
    assert!(spoken().starts_with("2026-03-01 10:00:00 to 2026-03-01 11:40:00: "), "{}", spoken());
    browser.press(&[], keys::END);
    browser.press(&[keys::SHIFT], &keys::LEFT.repeat(9));
    browser.screenshot("chosen");
    browser.press(&[], keys::ENTER);
    let (since, until) = shows_the_selection(&page, &server);
    assert_eq!(
        (since, until),
        ("2026-03-01T11:30:00Z".parse().unwrap(), "2026-03-01T11:40:00Z".parse().unwrap())
    );
    browser.assert_well();
}

#[test]
fn chart_counts_the_latest_records_first_and_says_so() {
    let server = Setup::new().start();
    let logs: Vec<serde_json::Value> =
        (0..1000).map(|n| serde_json::json!({"message": format!("line {n}")})).collect();
    for _ in 0..12 {
        server.save_batch(&serde_json::json!(logs)).success();
    }
    let Some(page) = Page::signed_in("part", &server) else { return };
    let browser = &page.browser;
    let part = "return document.querySelector('#counted').textContent.startsWith('the latest 10,500 lines, from 20')";
    browser.eventually("a part", part);
    page.counts("info", "10,500");
    browser.click("#count-more");
    browser
        .eventually("the whole", "return document.querySelector('#counted').textContent === '12,000 lines'");
    assert!(!browser.is_visible("#count-more"));
    server.save("one more");
    browser.eventually("live", "return document.querySelector('#counted').textContent === '12,001 lines'");
    browser.assert_well();
}
