//! Tests of reading a part of the log by selection, order, format and cursors. They compare the
//! server with a filter of the whole file that shares no code with the server.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{KEY, Line, ROOT, Response, Server, Setup, encode_pairs, route, sha256_hex};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Reads a route with parameters in the query.
fn read(server: &Server, name: &str, parameters: &[(&str, &str)]) -> Response {
    let target = format!("{}?{}", route(name), encode_pairs(parameters));
    server.get_with(&target, &ACCESS)
}

fn objects(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    response.json().as_array().expect("an array").clone()
}

fn messages(response: &Response) -> Vec<String> {
    objects(response).iter().map(|object| object["message"].as_str().unwrap().to_owned()).collect()
}

/// Holds a record and its line.
#[derive(Debug, Clone)]
struct Stored {
    line: String,
    /// The foreign lines that continue the record.
    continuing: Vec<String>,
    time: String,
    level: u64,
    client: String,
    key: String,
    message: String,
}

/// Returns the key field of the two keys, and an unknown one. The first key has no name, so its
/// field is the start of its digest.
fn key_names() -> [String; 3] {
    [sha256_hex(KEY)[..8].to_owned(), "second".to_owned(), "nobody".to_owned()]
}

const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

fn stored(line: &str) -> Stored {
    let (level, time, client, key, message) = if line.starts_with('{') {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        (text("level"), text("time"), text("client"), text("key"), text("message"))
    } else {
        let line = Line::parse(line);
        (line.level, line.time.replacen(' ', "T", 1), line.client, line.key, line.message)
    };
    let level = LEVELS.iter().position(|name| *name == level).unwrap() as u64;
    Stored { line: line.to_owned(), continuing: Vec::new(), time, level, client, key, message }
}

/// Starts a server whose log has records of three clients, with two keys, in both formats, between
/// foreign lines.
fn start_with_mixed_log() -> (Server, Vec<Stored>) {
    let server = Setup::new()
        .http("real_ip_header = \"X-Real-IP\"")
        .key("second-key", &json!({"name": "second"}))
        .log("level", json!(0))
        .start();
    let texts = [
        "plain",
        "needle in hay",
        "two\nlines",
        "a \"quoted\" \\ word",
        "tab\there",
        "é\u{2028}\u{1b}",
        "ERROR",
        "",
    ];
    for format in ["text", "json", "text"] {
        server.set("log.json", "/sample1/format", json!(format));
        crate::harness::eventually("the format is in force", std::time::Duration::from_secs(3), || {
            server.save("which format?");
            server.log_lines().last().is_some_and(|line| line.starts_with('{') == (format == "json"))
        });
        for n in 0..60 {
            let message = format!(
                "{}{}",
                texts[n % texts.len()],
                if n % 3 == 0 { n.to_string() } else { String::new() }
            );
            let client = ["192.0.2.7", "192.0.2.130", "2001:db8::7"][n % 3];
            let key = if n % 5 == 0 { "second-key" } else { KEY };
            let body = json!({"message": message, "level": n % 5}).to_string();
            let headers = [("API-KEY", key), ("X-Real-IP", client), ("Content-Type", "application/json")];
            server.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
        }
        let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
        std::io::Write::write_all(&mut file, b"a needle of nobody\n[INFO](2026-\n").unwrap();
    }
    let mut records: Vec<Stored> = Vec::new();
    for line in server.log_lines() {
        match records.last_mut() {
            Some(last) if !line.starts_with('{') && !line.contains(")<") => last.continuing.push(line),
            _ => records.push(stored(&line)),
        }
    }
    (server, records)
}

/// Holds the parameters of a selection.
#[derive(Debug, Clone, Default)]
struct Wanted {
    since: Option<usize>,
    until: Option<usize>,
    level: Option<u64>,
    contains: Vec<&'static str>,
    regex: Option<(&'static str, &'static str)>,
    client: Option<(&'static str, &'static str)>,
    /// Indices into [`key_names`].
    keys: Vec<usize>,
    limit: Option<usize>,
    descends: bool,
    latest: bool,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let texts =
        vec!["needle", "\n", "\\", "\"quoted\" \\", "\t", "\u{2028}", "é", "1", "absent", "ERROR", "n"];
    // The second text of each pair selects the same records without a regular expression.
    let patterns = vec![("^plain", "plain"), ("(?i)NEEDLE", "needle"), (r"\\ w", "\\ w")];
    let clients =
        vec![("192.0.2.0/25", "192.0.2.7"), ("2001:db8::/32", "2001:db8::7"), ("192.0.2.130", "192.0.2.130")];
    (
        (prop::option::weighted(0.3, 0_usize..180), prop::option::weighted(0.3, 0_usize..180)),
        prop::option::weighted(0.3, 0_u64..5),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(prop::sample::select(texts), 1..3)],
        prop::option::weighted(0.2, prop::sample::select(patterns)),
        prop::option::weighted(0.3, prop::sample::select(clients)),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0_usize..3, 1..3)],
        (prop::option::of(1_usize..40), any::<bool>(), any::<bool>()),
    )
        .prop_map(|((since, until), level, contains, regex, client, keys, (limit, descends, latest))| {
            Wanted { since, until, level, contains, regex, client, keys, limit, descends, latest }
        })
}

