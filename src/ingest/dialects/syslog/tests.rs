//! Tests of messages as devices and programs send them, and of the framing of connections.

use super::*;
use crate::record::Entry;
use proptest::prelude::*;

fn shown(entry: &Entry<'_>) -> String {
    let mut text = format!("{} {}", entry.level, entry.message);
    if let Some(at) = entry.at {
        text.push_str(&format!(" at={}", String::from_utf8_lossy(&at.rfc3339())));
    }
    for field in entry.fields {
        text.push_str(&format!(" {}={}", field.name(), field.value()));
    }
    text
}

fn read(message: &[u8]) -> String {
    let mut batch = Batch::default();
    let rules = ReadRules::default();
    Datagrams::default().read("", message, &rules, &mut batch).unwrap();
    assert_eq!(batch.len(), 1);
    shown(&batch.first().unwrap())
}

/// Returns the text of a time in the zone of the server, in UTC.
fn local(text: &str) -> String {
    let time = crate::ingest::timestamp::time_of_text(text, jiff::tz::TimeZone::system).unwrap();
    String::from_utf8(time.rfc3339().to_vec()).unwrap()
}

#[test]
fn messages_of_rfc_5424_are_read() {
    for (message, expected) in [
        (
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick",
            "CRITICAL 'su root' failed for lonvick at=2003-10-11T22:14:15.003000Z level=crit facility=auth host=mymachine.example.com app=su msgid=ID47",
        ),
        (
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
            "INFO %% It's time to make the do-nuts. at=2003-08-24T12:14:15.000003Z level=notice facility=local4 host=192.0.2.1 app=myproc procid=8710",
        ),
        (
            "<165>1 2003-10-11T22:14:15.003Z host app - ID47 [a@1 x=\"1\" y=\"q\\\"b\\\\c\\]d\"][b z=\"\"][c] text",
            "INFO text at=2003-10-11T22:14:15.003000Z level=notice facility=local4 host=host app=app msgid=ID47 a@1.x=1 a@1.y=q\"b\\c]d b.z= c=",
        ),
        ("<11>1 - - - - - -", "ERROR  level=err facility=user"),
        ("<15>1 - - - - - [x y=\"z\"]", "DEBUG  facility=user x.y=z"),
        ("<12>1 - - - - - - two\nlines\n", "WARNING two\nlines facility=user"),
    ] {
        assert_eq!(read(message.as_bytes()), expected, "{message}");
    }
}

