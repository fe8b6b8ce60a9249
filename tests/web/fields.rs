//! Tests of records with fields on the page.

use serde_json::json;

use crate::harness::{Server, Setup};
use crate::page::{Page, strings};

/// Starts a server whose file has these texts behind the head of a line, a second apart.
fn start(texts: &[&str]) -> Server {
    let setup = Setup::new();
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let line = |(n, text): (usize, &&str)| {
        format!("[INFO](2026-11-23 05:02:{n:02}.000000+01:00)<192.0.2.7|web|save-log|7|{n}>{text}\n")
    };
    std::fs::write(&path, texts.iter().enumerate().map(line).collect::<String>()).unwrap();
    setup.start()
}

/// Returns the texts of the fields of each row, or an empty text.
fn fields(page: &Page) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#rows li')].map(e => e.querySelector('.fields')?.textContent ?? '')";
    strings(&page.browser.run(script))
}

#[test]
fn fields_stand_behind_the_message_and_at_is_the_time_of_the_sender() {
    let texts = [
        "an old line",
        r#"payment failed \| at=2026-11-23T04:01:59.500000Z user=bob order="8812 b""#,
        r#" \| path="C:\\new \"x\"" empty="" error="line 1\nline 2""#,
        r"old \| not all fields",
    ];
    let server = start(&texts);
    let Some(page) = Page::signed_in("fields", &server) else { return };
    page.shows(&["an old line", "payment failed", "", r"old \| not all fields"]);
    assert_eq!(
        fields(&page),
        [
            "",
            r#"at=2026-11-23T04:01:59.500000Z user=bob order="8812 b""#,
            r#"path="C:\\new \"x\"" empty="" error="line 1\nline 2""#,
            "",
        ]
    );
    let time = page
        .browser
        .run("const at = document.querySelector('#rows .fields time'); return [at.dateTime, at.title]");
    let title = "The sender's time, 1.5 s before the arrival";
    assert_eq!(strings(&time), ["2026-11-23T04:01:59.500000Z", title]);
    // Fields are quieter than messages, but have the contrast of WCAG AA.
    let colours = page.browser.run(
        "const colour = css => getComputedStyle(document.querySelector(css)).color;
        return [colour('#rows .message'), colour('#rows .fields'), colour('#rows .about')]",
    );
    let colours = strings(&colours);
    assert!(colours[0] != colours[1] && colours[1] == colours[2], "{colours:?}");
    // A copied row has the fields behind the message.
    let copied = page.browser.run(
        "getSelection().selectAllChildren(document.querySelectorAll('#rows li')[1]); return String(getSelection())",
    );
    let line = r#"payment failed at=2026-11-23T04:01:59.500000Z user=bob order="8812 b""#;
    assert!(copied.as_str().unwrap().contains(line), "{copied}");
    page.browser.screenshot("rows");
    // The text of a filter is searched in the fields as well, for stored and for new records.
    page.filter("contains", "bob");
    page.shows(&["payment failed"]);
    let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
    let new = "[ERROR](2026-11-23 05:03:00.000000+01:00)<192.0.2.7|web|save-log|7|9>another \\| name=bobby\n";
    std::io::Write::write_all(&mut file, new.as_bytes()).unwrap();
    page.shows(&["payment failed", "another"]);
    assert_eq!(fields(&page)[1], "name=bobby");
    page.browser.assert_well();
}

#[test]
fn hostile_fields_are_text() {
    let bidi = "b=\"\u{202e}nimda\u{202c} \\u{1b}[31m\"";
    let texts = [
        format!(r#"m \| <script>alert(1)</script>="<img src=x onerror=alert(1)>" {bidi}"#),
        r"m \| __proto__=polluted constructor=x toString=</span></li><h1> at=yesterday".to_owned(),
    ];
    let server = start(&texts.each_ref().map(String::as_str));
    let Some(page) = Page::signed_in("hostile-fields", &server) else { return };
    page.shows(&["m", "m"]);
    let expected = [
        r#"<script>alert(1)</script>="<img src=x onerror=alert(1)>" b="\u{202e}nimda\u{202c} \u{1b}[31m""#,
        r"at=yesterday __proto__=polluted constructor=x toString=</span></li><h1>",
    ];
    assert_eq!(fields(&page), expected);
    let elements =
        "return [...new Set([...document.querySelectorAll('#rows *')].map(e => e.localName))].sort()";
    assert_eq!(page.browser.run(elements), json!(["li", "span", "time"]));
    assert_eq!(page.browser.run("return document.querySelectorAll('#rows .fields .control').length"), 3);
    page.browser.assert_well();
}

#[test]
fn many_fields_are_folded_until_the_operator_opens_them() {
    let many: Vec<String> = (0..128).map(|n| format!("field{n}=value{n}")).collect();
    let many = many.join(" ");
    let long = format!("long=\"{}\"", "x ".repeat(2000));
    let texts = [format!(r"m \| {many}"), format!(r"m \| {long}"), r"m \| a=1".to_owned()];
    let server = start(&texts.each_ref().map(String::as_str));
    let Some(page) = Page::signed_in("many-fields", &server) else { return };
    page.shows(&["m", "m", "m"]);
    let shown = fields(&page);
    assert!(shown[0].len() < 700 && shown[0].ends_with("… Show all 128 fields"), "{}", shown[0]);
    assert!(shown[1].len() < 700 && shown[1].ends_with("… Show the whole field"), "{}", shown[1]);
    page.browser.screenshot("folded");
    for _ in 0..2 {
        page.browser.click("#rows .fields button");
    }
    assert_eq!(fields(&page), [&*many, &*long, "a=1"]);
    page.browser.assert_well();
}

#[test]
fn fields_of_new_records_are_shown_on_a_narrow_screen() {
    let server = start(&[]);
    let Some(page) = Page::signed_in("narrow-fields", &server) else { return };
    page.browser.resize(360, 800);
    let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
    let fields_text = format!("id={}", "0123456789abcdef".repeat(8));
    let line = format!(
        "[INFO](2026-11-23 05:03:00.000000+01:00)<192.0.2.7|web|save-log|7|9>new \\| {fields_text}\n"
    );
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    page.shows(&["new"]);
    assert_eq!(fields(&page), [fields_text]);
    let fits = "return document.documentElement.scrollWidth <= innerWidth
        && document.querySelector('#scroller').scrollWidth <= document.querySelector('#scroller').clientWidth";
    assert_eq!(page.browser.run(fits), true, "nothing reaches beyond the screen");
    page.browser.screenshot("narrow");
    page.browser.assert_well();
}