impl Wanted {
    fn parameters(&self, records: &[Stored]) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        all.extend(self.since.map(|index| ("since", records[index].time.clone())));
        all.extend(self.until.map(|index| ("until", records[index].time.clone())));
        all.extend(self.level.map(|level| ("level", level.to_string())));
        all.extend(self.contains.iter().map(|text| ("contains", (*text).to_owned())));
        all.extend(self.regex.map(|(pattern, _)| ("regex", pattern.to_owned())));
        all.extend(self.client.map(|(network, _)| ("client", network.to_owned())));
        all.extend(self.keys.iter().map(|key| ("key", key_names()[*key].clone())));
        all.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        all.push(("order", if self.descends { "desc" } else { "asc" }.to_owned()));
        all
    }

    fn of(&self, records: &[Stored]) -> Vec<Stored> {
        let selects = |record: &&Stored| {
            let texts = || std::iter::once(&record.message).chain(&record.continuing);
            // All times have the same zone, so their texts sort like the times.
            self.since.is_none_or(|index| record.time >= records[index].time)
                && self.until.is_none_or(|index| record.time < records[index].time)
                && self.level.is_none_or(|level| record.level >= level)
                && self.contains.iter().all(|text| texts().any(|held| held.contains(text)))
                && self.regex.is_none_or(|(pattern, text)| {
                    texts().any(|held| {
                        if pattern.starts_with('^') { held.starts_with(text) } else { held.contains(text) }
                    })
                })
                && self.client.is_none_or(|(_, address)| record.client == address)
                && (self.keys.is_empty() || self.keys.iter().any(|key| key_names()[*key] == record.key))
        };
        let mut found: Vec<Stored> = records.iter().filter(selects).cloned().collect();
        let limit = self.limit.unwrap_or(1024).min(found.len());
        if self.descends || self.latest {
            found.drain(..found.len() - limit);
        } else if self.limit.is_some() {
            found.truncate(limit);
        }
        if self.descends {
            found.reverse();
        }
        found
    }
}

