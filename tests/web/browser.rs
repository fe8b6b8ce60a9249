//! Drives a headless Chromium by ChromeDriver over the WebDriver protocol (W3C), which is JSON over
//! HTTP/1.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::cannot_run;

/// Maximum time of one command to ChromeDriver.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(40);

/// Key of an element's id in answers (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A script that runs before each page. It collects violations of the Content-Security-Policy and
/// uncaught errors.
const WATCH: &str = "window.mishaps = [];
    document.addEventListener('securitypolicyviolation', event => mishaps.push(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    addEventListener('error', event => mishaps.push(`error: ${event.message}`));
    addEventListener('unhandledrejection', event => mishaps.push(`rejection: ${event.reason}`));";

/// Controls a browser with one tab. Dropping it ends the browser and its driver.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    name: &'static str,
    folder: tempfile::TempDir,
}

/// Defines the WebDriver codes of keys without a character.
pub(crate) mod keys {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const SHIFT: &str = "\u{e008}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const END: &str = "\u{e010}";
    pub(crate) const HOME: &str = "\u{e011}";
    pub(crate) const LEFT: &str = "\u{e012}";
    pub(crate) const RIGHT: &str = "\u{e014}";
}

impl Browser {
    /// Starts a browser for the test of this name. Returns `None` when ChromeDriver is missing,
    /// which is a failure in CI.
    pub(crate) fn start(name: &'static str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = spawned else {
            cannot_run("chromedriver is missing; on Debian: apt-get install chromium chromium-driver");
            return None;
        };
        // ChromeDriver prints "ChromeDriver was started successfully on port 40123."
        let mut output = BufReader::new(driver.stdout.take().expect("its output"));
        let port = loop {
            let mut line = String::new();
            let length = output.read_line(&mut line).expect("read ChromeDriver's output");
            assert!(length > 0, "ChromeDriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').parse().expect("a port");
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let mut browser = Self { driver, port, session: String::new(), name, folder };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--window-size=1280,900",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", browser.profile()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "unhandledPromptBehavior": "ignore",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {"download.default_directory": browser.downloads(), "download.prompt_for_download": false},
            },
        }}});
        let made =
            browser.send("POST", "/session", &wanted).unwrap_or_else(|why| panic!("no session: {why}"));
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", &json!({"source": WATCH}));
        Some(browser)
    }

    /// Sends one command to ChromeDriver and returns its value, or the text of its error.
    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to ChromeDriver");
        stream.set_read_timeout(Some(COMMAND_TIMEOUT)).expect("set the read timeout");
        let length = body.len();
        let port = self.port;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .expect("send to ChromeDriver");
        let value =
            body_of(&mut BufReader::new(stream)).and_then(|body| Ok(serde_json::from_slice::<Value>(&body)?));
        let value = value.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let value = value["value"].clone();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {:.500}", value["message"].as_str().unwrap_or_default())),
            None => Ok(value),
        }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.send(method, &path, body).unwrap_or_else(|why| panic!("{}: {method} {path}: {why}", self.name))
    }

    /// Sends a command of the DevTools protocol.
    pub(crate) fn cdp(&self, command: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// Runs a script and returns the value of its `return`.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.run_with(script, &json!([]))
    }

    /// Runs a script with `arguments`.
    pub(crate) fn run_with(&self, script: &str, arguments: &Value) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Waits for a promise and returns its value.
    pub(crate) fn wait_for_promise(&self, script: &str) -> Value {
        let script =
            format!("const done = arguments[0]; ({script}).then(done, error => done(String(error)));");
        self.call("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    fn element(&self, css: &str) -> String {
        let found = self.call("POST", "/element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks on an element. Fails when another element covers it.
    pub(crate) fn click(&self, css: &str) {
        let element = self.element(css);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Replaces the text of a field.
    pub(crate) fn fill(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.call("POST", &format!("/element/{element}/clear"), &json!({}));
        if !text.is_empty() {
            self.call("POST", &format!("/element/{element}/value"), &json!({"text": text}));
        }
    }

    /// Types keys into the element that has the focus, while the keys `held` are down.
    pub(crate) fn press(&self, held: &[&str], text: &str) {
        let mut actions: Vec<Value> =
            held.iter().map(|key| json!({"type": "keyDown", "value": key})).collect();
        for key in text.chars() {
            actions.push(json!({"type": "keyDown", "value": key}));
            actions.push(json!({"type": "keyUp", "value": key}));
        }
        actions.extend(held.iter().map(|key| json!({"type": "keyUp", "value": key})));
        self.call(
            "POST",
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}),
        );
    }

    /// Drags the mouse over an element, between two fractions of its width.
    pub(crate) fn drag(&self, css: &str, from: f64, to: f64) {
        let script = "const box = document.querySelector(arguments[0]).getBoundingClientRect();
            return [box.left, box.top + box.height / 2, box.width]";
        let found = self.run_with(script, &json!([css]));
        let [left, top, width] = [0, 1, 2].map(|index| found[index].as_f64().expect("a number"));
        let at = |share: f64, duration: u32| {
            let (x, y) = ((left + width * share).round(), top.round());
            json!({"type": "pointerMove", "duration": duration, "x": x as i64, "y": y as i64})
        };
        let actions = json!([
            at(from, 0),
            {"type": "pointerDown", "button": 0},
            at(f64::midpoint(from, to), 60),
            at(to, 60),
            {"type": "pointerUp", "button": 0},
        ]);
        let mouse = json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
        self.call("POST", "/actions", &json!({"actions": [mouse]}));
    }

    pub(crate) fn text(&self, css: &str) -> String {
        let value = self.run_with("return document.querySelector(arguments[0])?.textContent", &json!([css]));
        value.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn is_visible(&self, css: &str) -> bool {
        let script = "return Boolean(document.querySelector(arguments[0])?.checkVisibility())";
        self.run_with(script, &json!([css])) == true
    }

    /// Runs the script until it returns a value other than null or false, for ten seconds at most.
    pub(crate) fn eventually(&self, what: &str, script: &str) -> Value {
        self.within(what, Duration::from_secs(10), script)
    }

    pub(crate) fn within(&self, what: &str, limit: Duration, script: &str) -> Value {
        let until = Instant::now() + limit;
        loop {
            let value = self.run(script);
            if !(value.is_null() || value == false) {
                return value;
            }
            if Instant::now() > until {
                self.screenshot("failed");
                panic!("{}: not within {limit:?}: {what}\n{}", self.name, self.text("body"));
            }
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Sets the size of the page in CSS pixels. A width below 600 emulates a telephone.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let mobile = width < 600;
        let scale = if mobile { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile});
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets the colour scheme of the system: `light` or `dark`.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Writes a picture of the page to `target/web/TEST-NAME.png`.
    pub(crate) fn screenshot(&self, name: &str) {
        let picture = self.call("GET", "/screenshot", &Value::Null);
        let picture = BASE64.decode(picture.as_str().expect("a picture").as_bytes()).expect("base64");
        let folder = output();
        std::fs::create_dir_all(&folder).expect("create a folder");
        std::fs::write(folder.join(format!("{}-{name}.png", self.name)), picture).expect("write a picture");
    }

    /// Ends the processes of this browser that its driver has left running. They have its profile
    /// folder in their arguments.
    fn end_strays(&self) {
        let profile = self.profile();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_string_lossy().parse().ok();
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = pid
                && String::from_utf8_lossy(&command).contains(&profile)
            {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
        }
    }

    fn profile(&self) -> String {
        self.folder.path().join("profile").display().to_string()
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    /// Waits until `count` files are downloaded and returns their paths.
    pub(crate) fn downloaded(&self, count: usize) -> Vec<PathBuf> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let found = std::fs::read_dir(self.downloads()).into_iter().flatten();
            let mut paths: Vec<PathBuf> = found.map(|entry| entry.expect("an entry").path()).collect();
            paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
            paths.retain(|path| {
                path.extension().is_none_or(|ending| ending != "crdownload" && ending != "tmp")
            });
            // Chromium creates an empty file first.
            let is_whole = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.len() > 0);
            if paths.len() >= count && paths.iter().all(is_whole) {
                paths.sort();
                return paths;
            }
            assert!(Instant::now() < until, "{}: no {count} downloads: {paths:?}", self.name);
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Checks that the page had no uncaught error, no violation of its policy and no error in the
    /// console. Answers of the server with an error status do not count.
    pub(crate) fn assert_well(&self) {
        assert_eq!(self.run("return mishaps"), json!([]), "{}", self.name);
        let entries = self.call("POST", "/se/log", &json!({"type": "browser"}));
        for entry in entries.as_array().expect("a list") {
            let harmless =
                ["network", "recommendation"].contains(&entry["source"].as_str().unwrap_or_default());
            assert!(harmless, "{}: {entry}", self.name);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            if std::thread::panicking() {
                let path = format!("/session/{}/screenshot", self.session);
                if let Ok(picture) = self.send("GET", &path, &Value::Null)
                    && let Ok(picture) = BASE64.decode(picture.as_str().unwrap_or_default().as_bytes())
                {
                    std::fs::write(output().join(format!("{}-failed.png", self.name)), picture).ok();
                }
            }
            self.send("DELETE", &format!("/session/{}", self.session), &Value::Null).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
        self.end_strays();
    }
}

/// Reads the body of an answer by its length, because ChromeDriver keeps the connection open.
fn body_of(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Returns the folder of the pictures.
pub(crate) fn output() -> PathBuf {
    // The program is two levels below the folder that cargo builds in.
    let program = PathBuf::from(env!("CARGO_BIN_EXE_moca-file-log"));
    program.ancestors().nth(2).expect("the target folder").join("web")
}
