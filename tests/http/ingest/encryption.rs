//! Tests of encrypted bodies. Bodies from clients of version 1.0.0 are stored, and all
//! undecryptable bodies get the same refusal.

use std::time::Duration;

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use data_encoding::BASE64;
use serde_json::json;

use crate::harness::{Conn, KEY, Response, Server, Setup, eventually, route};

const SECRET: &str = "0123456789abcdef";
const IV: [u8; 16] = *b"an IV of a test!";

fn encryptor(iv: [u8; 16]) -> cbc::Encryptor<aes::Aes128> {
    let key: [u8; 16] = SECRET.as_bytes().try_into().unwrap();
    cbc::Encryptor::new(&key.into(), &iv.into())
}

fn encrypt(plain: &[u8]) -> String {
    let mut text = plain.to_vec();
    text.resize(plain.len() + 16, 0);
    let text = encryptor(IV).encrypt_padded::<Pkcs7>(&mut text, plain.len()).unwrap();
    BASE64.encode(&[&IV, text].concat())
}

/// Encrypts whole blocks. The end of the last block is the padding, valid or not.
fn encrypt_blocks(blocks: &[u8]) -> String {
    let mut text = blocks.to_vec();
    let text = encryptor(IV).encrypt_padded::<NoPadding>(&mut text, blocks.len()).unwrap();
    BASE64.encode(&[&IV, text].concat())
}

fn server() -> Server {
    Setup::new().server("pyjs_secret", json!(SECRET)).key("bench", &json!({})).start()
}

fn send(server: &Server, target: &str, content_type: &str, body: &[u8]) -> Response {
    let headers = [("Moca-Encryption", "1"), ("Content-Type", content_type)];
    server.request("POST", target, &headers, body)
}

#[test]
fn bodies_of_version_1_0_0_clients_are_stored() {
    let server = server();
    let vector = "AAECAwQFBgcICQoLDA0OD77K3iqS5081x8Fl9mkdt+lX2Z7UiOTFxrsSgQkgnw+z9ljdcx+QUqkWId+VDVuJz2jny0MYXVVEIONtPAbMScg=";
    for value in ["1", "", "anything"] {
        let headers = [("Moca-Encryption", value), ("Content-Type", "application/json")];
        server.request("POST", &route("save-log"), &headers, vector.as_bytes()).success();
    }
    let line = server.parsed().pop().unwrap();
    assert_eq!((line.level.as_str(), line.message.as_str()), ("WARNING", "encrypted hello"));
    assert_eq!(server.messages().len(), 3);
    // Plain requests still work.
    server.save("in clear");
    assert_eq!(server.messages().len(), 4);
}

#[test]
fn the_plaintext_is_read_by_its_content_type() {
    let server = server();
    let save = route("save-log");
    let form = encrypt(format!("api_key={KEY}&message=a+form%21").as_bytes());
    send(&server, &save, "application/x-www-form-urlencoded", form.as_bytes()).success();
    let parts = format!(
        "--B\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\n{KEY}\r\n--B\r\n\
         Content-Disposition: form-data; name=\"message\"\r\n\r\nparts\r\n--B--\r\n"
    );
    send(&server, &save, "multipart/form-data; boundary=B", encrypt(parts.as_bytes()).as_bytes()).success();
    let batch = json!({"api_key": KEY, "logs": [{"message": "one"}, {"message": "ü".repeat(8000)}]});
    let batch = encrypt(batch.to_string().as_bytes());
    send(&server, &route("save-logs"), "application/json", batch.as_bytes()).success();
    let unnamed = encrypt(json!({"api_key": KEY, "message": "unnamed"}).to_string().as_bytes());
    server.request("POST", &save, &[("Moca-Encryption", "")], unnamed.as_bytes()).success();
    // Only the body is encrypted. Target and headers are plain.
    let message = encrypt(json!({"message": "m"}).to_string().as_bytes());
    let target = format!("{save}?api_key={KEY}");
    send(&server, &target, "application/json", message.as_bytes()).success();
    assert_eq!(server.messages()[..3], ["a form!", "parts", "one"]);
    assert_eq!(server.messages()[4..], ["unnamed", "m"]);
    let nobody = encrypt(json!({"api_key": "nobody", "message": "m"}).to_string().as_bytes());
    send(&server, &save, "application/json", nobody.as_bytes()).unauthorized("Unknown API-KEY.");
    let keyless = encrypt(json!({"message": "m"}).to_string().as_bytes());
    send(&server, &save, "application/json", keyless.as_bytes()).unauthorized("Missing API-KEY.");
}