#[test]
fn messages_of_rfc_3164_are_read_as_devices_send_them() {
    let at = local("2003-10-11 22:14:15");
    for (message, expected) in [
        (
            "<34>Oct 11 2003 22:14:15 mymachine su: 'su root' failed",
            "CRITICAL 'su root' failed at=AT level=crit facility=auth host=mymachine app=su",
        ),
        (
            "<13>Oct 11 22:14:15 2003 host cron[123]: job",
            "INFO job at=AT level=notice facility=user host=host app=cron procid=123",
        ),
        (
            "<13>Oct 11 2003 22:14:15 cron[123]: job",
            "INFO job at=AT level=notice facility=user app=cron procid=123",
        ),
        ("<13>Oct 11 2003 22:14:15 cron: job", "INFO job at=AT level=notice facility=user app=cron"),
        (
            "<13>Oct 11 2003 22:14:15 host just words",
            "INFO just words at=AT level=notice facility=user host=host",
        ),
        (
            "<22>Oct 11 2003 22:14:15 mx postfix/smtpd[4]: connect",
            "INFO connect at=AT facility=mail host=mx app=postfix/smtpd procid=4",
        ),
        (
            "<166>Oct 11 2003 22:14:15: %ASA-6-302013: Built inbound",
            "INFO Built inbound at=AT facility=local4 app=%ASA-6-302013",
        ),
        (
            "<166>Oct 11 2003 22:14:15 fw : %ASA-6-302013: Built",
            "INFO Built at=AT facility=local4 host=fw app=%ASA-6-302013",
        ),
        (
            "<189>45: *Oct 11 2003 22:14:15: %SYS-5-CONFIG_I: Configured",
            "INFO Configured at=AT level=notice facility=local7 app=%SYS-5-CONFIG_I sequence=45",
        ),
        (
            "<189>45: router: Oct 11 2003 22:14:15: %SYS-5-CONFIG_I: Configured",
            "INFO Configured at=AT level=notice facility=local7 host=router app=%SYS-5-CONFIG_I sequence=45",
        ),
        (
            "<13>Oct 11 2003 22:14:15 fe80::1 su: x",
            "INFO x at=AT level=notice facility=user host=fe80::1 app=su",
        ),
    ] {
        assert_eq!(read(message.as_bytes()), expected.replace("AT", &at), "{message}");
    }
    for (message, expected) in [
        (
            "<13>2003-10-11T22:14:15.5+02:00 host app[1]: text",
            "INFO text at=2003-10-11T20:14:15.500000Z level=notice facility=user host=host app=app procid=1",
        ),
        (
            "<13>Oct 11 2003 22:14:15.003 UTC: %X-5-Y: text",
            "INFO text at=2003-10-11T22:14:15.003000Z level=notice facility=user app=%X-5-Y",
        ),
        (
            "<134>1 1374543213.342705328 MX84 urls src=1.2.3.4:5 x",
            "INFO urls src=1.2.3.4:5 x at=2013-07-23T01:33:33.342705Z facility=local0 host=MX84",
        ),
        ("<14>message of Python\0", "INFO message of Python facility=user"),
        ("<14>app: text", "INFO text facility=user app=app"),
        ("<14>host app[7]: text", "INFO text facility=user host=host app=app procid=7"),
        ("<14>Connection failed: timeout", "INFO Connection failed: timeout facility=user"),
        ("<14>", "INFO  facility=user"),
        ("<0>x", "CRITICAL x level=emerg facility=kern"),
        ("<191>x", "DEBUG x facility=local7"),
        ("\u{feff}<14>x", "INFO x facility=user"),
        (
            "<189>date=2026-01-01 time=00:00:00 devname=\"x\"",
            "INFO date=2026-01-01 time=00:00:00 devname=\"x\" level=notice facility=local7",
        ),
    ] {
        assert_eq!(read(message.as_bytes()), expected, "{message}");
    }
}

#[test]
fn a_time_without_a_year_is_near() {
    let now = jiff::Timestamp::now();
    for days in [-330, -200, -30, 0, 25] {
        let then = now.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
        let local = jiff::tz::TimeZone::system().to_datetime(then);
        let text = format!("<13>{} host app: x", local.strftime("%b %e %H:%M:%S"));
        let mut batch = Batch::default();
        Datagrams::default().read("", text.as_bytes(), &ReadRules::default(), &mut batch).unwrap();
        let at = batch.first().unwrap().at.unwrap().micros() / 1_000_000;
        assert!(at.abs_diff(then.as_second()) <= 3_600, "{text}");
    }
}

#[test]
fn text_is_stored_as_it_is() {
    for text in [
        "no priority",
        "<192>x",
        "<1921>x",
        "<>x",
        "<-1>x",
        "< 1>x",
        "<14x",
        "Oct 11 22:14:15 host app: x",
        "[14] x",
        "\u{feff}",
    ] {
        assert_eq!(read(text.as_bytes()), format!("INFO {}", text.trim_start_matches('\u{feff}')));
    }
    assert_eq!(read(b"<14>a\xff\xc3"), "INFO a\u{fffd}\u{fffd} facility=user utf8=replaced");
    let mut batch = Batch::default();
    for empty in [b"".as_slice(), b"\n", b"\0"] {
        assert!(Datagrams::default().read("", empty, &ReadRules::default(), &mut batch).is_err());
    }
}

