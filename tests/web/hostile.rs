//! Tests of messages with markup, scripts and control characters.

use serde_json::json;

use crate::harness::Setup;
use crate::page::Page;

const MARKUP: [&str; 16] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</li></ol><h1>Signed out</h1><script>document.body.textContent = ''</script>",
    "]]><script>alert(1)</script>",
    "<!-- --!> <svg onload=alert(1)> <style>body{display:none}</style>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe><base href=//evil.example>",
    "javascript:alert(1) data:text/html,<script>alert(1)</script>",
    "&lt;b&gt; &amp; &#x27; &nbsp;",
    "{\"level\":\"critical\",\"message\":\"forged\"}\n{\"cursor\":\"forged\"}",
    "data: forged\n\nid: forged\ndata: {\"level\":\"critical\"}\n\nevent: end\n:",
    "${alert(1)} `${constructor.constructor('alert(1)')()}` {{alert(1)}} <%= alert(1) %>",
    "[CRITICAL](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|key|save-log|1|1>forged\\n\\u{202e}",
    "'; DROP TABLE logs; -- \" ' ` \\",
    "__proto__ constructor toString",
    "emoji 👩‍👩‍👧‍👦 e\u{301} ﷽ 漢字 العربية עברית Z̷͔̐a̶l̵g̴o",
    "tab\there\n    indented\n\nend",
];

/// Invisible characters as sent, and as the page shows them, which is escaped as in the file.
const INVISIBLE: [(&str, &str); 6] = [
    ("user \u{202e}nimda\u{202c} did it", "user \\u{202e}nimda\\u{202c} did it"),
    ("\u{2066}isolated\u{2069} \u{200f}mark\u{200e}", "\\u{2066}isolated\\u{2069} \\u{200f}mark\\u{200e}"),
    ("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}", "\\u{1b}[31mred\\u{1b}[0m \\u{1b}]0;title\\u{7}"),
    ("over\rwritten\u{8}\u{7f}\u{85}", "over\\rwritten\\u{8}\\u{7f}\\u{85}"),
    ("line\u{2028}separator\u{2029}", "line\\u{2028}separator\\u{2029}"),
    ("zero\u{200b}width\u{feff} \u{ad}", "zero\\u{200b}width\\u{feff} \\u{ad}"),
];

#[test]
fn markup_in_a_message_is_shown_as_text() {
    let server = Setup::new().start();
    for message in MARKUP.into_iter().chain(INVISIBLE.map(|(sent, _)| sent)) {
        server.save_with(&json!({"message": message, "level": "warning"})).success();
    }
    let Some(page) = Page::signed_in("hostile", &server) else { return };
    let expected: Vec<&str> = MARKUP.into_iter().chain(INVISIBLE.map(|(_, shown)| shown)).collect();
    page.shows(&expected);
    page.browser.screenshot("rows");
    // Records that arrive while the page is open, and texts of filters, are shown in the same way.
    for message in MARKUP {
        server.save_with(&json!({"message": message, "level": "error"})).success();
    }
    let twice: Vec<&str> = expected.iter().copied().chain(MARKUP).collect();
    page.shows(&twice);
    page.filter("level", "error");
    page.shows(&MARKUP);
    page.filter("contains", MARKUP[1]);
    page.shows(&[MARKUP[1]]);
    let elements = page
        .browser
        .run("return [...new Set([...document.querySelectorAll('#rows *')].map(e => e.localName))].sort()");
    assert_eq!(elements, json!(["li", "span", "time"]));
    assert_eq!(
        page.browser.run("return document.querySelectorAll('script, img, iframe, base, style').length"),
        2
    );
    page.browser.assert_well();
}

#[test]
fn long_message_is_cut_until_the_operator_expands_it() {
    let server = Setup::new().start();
    let long: String = (0..8192).map(|n| if n % 11 == 10 { '😀' } else { 'x' }).collect();
    let many = "row\n".repeat(100);
    for message in [long.as_str(), &many, "after"] {
        server.save(message);
    }
    let Some(page) = Page::signed_in("long", &server) else { return };
    page.browser.eventually("three rows", "return document.querySelectorAll('#rows li').length === 3");
    assert!(page.messages()[0].ends_with("… Show all 8,192 characters"), "{}", page.messages()[0]);
    assert!(page.messages()[1].matches("row").count() == 20);
    page.browser.screenshot("cut");
    for _ in 0..2 {
        page.browser.click("#rows .message button");
    }
    page.shows(&[&long, &many, "after"]);
    page.browser.assert_well();
}
