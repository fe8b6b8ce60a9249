use aes::cipher::BlockModeEncrypt;
use aes::cipher::block_padding::Pkcs7;
use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;

const SECRET: &[u8; 16] = b"0123456789abcdef";

fn encrypt(plain: &[u8], iv: [u8; 16]) -> Vec<u8> {
    let mut text = plain.to_vec();
    text.resize(plain.len() + 16, 0);
    let cipher = cbc::Encryptor::<Aes128>::new(&(*SECRET).into(), &iv.into());
    let text = cipher.encrypt_padded::<Pkcs7>(&mut text, plain.len()).unwrap();
    [&iv, text].concat()
}

fn opened(base64: &[u8]) -> Option<(Vec<u8>, Decryption)> {
    open(base64, SECRET).map(|(plain, decryption)| (plain.to_vec(), decryption))
}

#[test]
fn body_from_the_client_of_the_original_is_decrypted() {
    let sent = b"AAECAwQFBgcICQoLDA0OD77K3iqS5081x8Fl9mkdt+lX2Z7UiOTFxrsSgQkgnw+z9ljdcx+QUqkWId+VDVuJz2jny0MYXVVEIONtPAbMScg=";
    let plain = br#"{"api_key":"bench","message":"encrypted hello","level":2}"#;
    assert_eq!(opened(sent), Some((plain.to_vec(), Decryption::Whole)));
}

#[test]
fn base64_with_line_breaks_or_without_padding_is_decoded() {
    let message = encrypt(b"twenty-six bytes of a text", *b"0123456789ABCDEF");
    let whole = BASE64.encode(&message);
    let bare = whole.trim_end_matches('=').to_owned();
    let lines: Vec<&str> =
        whole.as_bytes().chunks(19).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for text in
        [whole.clone(), bare.clone(), lines.join("\r\n"), lines.join("\n") + "\n", format!(" {whole} ")]
    {
        assert!(opened(text.as_bytes()).is_some(), "{text:?}");
    }
    for text in
        [format!("{bare}!"), format!("={whole}"), whole.replacen(&whole[..1], "-", 1), format!("{bare}A====")]
    {
        assert_eq!(opened(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn body_without_whole_blocks_is_refused() {
    for len in [0, 1, 15, 16, 17, 31, 33, 47] {
        assert_eq!(opened(BASE64.encode(&vec![7; len]).as_bytes()), None, "{len}");
    }
}

#[test]
fn padding_length_is_returned_for_valid_paddings_only() {
    let block = |end: &[u8]| {
        let mut block = [b'x'; 16];
        block[16 - end.len()..].copy_from_slice(end);
        padding_of(&block)
    };
    assert_eq!(block(&[1]), Some(1));
    assert_eq!(block(&[2, 1]), Some(1));
    assert_eq!(block(&[3, 3, 3]), Some(3));
    assert_eq!(block(&[16; 16]), Some(16));
    for invalid in [&[0][..], &[17], &[255], &[1, 2], &[3, 2, 3], &[2, 3, 3]] {
        assert_eq!(block(invalid), None, "{invalid:?}");
    }
    assert_eq!(padding_of(&[1; 15]), None);
}

#[test]
fn text_without_the_form_and_parameters_of_its_kind_is_not_genuine() {
    assert!(is_genuine(BodyKind::Json, b"", false));
    assert!(is_genuine(BodyKind::Json, b"{}", true));
    assert!(!is_genuine(BodyKind::Unnamed, b"x", false));
    assert!(is_genuine(BodyKind::Form, "message=ü\r\n".as_bytes(), true));
    assert!(!is_genuine(BodyKind::Form, b"a=b", false));
    for (kind, text) in [(BodyKind::Form, &b"message=\x01"[..]), (BodyKind::Multipart, b"\xff")] {
        assert!(!is_genuine(kind, text, true), "{kind:?}");
    }
}

proptest! {
    #[test]
    fn any_encrypted_message_is_decrypted(plain in proptest::collection::vec(any::<u8>(), 0..10_000), iv: [u8; 16]) {
        let sent = BASE64.encode(&encrypt(&plain, iv));
        prop_assert_eq!(opened(sent.as_bytes()), Some((plain, Decryption::Whole)));
    }

    #[test]
    fn any_bytes_are_opened_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        opened(&bytes);
        opened(BASE64.encode(&bytes).as_bytes());
    }
}
