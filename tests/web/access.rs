//! Tests of the page without a mouse, with a screen reader, on a telephone and in the dark theme.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{Browser, keys};
use crate::harness::{KEY, ROOT, Server, Setup, cannot_run, eventually};
use crate::page::{Page, strings};

/// Starts a server whose log has records of every level, a long one and one with control
/// characters.
fn server_with_records() -> Server {
    let server = Setup::new().key("shop-key", &json!({"name": "shop"})).start();
    let messages = [
        "user logged in",
        "GET /api/orders 200 in 12 ms",
        "disk is warm",
        "payment failed: card declined\n  order: 8812\n  try: 3",
    ];
    let mut logs = Vec::new();
    for n in 0..60_usize {
        let level = [1, 0, 2, 3, 1, 1, 4][n % 7];
        logs.push(json!({"message": messages[n % 4], "level": level}));
    }
    logs.push(json!({"message": "x".repeat(300), "level": 3}));
    logs.push(json!({"message": "a\u{202e}b", "level": 1}));
    server.save_batch(&json!(logs)).success();
    server
}

/// Returns the id of the element that has the focus, or its name.
fn focused(browser: &Browser) -> String {
    let id = browser.run("return document.activeElement.id || document.activeElement.localName");
    id.as_str().unwrap().to_owned()
}

#[test]
fn page_works_by_keyboard_alone() {
    let server = server_with_records();
    let Some(page) = Page::open("keyboard", &server) else { return };
    let browser = &page.browser;
    assert_eq!(focused(browser), "api-key");
    browser.press(&[], KEY);
    browser.press(&[], keys::TAB);
    browser.press(&[], ROOT);
    browser.press(&[], keys::ENTER);
    page.is_live();
    assert_eq!(focused(browser), "scroller", "after the sign-in the records have the focus");
    browser.eventually("rows", "return document.querySelectorAll('#rows li').length === 62");
    browser.press(&[], keys::HOME);
    browser.eventually("scrolled", "return scroller.scrollTop === 0");
    let mut stops = BTreeSet::new();
    while focused(browser) != "contains" {
        browser.press(&[keys::SHIFT], keys::TAB);
        assert!(stops.insert(focused(browser)), "Tab does not reach the filters: {stops:?}");
        let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth");
        assert_eq!(outline, "solid3px", "the focus is visible: {}", focused(browser));
    }
    for stop in ["clear", "download-text", "older", "follow", "chart", "key", "client", "regex"] {
        assert!(stops.contains(stop), "{stop}: {stops:?}");
    }
    browser.press(&[], "xxx");
    browser.screenshot("focus");
    browser.press(&[], keys::ENTER);
    page.shows(&[&"x".repeat(300)]);
    // The dialog takes the focus, keeps it, and returns it when it closes.
    browser.run("document.querySelector('#clear').focus()");
    browser.press(&[], keys::ENTER);
    assert_eq!(focused(browser), "clear-word");
    browser.press(&[], "sample1");
    browser.press(&[], keys::ESCAPE);
    assert!(!browser.is_visible("#clear-dialog"));
    assert_eq!(focused(browser), "clear");
    browser.assert_well();
}

#[test]
fn page_fits_a_telephone() {
    let server = server_with_records();
    let Some(page) = Page::open("phone", &server) else { return };
    let browser = &page.browser;
    browser.resize(390, 844);
    browser.open(&page.url);
    let fits = |what: &str| {
        let widths = browser.run("return [document.documentElement.scrollWidth, document.body.scrollWidth, scroller.scrollWidth - scroller.clientWidth]");
        assert_eq!(widths, json!([390, 390, 0]), "{what}");
        browser.screenshot(what);
    };
    fits("door");
    page.sign_in(KEY, ROOT);
    page.is_live();
    browser.eventually("rows", "return document.querySelectorAll('#rows li').length === 62");
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '62 lines'");
    fits("lines");
    browser.click("#filters summary");
    page.filter("contains", "x".repeat(150).as_str());
    page.shows(&[&"x".repeat(300)]);
    fits("filters");
    page.reset();
    browser.click("#health summary");
    browser.eventually("facts", "return document.querySelector('#facts').childElementCount > 10");
    fits("details");
    browser.click("#clear");
    fits("dialog");
    browser.press(&[], keys::ESCAPE);
    browser.run("scrollTo(0, document.body.scrollHeight)");
    fits("end");
    browser.resize(320, 640);
    let width = browser.run("return document.documentElement.scrollWidth");
    assert_eq!(width, 320);
    browser.assert_well();
}

