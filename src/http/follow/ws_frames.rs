//! Parses the frames of a WebSocket client (RFC 6455, section 5) as their bytes arrive.
//!
//! The parser keeps only the length of text and binary messages. It keeps the payload of a control
//! frame, which has at most 125 bytes.

use std::mem;
use std::str;

/// Parses frames from bytes that may arrive in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// The bytes of a head that is not complete yet.
    head: Vec<u8>,
    /// The frame whose head is complete.
    frame: Option<Frame>,
    /// Number of bytes so far of a fragmented message, or `None` between two messages.
    message: Option<u64>,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Number of payload bytes that were read.
    bytes_read: u64,
    /// Number of payload bytes.
    length: u64,
    /// The unmasked payload of a control frame. Empty for other frames.
    payload: Vec<u8>,
}

/// Represents a control frame of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Ping(Vec<u8>),
    Pong,
    /// Carries the status code of the close frame, or `None` when it has none.
    Close(Option<u16>),
}

/// Lists the status codes that a close frame may carry (RFC 6455, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    ProtocolError = 1002,
    PolicyViolation = 1008,
    MessageTooBig = 1009,
    InternalError = 1011,
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// Maximum number of payload bytes of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_PAYLOAD_BYTES: u64 = 125;

impl FrameReader {
    /// Returns the next control frame in `bytes` and advances `bytes` past it. Returns `None` when
    /// all bytes are read and no control frame is complete.
    ///
    /// # Errors
    ///
    /// Returns the code of the close frame to send when the client breaks the protocol or sends a
    /// message of more than `max_message_bytes`.
    pub(crate) fn read(
        &mut self,
        bytes: &mut &[u8],
        max_message_bytes: u64,
    ) -> Result<Option<ClientMessage>, CloseCode> {
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
                self.check_order(&frame, max_message_bytes)?;
                self.frame = Some(frame.1);
                continue;
            };
            let missing = usize::try_from(frame.length - frame.bytes_read).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            if frame.opcode >= CLOSE {
                let (mask, at) = (frame.mask, frame.bytes_read as usize);
                frame.payload.extend(part.iter().zip(at..).map(|(byte, at)| byte ^ mask[at % 4]));
            }
            frame.bytes_read += part.len() as u64;
            *bytes = rest;
            if frame.bytes_read < frame.length {
                return Ok(None);
            }
            let Frame { opcode, payload, .. } = mem::take(&mut self.frame).unwrap_or_else(Frame::empty);
            match opcode {
                PING => return Ok(Some(ClientMessage::Ping(payload))),
                PONG => return Ok(Some(ClientMessage::Pong)),
                CLOSE => return close_code(&payload).map(|code| Some(ClientMessage::Close(code))),
                _ => {}
            }
        }
    }

    /// Checks that the frame may follow the frames before it, and adds up the length of its
    /// message.
    fn check_order(&mut self, (fin, frame): &(bool, Frame), max_message_bytes: u64) -> Result<(), CloseCode> {
        let before = match (frame.opcode, self.message) {
            (CONTINUATION, Some(before)) => before,
            (TEXT | BINARY, None) => 0,
            (CLOSE | PING | PONG, _) => return Ok(()),
            _ => return Err(CloseCode::ProtocolError),
        };
        let length = before.saturating_add(frame.length);
        if length > max_message_bytes {
            return Err(CloseCode::MessageTooBig);
        }
        self.message = (!fin).then_some(length);
        Ok(())
    }
}

impl Frame {
    const fn empty() -> Self {
        Self { opcode: CONTINUATION, mask: [0; 4], bytes_read: 0, length: 0, payload: Vec::new() }
    }
}

/// Checks the first bytes of a head.
fn check_head(head: &[u8]) -> Result<(), CloseCode> {
    let is_invalid = match *head {
        // Reserved bits belong to extensions, and none was negotiated. Control frames are never
        // fragmented.
        [first] => {
            let control = first & 0x0f >= CLOSE;
            first & 0x70 != 0
                || !matches!(first & 0x0f, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG)
                || (control && first & 0x80 == 0)
        }
        // A client must mask its frames.
        [first, second] => {
            second & 0x80 == 0
                || (first & 0x0f >= CLOSE && u64::from(second & 0x7f) > MAX_CONTROL_PAYLOAD_BYTES)
        }
        _ => false,
    };
    if is_invalid { Err(CloseCode::ProtocolError) } else { Ok(()) }
}

/// Returns the length of a head, or `None` before its second byte has arrived.
fn head_length(head: &[u8]) -> Option<usize> {
    head.get(1).map(|second| match second & 0x7f {
        126 => 8,
        127 => 14,
        _ => 6,
    })
}

