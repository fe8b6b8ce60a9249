//! Uses the page as an operator does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{KEY, ROOT, Server};

/// Represents the page of a server, open in a browser.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    pub(crate) url: String,
}

impl Page {
    /// Opens the page at its sign-in. Returns `None` on a machine without a browser.
    pub(crate) fn open(name: &'static str, server: &Server) -> Option<Self> {
        let browser = Browser::start(name)?;
        let url = format!("http://{}/moca-file-log/", server.address());
        browser.open(&url);
        Some(Self { browser, url })
    }

    /// Opens the page, signs in and waits until it is live.
    pub(crate) fn signed_in(name: &'static str, server: &Server) -> Option<Self> {
        let page = Self::open(name, server)?;
        page.sign_in(KEY, ROOT);
        page.is_live();
        Some(page)
    }

    /// Fills in key and root password, and signs in.
    pub(crate) fn sign_in(&self, key: &str, root: &str) {
        self.browser.fill("#api-key", key);
        self.browser.fill("#root-pass", root);
        self.browser.click("#sign-in button");
    }

    /// Waits until the page follows the log.
    pub(crate) fn is_live(&self) {
        self.browser.eventually("live", "return document.querySelector('#state').textContent === 'Live'");
    }

    /// Returns the messages of all rows as the page shows them, oldest first.
    pub(crate) fn messages(&self) -> Vec<String> {
        strings(
            &self
                .browser
                .run("return [...document.querySelectorAll('#rows .message')].map(e => e.textContent)"),
        )
    }

    /// Waits until exactly these messages are shown.
    pub(crate) fn shows(&self, expected: &[&str]) {
        self.shows_within(expected, Duration::from_secs(10));
    }

    pub(crate) fn shows_within(&self, expected: &[&str], limit: Duration) {
        let script = format!(
            "const shown = [...document.querySelectorAll('#rows .message')].map(e => e.textContent);
            return JSON.stringify(shown) === JSON.stringify({})",
            json!(expected)
        );
        self.browser.within(&format!("{expected:?}"), limit, &script);
    }

    /// Fills one field of the filters and applies it.
    pub(crate) fn filter(&self, field: &str, value: &str) {
        let css = format!("#{field}");
        if field == "level" {
            let script = "document.querySelector('#level').value = arguments[0]";
            self.browser.run_with(script, &json!([value]));
        } else {
            self.browser.fill(&css, value);
        }
        self.browser.click("#filter button.main");
    }

    /// Removes all filters and waits until the page is live.
    pub(crate) fn reset(&self) {
        self.browser.click("#reset");
        self.is_live();
    }

    /// Waits until the page shows this number next to a level.
    pub(crate) fn counts(&self, level: &str, expected: &str) {
        let script =
            format!("return document.querySelector('#counts .{level} b')?.textContent === '{expected}'");
        self.browser.eventually(&format!("{expected} of {level}"), &script);
    }
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap_or_else(|| panic!("a list: {value}"));
    list.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("a text: {item}")).to_owned()).collect()
}