#[test]
fn fields_are_left_out_where_the_log_says_so() {
    let message = b"<13>Oct 11 2003 22:14:15 host app[1]: text";
    let read = |rules: &ReadRules<'_>| {
        let mut batch = Batch::default();
        Datagrams::default().read("", message, rules, &mut batch).unwrap();
        shown(&batch.first().unwrap())
    };
    assert_eq!(read(&ReadRules { keeps_fields: false, ..ReadRules::default() }), "INFO text");
    let dropped = ["host".to_owned(), "facility".to_owned()];
    let rules = ReadRules { dropped_fields: &dropped, ..ReadRules::default() };
    assert!(read(&rules).ends_with("level=notice app=app procid=1"));
}

/// Reads a stream in pieces and returns the messages.
fn stream(bytes: &[u8], pieces: &[usize], rules: &ReadRules<'_>) -> Vec<String> {
    let (mut frames, mut messages, mut buffer) = (Frames::default(), Vec::new(), Vec::new());
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    loop {
        let size = (*pieces.next().unwrap()).clamp(1, rest.len().max(1)).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        buffer.extend_from_slice(piece);
        let is_end = rest.is_empty();
        loop {
            let mut batch = Batch::default();
            let count = frames.read(&buffer, is_end, rules, &mut batch, &mut Vec::new()).unwrap();
            messages.extend(
                batch.entries(crate::record::Level::Debug).iter().map(|entry| entry.message.to_owned()),
            );
            buffer.drain(..count);
            if count == 0 {
                break;
            }
        }
        assert!(buffer.len() <= frames.max_message_bytes());
        if is_end {
            return messages;
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        near in "(<[0-9]{1,3}>)?(1 )?[A-Z]?[a-z0-9 :.\\[\\]\"=\\\\T-]{0,60}",
        pieces in prop::collection::vec(1_usize..40, 1..8),
    ) {
        for bytes in [bytes.as_slice(), near.as_bytes()] {
            if !without_end(bytes).is_empty() {
                drop(read(bytes));
            }
            let rules = ReadRules::default();
            let whole = stream(bytes, &[usize::MAX], &rules);
            prop_assert_eq!(stream(bytes, &pieces, &rules), whole);
        }
    }

    #[test]
    fn framed_messages_come_back_in_any_pieces(
        messages in prop::collection::vec("[!-~é][ -~é]{0,29}", 1..10),
        counted in prop::collection::vec(any::<bool>(), 10),
        pieces in prop::collection::vec(1_usize..20, 1..8),
    ) {
        let mut bytes = Vec::new();
        for (message, counted) in messages.iter().zip(&counted) {
            let message = format!("<14>1 - - - - - - {message}");
            if *counted {
                bytes.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
            } else {
                bytes.extend_from_slice(format!("{message}\n").as_bytes());
            }
        }
        prop_assert_eq!(stream(&bytes, &pieces, &ReadRules::default()), messages);
    }

    #[test]
    fn generated_messages_come_back(
        severity in 0_u8..8, facility in 0_u8..24, host in "[a-z]{1,9}", app in "[a-z]{1,9}", value in "[ -~]{0,20}",
        text in "[ -~]{0,30}",
    ) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let message = format!(
            "<{}>1 2026-10-11T22:14:15.123456Z {host} {app} 1 id [a@1 b=\"{escaped}\"] {text}",
            facility * 8 + severity
        );
        let mut batch = Batch::default();
        Datagrams::default().read("", message.as_bytes(), &ReadRules::default(), &mut batch).unwrap();
        let entry = batch.first().unwrap();
        prop_assert_eq!(entry.message, text.strip_prefix(' ').unwrap_or(&text));
        let field = |name: &str| entry.fields.iter().find(|field| field.name() == name).map(|field| field.value());
        prop_assert_eq!(field("host"), Some(&*host));
        prop_assert_eq!(field("app"), Some(&*app));
        prop_assert_eq!(field("a@1.b"), Some(&*value));
        prop_assert_eq!(entry.at.unwrap().micros() % 1_000_000, 123_456);
    }
}