#[test]
fn a_selection_equals_a_filter_of_the_file() {
    let (server, records) = start_with_mixed_log();
    let seen = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&wanted(), |wanted| {
        // An order alone selects nothing, so foreign lines are returned too.
        prop_assume!(wanted.parameters(&records).iter().any(|(name, _)| !["limit", "order"].contains(name)));
        let name = if wanted.latest { "get-latest-logs" } else { "get-logs" };
        let parameters = wanted.parameters(&records);
        let expected = wanted.of(&records);
        seen.borrow_mut().insert(expected.len());
        let pairs: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = read(&server, name, &[&pairs[..], &[("output", "text")]].concat());
        let lines: Vec<String> = text.text().lines().map(str::to_owned).collect();
        prop_assert_eq!(
            &lines,
            &expected
                .iter()
                .flat_map(|record| std::iter::once(&record.line).chain(&record.continuing))
                .cloned()
                .collect::<Vec<_>>(),
            "{:?}",
            pairs
        );
        // Sends the same parameters in a JSON body and in a form, with objects as output.
        let mut body = json!({"api_key": KEY, "root_pass": ROOT, "output": "json"});
        for (name, value) in &pairs {
            match &mut body[*name] {
                Value::Null => body[*name] = json!(value),
                Value::Array(list) => list.push(json!(value)),
                text => *text = json!([text.clone(), value]),
            }
        }
        let response = server.post_json(&route(name), &body);
        let foreign = |object: &&Value| object["level"].is_null();
        for (object, record) in objects(&response).iter().filter(|object| !foreign(object)).zip(&expected) {
            prop_assert_eq!(object["message"].as_str(), Some(record.message.as_str()));
            prop_assert_eq!(object["time"].as_str(), Some(record.time.as_str()));
            prop_assert_eq!(object["level"].as_str(), Some(LEVELS[record.level as usize]));
            prop_assert_eq!(object["client"].as_str(), Some(record.client.as_str()));
            prop_assert_eq!(object["key"].as_str(), Some(record.key.as_str()));
        }
        let continuing = expected.iter().map(|record| record.continuing.len()).sum::<usize>();
        prop_assert_eq!(objects(&response).iter().filter(foreign).count(), continuing);
        prop_assert_eq!(objects(&response).len(), expected.len() + continuing);
        let form = [&pairs[..], &[("output", "ndjson"), ("api_key", KEY), ("root_pass", ROOT)]].concat();
        let ndjson = server.post_form(&route(name), &form);
        let lines: Vec<Value> =
            ndjson.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(lines, objects(&response));
        prop_assert_eq!(ndjson.expect_header("content-type"), "application/x-ndjson");
        prop_assert_eq!(text.expect_header("moca-cursor"), response.expect_header("moca-cursor"));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(seen.borrow().len() > 10, "the selections are too much alike: {seen:?}");
}

#[test]
fn cursors_page_through_the_log_in_both_directions() {
    let (server, records) = start_with_mixed_log();
    for order in ["asc", "desc"] {
        for selection in [&[][..], &[("level", "2")], &[("contains", "needle")]] {
            for route in ["get-logs", "get-latest-logs", "download-logs"] {
                // That route returns the newest records, in either order.
                if route == "get-latest-logs" && order == "asc" {
                    continue;
                }
                let all = read(
                    &server,
                    route,
                    &[selection, &[("order", order), ("limit", "10000"), ("output", "json")]].concat(),
                );
                let all = objects(&all);
                let (mut paged, mut cursor) = (Vec::new(), None::<String>);
                loop {
                    let mut parameters =
                        [selection, &[("order", order), ("limit", "7"), ("output", "json")]].concat();
                    parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                    let page = read(&server, route, &parameters);
                    let page_objects = objects(&page);
                    if page_objects.is_empty() {
                        break;
                    }
                    let last = page_objects.last().unwrap()["cursor"].as_str().unwrap().to_owned();
                    // On the route of the newest records, the answer carries the cursor of the
                    // newest one.
                    let named = if route == "get-latest-logs" {
                        let others = &page_objects[1..];
                        let continuing = others.iter().take_while(|object| object["level"].is_null()).count();
                        page_objects[continuing]["cursor"].as_str().unwrap()
                    } else {
                        &last
                    };
                    assert_eq!(page.expect_header("moca-cursor"), named);
                    cursor = Some(last);
                    paged.extend(page_objects);
                }
                assert_eq!(paged, all, "{route} {order} {selection:?}");
            }
        }
    }
    assert_eq!(
        messages(&read(&server, "get-logs", &[("level", "0"), ("output", "json")])).len(),
        records.iter().map(|record| 1 + record.continuing.len()).sum::<usize>()
    );
}

#[test]
fn the_cursor_of_a_saved_record_is_the_position_after_it() {
    let server = Setup::new().log("level", json!(1)).start();
    let save = |route_name: &str, body: Value| {
        let headers =
            [("API-KEY", KEY), ("Accept", "application/json"), ("Content-Type", "application/json")];
        let answer = server.request("POST", &route(route_name), &headers, body.to_string().as_bytes()).json();
        answer["cursor"].as_str().unwrap().to_owned()
    };
    let empty = read(&server, "get-logs", &[]).expect_header("moca-cursor").to_owned();
    let one = save("save-log", json!({"message": "one"}));
    let three = save("save-logs", json!({"logs": [{"msg": "two"}, {"msg": "three"}]}));
    let filtered = save("save-log", json!({"message": "debug", "level": 0}));
    assert_eq!(filtered, three, "nothing was stored: the current end");
    let four = save("save-log", json!({"message": "four"}));
    let all = objects(&read(&server, "get-logs", &[("output", "json")]));
    let given: Vec<&str> = all.iter().map(|object| object["cursor"].as_str().unwrap()).collect();
    assert_eq!([given[0], given[2], given[3]], [&one, &three, &four]);
    for (cursor, order, expected) in [
        (&empty, "asc", &["one", "two", "three", "four"][..]),
        (&one, "asc", &["two", "three", "four"]),
        (&three, "asc", &["four"]),
        (&four, "asc", &[]),
        (&four, "desc", &["three", "two", "one"]),
        (&three, "desc", &["two", "one"]),
        (&one, "desc", &[]),
        (&empty, "desc", &[]),
    ] {
        let response = read(&server, "get-logs", &[("cursor", cursor), ("order", order), ("output", "json")]);
        assert_eq!(messages(&response), expected, "{order}");
    }
    for name in ["get-logs", "get-latest-logs", "download-logs"] {
        assert_eq!(read(&server, name, &[]).expect_header("moca-cursor"), four, "{name}");
    }
    // An empty page means that the end is reached.
    assert_eq!(read(&server, "get-logs", &[("contains", "absent")]).expect_header("moca-cursor"), four);
    assert_eq!(read(&server, "get-logs", &[("cursor", &four)]).expect_header("moca-cursor"), four);
}

#[test]
fn a_cursor_from_before_a_clear_is_gone_and_the_answer_names_the_oldest() {
    let mut server = Setup::new().start();
    server.save("old");
    let gone = read(&server, "get-logs", &[("limit", "1"), ("output", "json")]);
    let before = read(&server, "get-logs", &[("contains", "absent"), ("until", "2000-01-01")]);
    server.save("older than the clear");
    let end = read(&server, "get-logs", &[]).expect_header("moca-cursor").to_owned();
    server.root_get("clear-logs").success();
    assert_eq!(
        read(&server, "get-logs", &[("cursor", &end)]).status,
        200,
        "the end of what was cleared stays valid"
    );
    server.save_batch(&json!([{"msg": "new 1"}, {"msg": "new 2"}])).success();
    server.restart();
    for cursor in [&gone, &before].map(|response| response.expect_header("moca-cursor").to_owned()) {
        for name in ["get-logs", "get-latest-logs", "download-logs"] {
            let response = read(&server, name, &[("cursor", &cursor)]);
            response.problem(410);
            let oldest = response.json()["oldest"].as_str().unwrap().to_owned();
            let rest = read(&server, name, &[("cursor", &oldest), ("order", "asc"), ("output", "json")]);
            assert_eq!(messages(&rest), ["new 1", "new 2"], "{name}");
            let head = server.request("HEAD", &format!("{}?cursor={cursor}", route(name)), &ACCESS, b"");
            assert_eq!(head.status, 410);
        }
    }
    assert_eq!(
        messages(&read(&server, "get-logs", &[("cursor", &end), ("output", "json")])),
        ["new 1", "new 2"]
    );
}

#[test]
fn wrong_values_are_refused_and_name_the_parameter() {
    let server = Setup::new().start();
    let other = Setup::new().start();
    other.save("elsewhere");
    let foreign = read(&other, "get-logs", &[]).expect_header("moca-cursor").to_owned();
    server.save("here");
    let ours = read(&server, "get-logs", &[]).expect_header("moca-cursor").to_owned();
    let altered: String = ours.chars().rev().collect();
    for (name, value) in [
        ("since", "soon"),
        ("until", "2026-02-30"),
        ("level", "5"),
        ("regex", "("),
        ("regex", "(a{99}){99}{99}"),
        ("client", "localhost"),
        ("limit", "0"),
        ("order", "up"),
        ("output", "xml"),
        ("cursor", "x"),
        ("cursor", &foreign),
        ("cursor", &altered),
    ] {
        for route_name in ["get-logs", "get-latest-logs", "download-logs"] {
            let detail = read(&server, route_name, &[(name, value)]).problem(400);
            assert!(detail.starts_with(&format!("{name} parameter format error.")), "{detail}");
        }
    }
    for value in ["", "x"] {
        let many = [("key", value); 101];
        let detail = read(&server, "get-logs", &many).problem(400);
        assert!(detail.starts_with("key parameter format error."), "blank ones are counted too: {detail}");
        assert_eq!(read(&server, "get-logs", &many[..100]).status, 200);
    }
    // A client without permission does not learn which parameter is invalid.
    server.get_with(&format!("{}?regex=(", route("get-logs")), &[("API-KEY", KEY)]).problem(403);
    assert_eq!(server.get_with(&route("get-logs"), &[&ACCESS[..], &[("LEVEL", "9")]].concat()).status, 200);
}

#[test]
fn head_has_the_headers_of_get() {
    let (server, _) = start_with_mixed_log();
    for name in ["get-logs", "get-latest-logs", "download-logs"] {
        for parameters in [
            &[][..],
            &[("level", "3")],
            &[("contains", "needle"), ("output", "json")],
            &[("order", "desc"), ("output", "ndjson")],
            &[("limit", "5")],
            &[("contains", "absent")],
            &[("since", "1h"), ("limit", "2"), ("order", "desc")],
        ] {
            let get = read(&server, name, parameters);
            let target = format!("{}?{}", route(name), encode_pairs(parameters));
            let head = server.request("HEAD", &target, &ACCESS, b"");
            assert_eq!((head.status, head.body.len()), (200, 0));
            for header in [
                "moca-cursor",
                "content-type",
                "content-length",
                "content-disposition",
                "etag",
                "accept-ranges",
            ] {
                assert_eq!(head.header(header), get.header(header), "{name} {parameters:?} {header}");
            }
            if let Some(length) = get.header("content-length") {
                assert_eq!(length, get.body.len().to_string());
            }
        }
    }
}

#[test]
fn get_latest_logs_returns_a_json_array_of_lines_by_default() {
    let server = Setup::new().start();
    for n in 0..5 {
        server.save(&format!("m{n}"));
    }
    let lines = server.log_lines();
    let newest: Vec<&String> = lines.iter().rev().collect();
    assert_eq!(read(&server, "get-latest-logs", &[]).json(), json!(newest));
    assert_eq!(read(&server, "get-latest-logs", &[("limit", "2")]).json(), json!(newest[..2]));
    assert_eq!(
        read(&server, "get-latest-logs", &[("limit", "2"), ("order", "asc")]).json(),
        json!(lines[3..])
    );
    assert_eq!(read(&server, "get-latest-logs", &[("contains", "m1")]).json(), json!([lines[1]]));
    let text = read(&server, "get-latest-logs", &[("limit", "2"), ("output", "text")]);
    assert!(text.expect_header("content-type").starts_with("text/plain"));
    assert_eq!(text.text(), format!("{}\n{}\n", lines[4], lines[3]));
    let objects = objects(&read(&server, "get-latest-logs", &[("limit", "1"), ("output", "json")]));
    let names: Vec<&String> = objects[0].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 9);
    assert_eq!(objects[0]["route"], "save-log");
    assert_eq!(objects[0]["seq"], 5);
}