/// Parses a complete head. Returns whether the frame ends its message, and the frame.
fn parse_head(head: &[u8], length: usize) -> (bool, Frame) {
    let (head, mask) = head.split_at(length - 4);
    let mut eight = [0; 8];
    let digits = match head.len() {
        2 => &[head[1] & 0x7f],
        _ => &head[2..],
    };
    eight[8 - digits.len()..].copy_from_slice(digits);
    let mut frame = Frame { opcode: head[0] & 0x0f, length: u64::from_be_bytes(eight), ..Frame::empty() };
    frame.mask.copy_from_slice(mask);
    (head[0] & 0x80 != 0, frame)
}

/// Returns the status code of a close frame (RFC 6455, section 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(CloseCode::ProtocolError),
    };
    let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if known && str::from_utf8(reason).is_ok() { Ok(Some(code)) } else { Err(CloseCode::ProtocolError) }
}

/// Checks that the frames of a client are parsed to the same result however their bytes are
/// divided. The fuzz target `ws_frames` calls it.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8], part_len: usize, max_message_bytes: u64) {
    let read = |part_len: usize| {
        let (mut frames, mut messages) = (FrameReader::default(), Vec::new());
        for part in bytes.chunks(part_len.max(1)) {
            let mut rest = part;
            loop {
                match frames.read(&mut rest, max_message_bytes) {
                    Ok(Some(one)) => messages.push(one),
                    Ok(None) => break,
                    Err(code) => return (messages, Some(code)),
                }
            }
            assert!(rest.is_empty());
            assert!(
                frames
                    .frame
                    .as_ref()
                    .is_none_or(|frame| frame.payload.len() as u64 <= MAX_CONTROL_PAYLOAD_BYTES)
            );
        }
        (messages, None)
    };
    assert_eq!(read(part_len), read(bytes.len()));
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

    fn read_all(bytes: &[u8], max_message_bytes: u64, step: usize) -> Result<Vec<ClientMessage>, CloseCode> {
        let (mut frames, mut messages) = (FrameReader::default(), Vec::new());
        for part in bytes.chunks(step) {
            let mut rest = part;
            while let Some(one) = frames.read(&mut rest, max_message_bytes)? {
                messages.push(one);
            }
            assert!(rest.is_empty());
            assert!(frames.frame.as_ref().is_none_or(|frame| frame.payload.len() <= 125));
        }
        Ok(messages)
    }

    #[derive(Debug, Clone)]
    enum Sent {
        Message(Vec<Vec<u8>>),
        Control(u8, Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let bytes = |max_len| prop::collection::vec(any::<u8>(), 0..max_len);
        prop_oneof![
            prop::collection::vec(bytes(300), 1..4).prop_map(Sent::Message),
            (prop_oneof![Just(PING), Just(PONG)], bytes(126))
                .prop_map(|(opcode, payload)| Sent::Control(opcode, payload)),
        ]
    }

    proptest! {
        #[test]
        fn control_frames_are_read_in_every_division(
            sent in prop::collection::vec(sent(), 0..12),
            mask: [u8; 4],
            step in 1_usize..400,
        ) {
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
        fn arbitrary_bytes_are_read_or_refused(
            bytes: Vec<u8>,
            max_message_bytes in 0_u64..100,
            step in 1_usize..9,
        ) {
            drop(read_all(&bytes, max_message_bytes, step));
        }
    }

    #[test]
    fn invalid_frames_are_refused() {
        let mask = [1, 2, 3, 4];
        let protocol = Err(CloseCode::ProtocolError);
        assert_eq!(read_all(&[0x81, 0x01, b'a'], 9, 1), protocol, "unmasked");
        assert_eq!(read_all(&frame(true, CONTINUATION, b"a", mask), 9, 1), protocol, "continues nothing");
        assert_eq!(read_all(&frame(false, PING, b"", mask), 9, 1), protocol, "half a ping");
        assert_eq!(read_all(&frame(true, PING, &[0; 126], mask), 999, 1), protocol, "a long ping");
        assert_eq!(read_all(&frame(true, 0x3, b"", mask), 9, 1), protocol, "an opcode without meaning");
        assert_eq!(read_all(&[0xc1], 9, 1), protocol, "a reserved bit");
        let two = [frame(false, TEXT, b"a", mask), frame(true, TEXT, b"b", mask)].concat();
        assert_eq!(read_all(&two, 9, 1), protocol, "a message within a message");
        assert_eq!(read_all(&frame(true, TEXT, &[0; 10], mask), 9, 1), Err(CloseCode::MessageTooBig));
        assert_eq!(read_all(&frame(true, BINARY, &[0; 9], mask), 9, 1), Ok(Vec::new()));
        let long = [frame(false, TEXT, &[0; 5], mask), frame(true, CONTINUATION, &[0; 5], mask)].concat();
        assert_eq!(read_all(&long, 9, 3), Err(CloseCode::MessageTooBig));
        let huge = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &mask].concat();
        assert_eq!(read_all(&huge, u64::MAX - 1, 1), Err(CloseCode::MessageTooBig), "by its head alone");
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