#[test]
fn theme_follows_the_system_until_the_operator_chooses_one() {
    let server = server_with_records();
    let Some(page) = Page::signed_in("theme", &server) else { return };
    let browser = &page.browser;
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '62 lines'");
    let background = || {
        let color =
            browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)");
        color[0].as_u64().unwrap()
    };
    for (system, is_dark) in [("light", false), ("dark", true)] {
        browser.prefer(system);
        assert_eq!(background() < 128, is_dark, "{system}");
        browser.screenshot(system);
    }
    // The theme that the button chooses overrides that of the system, and is kept over a reload.
    let theme = |expected: &str| {
        browser.click("#theme");
        assert_eq!(browser.text("#theme"), format!("Theme: {expected}"));
    };
    theme("light");
    assert!(background() > 128);
    browser.open(&page.url);
    browser.run("location.reload()");
    assert!(background() > 128);
    browser.prefer("light");
    theme("dark");
    assert!(background() < 128);
    theme("system");
    assert!(background() > 128);
    browser.assert_well();
}

/// Returns the role and the name of each node of the accessibility tree.
fn accessibility_tree(browser: &Browser) -> Vec<(String, String)> {
    browser.cdp("Accessibility.enable", &json!({}));
    let found = browser.cdp("Accessibility.getFullAXTree", &json!({}));
    let text = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
    let nodes = found["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
    nodes.map(|node| (text(node, "role"), text(node, "name"))).collect()
}

#[test]
fn every_control_has_a_role_and_a_name() {
    let server = server_with_records();
    let Some(page) = Page::open("spoken", &server) else { return };
    let browser = &page.browser;
    let has = |role: &str, name: &str| {
        // The browser updates the tree some time after a change.
        eventually(&format!("{role} {name:?}"), Duration::from_secs(5), || {
            accessibility_tree(browser).iter().any(|(r, n)| r == role && n.starts_with(name))
        });
    };
    for (role, name) in [
        ("banner", ""),
        ("main", ""),
        ("form", "Sign in"),
        ("textbox", "API key"),
        ("textbox", "Root password"),
        ("button", "Sign in"),
    ] {
        has(role, name);
    }
    page.sign_in(KEY, "wrong");
    browser.eventually("refused", "return document.querySelector('#sign-in-error').textContent");
    has("alert", "");
    page.sign_in(KEY, ROOT);
    page.is_live();
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '62 lines'");
    for (role, name) in [
        ("heading", "MocaFileLog · sample1"),
        ("status", ""),
        ("search", "Filters"),
        ("combobox", "Since"),
        ("combobox", "Level at least"),
        ("textbox", "Contains"),
        ("textbox", "Regular expression"),
        ("button", "Apply"),
        ("region", "Lines over time"),
        ("slider", "Lines over time"),
        ("list", "Counted lines by level"),
        ("region", "Lines"),
        ("log", "Lines"),
        ("button", "Pause"),
        ("button", "Older lines"),
        ("button", "Download text"),
        ("button", "Clear"),
        ("listitem", ""),
    ] {
        has(role, name);
    }
    let nameless: Vec<_> = accessibility_tree(browser)
        .into_iter()
        .filter(|(role, name)| {
            ["button", "textbox", "combobox", "slider", "log", "region", "search", "link", "dialog"]
                .contains(&role.as_str())
                && name.is_empty()
        })
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    // A screen reader announces new records in one sentence, not one by one.
    assert_eq!(browser.run("return scroller.getAttribute('aria-live')"), "off");
    for n in 0..20 {
        server
            .save_with(&json!({"message": format!("{n}"), "level": if n == 3 { "error" } else { "info" }}))
            .success();
    }
    let said = browser.within("news", Duration::from_secs(12), "return news.textContent.startsWith('82 new lines') || news.textContent.startsWith('20 new lines') || news.textContent.startsWith('62 new lines')");
    assert_eq!(said, true);
    browser.assert_well();
}

#[test]
fn axe_reports_no_violation() {
    let Some(axe) = std::env::var_os("MOCA_AXE") else {
        return cannot_run("axe-core is missing; `make test-web` installs it");
    };
    let axe = std::fs::read_to_string(axe).unwrap();
    let server = server_with_records();
    let Some(page) = Page::open("axe", &server) else { return };
    let browser = &page.browser;
    browser.run(&format!("{axe}; window.axe = axe"));
    let check = |what: &str| {
        let found = browser.wait_for_promise("axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(result => result.violations.flatMap(
            violation => violation.nodes.map(node => `${violation.id}: ${node.target} ${node.failureSummary}`)))");
        assert_eq!(strings(&found), Vec::<String>::new(), "{what}");
    };
    check("the sign-in");
    page.sign_in(KEY, ROOT);
    page.is_live();
    browser.eventually("counted", "return document.querySelector('#counted').textContent === '62 lines'");
    browser.click("#health summary");
    browser.eventually("facts", "return document.querySelector('#facts').childElementCount > 10");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        check(scheme);
    }
    browser.click("#clear");
    check("the dialog");
    browser.press(&[], keys::ESCAPE);
    browser.resize(390, 844);
    check("a telephone");
}