/// Returns the raw answer without its date.
fn raw_answer(server: &Server, request: &str, body: &[u8]) -> String {
    let mut conn: Conn = server.connect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    conn.send_raw(format!("{request}Host: a\r\nMoca-Encryption: 1\r\n{length}\r\n").as_bytes()).unwrap();
    conn.send_raw(body).unwrap();
    conn.half_close();
    let answer = String::from_utf8(conn.read_to_end()).unwrap();
    answer.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn all_undecryptable_bodies_get_the_same_refusal() {
    let with = server();
    let without = Setup::new().start();
    let good = json!({"api_key": KEY, "message": "long enough for several blocks"}).to_string();
    let whole = encrypt(good.as_bytes());
    let mut unpadded = good.as_bytes().to_vec();
    unpadded.resize(unpadded.len().next_multiple_of(16), b' ');
    let padded = |text: &[u8], padding: &[u8]| encrypt_blocks(&[text, padding].concat());
    let foreign = encrypt_blocks(b"\x9f\x01rubbish, but \x01");
    let bodies = [
        ("nothing", String::new()),
        ("not base64", "!!!! no base64 !!!!".to_owned()),
        ("in clear", good),
        ("one digit", "A".to_owned()),
        ("no whole IV", BASE64.encode(&[1; 15])),
        ("an IV alone", BASE64.encode(&IV)),
        ("no whole block", BASE64.encode(&[1; 40])),
        ("cut short", whole[..whole.len() - 24].to_owned()),
        ("cut by a block", BASE64.encode(&BASE64.decode(whole.as_bytes()).unwrap()[..48])),
        ("no padding", encrypt_blocks(&unpadded)),
        ("padding 0", padded(&[b' '; 16], &[0; 16])),
        ("padding 17", padded(&[b' '; 16], &[17; 16])),
        ("uneven padding", padded(&[b' '; 16], &[b"{\"a\": 1234567"[..].as_ref(), &[2, 3, 3]].concat())),
        ("a padding that is right by chance", foreign),
        ("random", BASE64.encode(&crate::harness::sha256_hex("random").into_bytes())),
    ];
    let mut answers = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (name, body) in &bodies {
        for content_type in
            ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B"]
        {
            let request = format!("POST {} HTTP/1.1\r\nContent-Type: {content_type}\r\n", route("save-log"));
            for (server, place) in [(&with, "with"), (&without, "without")] {
                for key in [String::new(), format!("API-KEY: {KEY}\r\n")] {
                    let answer = raw_answer(server, &format!("{request}{key}"), body.as_bytes());
                    answers.entry(answer).or_default().push(format!("{name} {content_type} {place} {key}"));
                }
            }
        }
    }
    for key in [String::new(), format!("API-KEY: {KEY}\r\n")] {
        let answer = raw_answer(&with, &format!("GET {} HTTP/1.1\r\n{key}", route("save-log")), b"");
        answers.entry(answer).or_default().push("GET".to_owned());
    }
    // A server without the secret decrypts no body, not even a valid one.
    let request = format!("POST {} HTTP/1.1\r\nContent-Type: application/json\r\n", route("save-log"));
    answers.entry(raw_answer(&without, &request, whole.as_bytes())).or_default().push("no secret".to_owned());
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let answer = answers.keys().next().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\n"), "{answer}");
    assert!(answer.ends_with(r#""status":400,"detail":"The body can't be decrypted."}"#), "{answer}");
    // A refused key is refused before the body is decrypted.
    let request = format!("{request}API-KEY: nobody\r\n");
    assert!(raw_answer(&with, &request, whole.as_bytes()).starts_with("HTTP/1.1 401"));
    assert!(with.messages().is_empty() && without.messages().is_empty());
    with.assert_alive();
}

#[test]
fn every_altered_body_is_refused() {
    // A change of the preceding ciphertext changes the end of a block and so its padding. If the
    // answers differed, they would be a padding oracle.
    let server = server();
    let foreign = json!({"api_key": KEY, "message": "what nobody else should read"}).to_string();
    let foreign = BASE64.decode(encrypt(foreign.as_bytes()).as_bytes()).unwrap();
    let mut conn = server.connect();
    let mut answers = std::collections::BTreeSet::new();
    for content_type in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=B",
        "",
    ] {
        // The client has a valid key in a header, so only the body decides.
        let target = format!("{}?api_key={KEY}&message=oracle", route("save-log"));
        let headers = [("Moca-Encryption", "1"), ("Content-Type", content_type)];
        for block in [0, 2] {
            let pair = &foreign[16 * block..16 * (block + 2)];
            for change in 0..=255_u8 {
                let mut forged = pair.to_vec();
                forged[15] ^= change;
                let response = conn.request("POST", &target, &headers, BASE64.encode(&forged).as_bytes());
                answers.insert((response.status, response.text()));
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 400);
}

#[test]
fn a_changed_secret_applies_at_a_reload() {
    let server = Setup::new().start();
    let body = encrypt(json!({"api_key": KEY, "message": "m"}).to_string().as_bytes());
    let send = || send(&server, &route("save-log"), "application/json", body.as_bytes());
    send().refused(400, "The body can't be decrypted.");
    let soon = Duration::from_millis(2500);
    server.edit("server.json", &json!({"pyjs_secret": SECRET}).to_string());
    eventually("the secret is in force", soon, || send().status == 200);
    server.edit("server.json", &json!({"pyjs_secret": "another secret!!"}).to_string());
    eventually("another one is in force", soon, || send().status == 400);
    assert!(!server.stderr().contains("not in force"), "{}", server.stderr());
    assert!(
        !server.stderr().contains(SECRET) && !server.stderr().contains("another secret"),
        "stderr contains a secret"
    );
}

#[test]
fn large_bodies_are_decrypted_within_the_limits() {
    let server = Setup::new()
        .server("pyjs_secret", json!(SECRET))
        .http("request_max_size = 2000000")
        .http("max_body_memory = 8000000")
        .start();
    assert_eq!(server.get("/status").status, 200);
    let before = server.memory_now();
    let large = |spaces: usize| {
        let message = json!({"api_key": KEY, "message": "large"}).to_string();
        encrypt(format!("{}{message}", " ".repeat(spaces)).as_bytes())
    };
    send(&server, &route("save-log"), "application/json", large(1_400_000).as_bytes()).success();
    send(&server, &route("save-log"), "application/json", large(1_600_000).as_bytes()).problem(413);
    let broken = format!("{}!", large(1_000_000));
    send(&server, &route("save-log"), "application/json", broken.as_bytes())
        .refused(400, "The body can't be decrypted.");
    assert_eq!(server.messages(), ["large"]);
    let growth = server.memory_peak() - before;
    assert!(growth < 20_000_000, "{growth} bytes");
}
