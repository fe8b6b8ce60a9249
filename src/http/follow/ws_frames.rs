//! What a client says over WebSocket (RFC 6455, section 5): frames are read as they come, and what nobody looks at is never
//! held. Of a client's own texts nothing is kept but their length; control frames hold at most 125 bytes.

/// Reads frames out of bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: Vec<u8>,
    /// of the frame whose head is complete
    frame: Option<Frame>,
    /// bytes of the message that is in hand, where one is
    message: Option<u64>,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// bytes that were read of it
    at: u64,
    length: u64,
    /// what a control frame holds
    payload: Vec<u8>,
}

/// What a client said that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Ping(Vec<u8>),
    Pong,
    /// the code to answer it with; `None` = it named none
    Close(Option<u16>),
}

/// Why a connection is closed, as its closing frame says it (RFC 6455, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    Normal = 1000,
    GoingAway = 1001,
    ProtocolError = 1002,
    PolicyViolation = 1008,
    MessageTooBig = 1009,
    Failed = 1011,
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// Bytes that a control frame may hold.
const CONTROL: u64 = 125;

impl Frames {
    /// Reads on. `bytes` loses what was read; `None` = more is needed, and nothing is left of them. `most`: bytes of a
    /// message.
    pub(crate) fn read(&mut self, bytes: &mut &[u8], most: u64) -> Result<Option<ClientMessage>, Code> {
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(length) = head_length(&self.head).filter(|length| self.head.len() == *length) else {
                    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
                    self.head.push(*first);
                    *bytes = rest;
                    check_head(&self.head)?;
                    continue;
                };
                let frame = parse_head(&self.head, length);
                self.head.clear();
                self.admit(&frame, most)?;
                self.frame = Some(frame.1);
                continue;
            };
            let missing = usize::try_from(frame.length - frame.at).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            if frame.opcode >= CLOSE {
                let (mask, at) = (frame.mask, frame.at as usize);
                frame.payload.extend(piece.iter().zip(at..).map(|(byte, at)| byte ^ mask[at % 4]));
            }
            frame.at += piece.len() as u64;
            *bytes = rest;
            if frame.at < frame.length {
                return Ok(None);
            }
            let Frame { opcode, payload, .. } = std::mem::take(&mut self.frame).unwrap_or_else(Frame::none);
            match opcode {
                PING => return Ok(Some(ClientMessage::Ping(payload))),
                PONG => return Ok(Some(ClientMessage::Pong)),
                CLOSE => return closing(&payload).map(|code| Some(ClientMessage::Close(code))),
                _ => {}
            }
        }
    }

    /// Whether the frame may come now, and how much of a message it makes.
    fn admit(&mut self, (fin, frame): &(bool, Frame), most: u64) -> Result<(), Code> {
        let before = match (frame.opcode, self.message) {
            (CONTINUATION, Some(before)) => before,
            (TEXT | BINARY, None) => 0,
            (CLOSE | PING | PONG, _) => return Ok(()),
            _ => return Err(Code::ProtocolError),
        };
        let length = before.saturating_add(frame.length);
        if length > most {
            return Err(Code::MessageTooBig);
        }
        self.message = (!fin).then_some(length);
        Ok(())
    }
}

impl Frame {
    const fn none() -> Self {
        Self { opcode: CONTINUATION, mask: [0; 4], at: 0, length: 0, payload: Vec::new() }
    }
}

/// What can be wrong with the beginning of a head.
fn check_head(head: &[u8]) -> Result<(), Code> {
    let invalid_parameter = match *head {
        // Reserved bits mean extensions, of which none was agreed on; control frames are whole.
        [first] => {
            let control = first & 0x0f >= CLOSE;
            first & 0x70 != 0
                || !matches!(first & 0x0f, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG)
                || (control && first & 0x80 == 0)
        }
        // A client masks what it sends.
        [first, second] => {
            second & 0x80 == 0 || (first & 0x0f >= CLOSE && u64::from(second & 0x7f) > CONTROL)
        }
        _ => false,
    };
    if invalid_parameter { Err(Code::ProtocolError) } else { Ok(()) }
}

/// How long a head is, once that can be told.
fn head_length(head: &[u8]) -> Option<usize> {
    head.get(1).map(|second| match second & 0x7f {
        126 => 8,
        127 => 14,
        _ => 6,
    })
}

/// A complete head: whether it ends a message, and its frame.
fn parse_head(head: &[u8], length: usize) -> (bool, Frame) {
    let (head, mask) = head.split_at(length - 4);
    let mut eight = [0; 8];
    let digits = match head.len() {
        2 => &[head[1] & 0x7f],
        _ => &head[2..],
    };
    eight[8 - digits.len()..].copy_from_slice(digits);
    let mut frame = Frame { opcode: head[0] & 0x0f, length: u64::from_be_bytes(eight), ..Frame::none() };
    frame.mask.copy_from_slice(mask);
    (head[0] & 0x80 != 0, frame)
}

/// The code of a closing frame (RFC 6455, section 7.4).
fn closing(payload: &[u8]) -> Result<Option<u16>, Code> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Code::ProtocolError),
    };
    let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if known && std::str::from_utf8(reason).is_ok() { Ok(Some(code)) } else { Err(Code::ProtocolError) }
}