#[test]
fn a_selection_is_downloaded_whole() {
    let server = Setup::new().start();
    server.save("a needle");
    server.save("hay");
    let range = [&ACCESS[..], &[("Range", "bytes=0-3")]].concat();
    let target = format!("{}?contains=needle", route("download-logs"));
    let response = server.get_with(&target, &range);
    assert_eq!(response.status, 200, "the memory for one answer");
    assert_eq!(response.text().lines().count(), 1);
    assert_eq!(response.expect_header("accept-ranges"), "none");
    assert_eq!(response.header("etag"), None);
    assert!(response.expect_header("content-disposition").contains("filename=\"sample1.log\""));
    let json = read(&server, "download-logs", &[("output", "json")]);
    assert!(json.expect_header("content-disposition").contains("filename=\"sample1.log.json\""));
    assert_eq!(messages(&json), ["a needle", "hay"]);
}

#[test]
fn a_foreign_line_is_returned_with_its_record() {
    let server = Setup::new().start();
    server.save("ours");
    std::fs::write(
        server.log_path(),
        [&std::fs::read(server.log_path()).unwrap()[..], b"theirs \xff\n"].concat(),
    )
    .unwrap();
    let all = read(&server, "get-logs", &[]);
    assert!(all.body.ends_with(b"theirs \xff\n"), "as it stands in the file");
    let all = objects(&read(&server, "get-logs", &[("output", "json")]));
    assert_eq!(all[1]["message"], "theirs \u{fffd}");
    for name in ["time", "level", "client", "key", "route", "pid", "seq"] {
        assert!(all[1][name].is_null() && !all[0][name].is_null(), "{name}: {all:?}");
    }
    let after = all[1]["cursor"].as_str().unwrap();
    assert_eq!(read(&server, "get-logs", &[("cursor", after)]).body, b"");
    let first = all[0]["cursor"].as_str().unwrap();
    assert_eq!(read(&server, "get-logs", &[("cursor", first)]).body, b"theirs \xff\n");
    for parameters in
        [[("contains", "theirs")], [("contains", "ours")], [("level", "0")], [("since", "2000-01-01")]]
    {
        let found = read(&server, "get-logs", &parameters).body;
        assert!(found.ends_with(b">ours\ntheirs \xff\n"), "{parameters:?}: {found:?}");
    }
    for parameters in [[("contains", "nobody")], [("level", "4")], [("until", "2000-01-01")]] {
        assert_eq!(read(&server, "get-logs", &parameters).body, b"", "{parameters:?}");
    }
}
