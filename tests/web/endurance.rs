//! Tests of restarts of the server while the page is open, and of thousands of records at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Setup, slowness};
use crate::page::Page;

#[test]
fn restarts_lose_and_repeat_no_record() {
    let mut server = Setup::new().start();
    let mut expected: Vec<String> = Vec::new();
    let mut save = |server: &crate::harness::Server, what: &str| {
        let messages: Vec<String> = (0..40).map(|n| format!("{what} {n}")).collect();
        let logs: Vec<Value> = messages.iter().map(|message| json!({"message": message})).collect();
        server.save_batch(&json!(logs)).success();
        expected.extend(messages);
        expected.clone()
    };
    save(&server, "before");
    let Some(page) = Page::signed_in("restart", &server) else { return };
    let shows = |expected: &[String]| {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        page.shows_within(&expected, Duration::from_secs(20));
    };
    let expected_now = save(&server, "live");
    shows(&expected_now);
    server.restart();
    let expected_now = save(&server, "after a stop");
    shows(&expected_now);
    // The crash may cut the connection before these records reach the page.
    save(&server, "on its way");
    server.kill9();
    let cut_off = "return document.querySelector('#state').textContent === 'Cut off' && document.querySelector('#countdown').textContent.startsWith('again in')";
    page.browser.eventually("cut off", cut_off);
    page.browser.screenshot("cut");
    // Several attempts to connect fail in this time.
    std::thread::sleep(Duration::from_secs(3));
    server.respawn();
    let expected_now = save(&server, "after a crash");
    shows(&expected_now);
    page.is_live();
    page.counts("info", &expected_now.len().to_string());
    page.browser.assert_well();
}

#[test]
fn page_responds_while_thousands_of_records_arrive() {
    const BATCHES: usize = 20;
    let server = Setup::new().start();
    let Some(page) = Page::signed_in("flood", &server) else { return };
    let browser = &page.browser;
    browser.run(
        "window.longest = 0; let last = performance.now();
        setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; }, 10)",
    );
    let began = Instant::now();
    for batch in 0..BATCHES {
        let text = "what a sender would say of a request that it answered, more or less";
        let logs: Vec<Value> = (0..1000)
            .map(|n| json!({"message": format!("{text} {}", batch * 1000 + n), "level": n % 5}))
            .collect();
        server.save_batch(&json!(logs)).success();
    }
    let sent = began.elapsed();
    // Meanwhile an operator types.
    let typed = Instant::now();
    browser.fill("#contains", "typed");
    let typed = typed.elapsed();
    let all = "return [...document.querySelectorAll('#rows .message')].at(-1)?.textContent.endsWith(' 19999')
        && document.querySelector('#counted').textContent === '20,000 lines'";
    browser.within("the last line", Duration::from_secs(30), all);
    let shown = began.elapsed();
    let longest = browser.run("return longest").as_f64().unwrap();
    let rows = browser.run("return document.querySelectorAll('#rows li').length").as_u64().unwrap();
    eprintln!(
        "20,000 lines: sent in {sent:?}, shown after {shown:?}, longest pause {longest} ms, typed in {typed:?}"
    );
    assert!((1000..=5000).contains(&rows), "{rows}");
    // The rows have no gap up to the newest record.
    let numbers: Vec<usize> =
        page.messages().iter().map(|message| message.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let max_pause_ms = 1000.0 * f64::from(slowness());
    assert!(longest < max_pause_ms, "the page stood still for {longest} ms");
    assert!(typed < Duration::from_secs(6) * slowness(), "{typed:?}");
    for level in ["debug", "info", "warning", "error", "critical"] {
        page.counts(level, "4,000");
    }
    // While the operator goes back through all of them, the page holds at most 5000 rows. Follow
    // continues without a gap.
    browser.run("document.querySelector('#contains').value = ''");
    for _ in 0..12 {
        browser.click("#older");
        browser.eventually("read", "return document.querySelector('#older').textContent !== 'Reading…'");
    }
    let rows = browser.run("return document.querySelectorAll('#rows li').length").as_u64().unwrap();
    assert_eq!(rows, 5000);
    assert!(browser.text("#notice").contains("held here"), "{}", browser.text("#notice"));
    browser.click("#follow");
    browser.within("the last line", Duration::from_secs(30), all);
    let numbers: Vec<usize> =
        page.messages().iter().map(|message| message.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    page.is_live();
    browser.assert_well();
}
