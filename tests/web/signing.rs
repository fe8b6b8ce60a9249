//! Tests of signing in and out. They check the permissions, the texts of refusals, and that the
//! page stores neither key nor password.

use serde_json::json;

use crate::harness::{KEY, ROOT, Setup};
use crate::page::{Page, strings};

#[test]
fn key_and_password_open_the_page_and_are_kept_nowhere() {
    const ROOT: &str = "hard-to-guess-password";
    let server = Setup::new().system("root_pass", json!(ROOT)).start();
    server.save("one");
    let Some(page) = Page::open("signing", &server) else { return };
    let browser = &page.browser;
    assert!(browser.is_visible("#sign-in") && !browser.is_visible("#room"));
    browser.screenshot("door");
    page.sign_in(KEY, ROOT);
    page.is_live();
    page.shows(&["one"]);
    assert_eq!(browser.text("#log-name"), "sample1");
    assert!(!browser.is_visible("#sign-in") && browser.is_visible("#room"));
    // Key and password are neither in an address, nor in the page, nor in the storage of the
    // browser.
    page.filter("contains", "on");
    page.shows(&["one"]);
    let script = "return [location.href, document.cookie, JSON.stringify({...sessionStorage, ...localStorage}),
        document.documentElement.outerHTML, ...[...document.querySelectorAll('input')].map(input => input.value),
        ...performance.getEntriesByType('resource').map(entry => entry.name)]";
    let places = strings(&browser.run(script));
    assert!(places.iter().any(|place| place.contains("/tail?")), "{places:?}");
    for place in places {
        assert!(!place.contains(KEY) && !place.contains(ROOT), "{place}");
    }
    browser.click("#sign-out");
    assert!(browser.is_visible("#sign-in") && !browser.is_visible("#room"));
    assert_eq!(page.messages(), Vec::<String>::new());
    assert!(!browser.text("body").contains("sample1"));
    server.save("two");
    page.sign_in(KEY, ROOT);
    page.shows(&["one", "two"]);
    // After a reload, the page asks for both again.
    browser.open(&page.url);
    assert!(browser.is_visible("#sign-in") && !browser.is_visible("#room"));
    browser.assert_well();
}

#[test]
fn refusals_show_the_text_of_the_server() {
    let server = Setup::new().key("narrow", &json!({"allowed_path": ["/moca-file-log/save-log"]})).start();
    let Some(page) = Page::open("wrong", &server) else { return };
    let says = |words: &str| {
        let script =
            format!("return document.querySelector('#sign-in-error').textContent.startsWith('{words}')");
        page.browser.eventually(words, &script);
        assert!(page.browser.is_visible("#sign-in") && !page.browser.is_visible("#room"));
    };
    page.sign_in("another-key", ROOT);
    says("Unknown API-KEY.");
    page.sign_in("narrow", ROOT);
    says("Your API-KEY can\\'t access to this path.");
    page.sign_in(KEY, "wrong");
    says("Invalid root password.");
    page.browser.screenshot("refused");
    page.sign_in(KEY, " padded");
    says("A header can\\'t carry");
    for _ in 0..10 {
        page.sign_in(KEY, "wrong");
        page.browser.eventually("an answer", "return !document.querySelector('#sign-in button').disabled");
    }
    says("Too many requests. Try again in");
    page.browser.assert_well();
}

#[test]
fn password_may_have_any_letters() {
    let password = "пароль – größer ½ 密码";
    let server = Setup::new().system("root_pass", json!(password)).start();
    let Some(page) = Page::open("letters", &server) else { return };
    page.sign_in(KEY, password);
    page.is_live();
    page.browser.assert_well();
}

#[test]
fn revoked_key_closes_the_page() {
    let server = Setup::new().start();
    server.save("one");
    let Some(page) = Page::signed_in("taken", &server) else { return };
    page.shows(&["one"]);
    server.edit("api_key.json", r#"[{"key": "another", "status": true}]"#);
    // The server ends the tail and refuses the next attempt, without any action of the operator.
    let script = "return document.querySelector('#sign-in-error').textContent === 'Unknown API-KEY.'";
    page.browser.eventually("signed out", script);
    assert!(page.messages().is_empty());
}

#[test]
fn page_works_with_referer_rules_and_reports_maintenance() {
    let server = Setup::new()
        .system("referer", json!({"force": false, "allowed_referer": ["http://127.0.0.1"]}))
        .start();
    server.save("one");
    let Some(page) = Page::signed_in("maintenance", &server) else { return };
    page.shows(&["one"]);
    server.set("system.json", "/maintenance_mode", json!(true));
    server.wait_for_status(503);
    page.filter("contains", "o");
    let script = "return document.querySelector('#state').textContent.includes('undergoing maintenance')";
    page.browser.eventually("maintenance", script);
    page.browser.screenshot("state");
    server.set("system.json", "/maintenance_mode", json!(false));
    server.wait_for_status(200);
    // Without a click, the page would try again after the time of Retry-After.
    page.browser.eventually("a wait", "return document.querySelector('#follow').textContent === 'Try now'");
    page.browser.click("#follow");
    page.is_live();
    page.shows(&["one"]);
    page.browser.assert_well();
}