/// Checks that the frames of a client mean the same however its bytes are cut into pieces. For the fuzz target
/// `ws_frames`.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8], piece_len: usize, max_message_bytes: u64) {
    let read = |piece_len: usize| {
        let (mut frames, mut messages) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(piece_len.max(1)) {
            let mut rest = piece;
            loop {
                match frames.read(&mut rest, max_message_bytes) {
                    Ok(Some(one)) => messages.push(one),
                    Ok(None) => break,
                    Err(code) => return (messages, Some(code)),
                }
            }
            assert!(rest.is_empty());
            assert!(frames.frame.as_ref().is_none_or(|frame| frame.payload.len() as u64 <= CONTROL));
        }
        (messages, None)
    };
    assert_eq!(read(piece_len), read(bytes.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(fin: bool, opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = crate::http::follow::block::frame_head(opcode, payload.len());
        bytes[0] = (bytes[0] & 0x7f) | if fin { 0x80 } else { 0 };
        bytes[1] |= 0x80;
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(0..).map(|(byte, at): (&u8, usize)| byte ^ mask[at % 4]));
        bytes
    }

    fn read_all(bytes: &[u8], most: u64, step: usize) -> Result<Vec<ClientMessage>, Code> {
        let (mut frames, mut said) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(step) {
            let mut rest = piece;
            while let Some(one) = frames.read(&mut rest, most)? {
                said.push(one);
            }
            assert!(rest.is_empty());
            assert!(frames.frame.as_ref().is_none_or(|frame| frame.payload.len() <= 125));
        }
        Ok(said)
    }

    #[derive(Debug, Clone)]
    enum Sent {
        Message(Vec<Vec<u8>>),
        Control(u8, Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
        prop_oneof![
            prop::collection::vec(bytes(300), 1..4).prop_map(Sent::Message),
            (prop_oneof![Just(PING), Just(PONG)], bytes(126))
                .prop_map(|(opcode, payload)| Sent::Control(opcode, payload)),
        ]
    }

    proptest! {
        #[test]
        fn what_matters_is_heard_however_it_is_cut(sent in prop::collection::vec(sent(), 0..12), mask: [u8; 4], step in 1_usize..400) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for one in &sent {
                match one {
                    Sent::Message(fragments) => {
                        for (index, fragment) in fragments.iter().enumerate() {
                            let opcode = if index == 0 { TEXT } else { CONTINUATION };
                            bytes.extend(frame(index + 1 == fragments.len(), opcode, fragment, mask));
                            if index + 1 < fragments.len() {
                                bytes.extend(frame(true, PING, b"between", mask));
                                expected.push(ClientMessage::Ping(b"between".to_vec()));
                            }
                        }
                    }
                    Sent::Control(opcode, payload) => {
                        bytes.extend(frame(true, *opcode, payload, mask));
                        expected.push(if *opcode == PING { ClientMessage::Ping(payload.clone()) } else { ClientMessage::Pong });
                    }
                }
            }
            prop_assert_eq!(read_all(&bytes, 1200, step), Ok(expected));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, most in 0_u64..100, step in 1_usize..9) {
            drop(read_all(&bytes, most, step));
        }
    }

    #[test]
    fn what_is_refused() {
        let mask = [1, 2, 3, 4];
        let protocol = Err(Code::ProtocolError);
        assert_eq!(read_all(&[0x81, 0x01, b'a'], 9, 1), protocol, "unmasked");
        assert_eq!(read_all(&frame(true, CONTINUATION, b"a", mask), 9, 1), protocol, "continues nothing");
        assert_eq!(read_all(&frame(false, PING, b"", mask), 9, 1), protocol, "half a ping");
        assert_eq!(read_all(&frame(true, PING, &[0; 126], mask), 999, 1), protocol, "a long ping");
        assert_eq!(read_all(&frame(true, 0x3, b"", mask), 9, 1), protocol, "an opcode without meaning");
        assert_eq!(read_all(&[0xc1], 9, 1), protocol, "a reserved bit");
        let two = [frame(false, TEXT, b"a", mask), frame(true, TEXT, b"b", mask)].concat();
        assert_eq!(read_all(&two, 9, 1), protocol, "a message within a message");
        assert_eq!(read_all(&frame(true, TEXT, &[0; 10], mask), 9, 1), Err(Code::MessageTooBig));
        assert_eq!(read_all(&frame(true, BINARY, &[0; 9], mask), 9, 1), Ok(Vec::new()));
        let long = [frame(false, TEXT, &[0; 5], mask), frame(true, CONTINUATION, &[0; 5], mask)].concat();
        assert_eq!(read_all(&long, 9, 3), Err(Code::MessageTooBig));
        let huge = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &mask].concat();
        assert_eq!(read_all(&huge, u64::MAX - 1, 1), Err(Code::MessageTooBig), "by its head alone");
        for (payload, expected) in [
            (&b""[..], Ok(vec![ClientMessage::Close(None)])),
            (b"\x03\xe8bye", Ok(vec![ClientMessage::Close(Some(1000))])),
            (b"\x0f\xa0", Ok(vec![ClientMessage::Close(Some(4000))])),
            (b"\x03", protocol.clone()),
            (b"\x03\xed", protocol.clone()),
            (b"\x03\xe8\xff", protocol),
        ] {
            assert_eq!(read_all(&frame(true, CLOSE, payload, mask), 9, 1), expected, "{payload:?}");
        }
    }
}
