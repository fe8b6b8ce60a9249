//! Follows the frames in one direction of a connection by their heads (RFC 9113, section 4.1).
//! hyper does not report frames, so the transport below it reads their heads from the bytes.

/// Length of the head of a frame in bytes.
const HEAD_BYTES: usize = 9;

/// Type of a frame with a part of a body.
const DATA: u8 = 0x0;

/// Type of a frame that begins a request, or the trailers of one.
const HEADERS: u8 = 0x1;

/// Type of a frame that continues the field section of the frame before it.
const CONTINUATION: u8 = 0x9;

/// Flag of a DATA frame with padding.
const PADDED: u8 = 0x8;

/// Maximum length of the padding of a frame, its length field included.
const MAX_PADDING_BYTES: u32 = 256;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Length of the payload in bytes.
    len: u32,
    kind: u8,
    flags: u8,
    /// The stream, or 0 for the connection.
    stream: u32,
}

impl FrameHead {
    /// Reads a head.
    const fn parse(head: [u8; HEAD_BYTES]) -> Self {
        Self {
            len: u32::from_be_bytes([0, head[0], head[1], head[2]]),
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
        }
    }

    /// Returns the stream of a frame that may begin a request.
    pub(super) fn requested_stream(self) -> Option<u32> {
        (self.kind == HEADERS).then_some(self.stream)
    }

    /// Reports whether the frame begins a request or has a part of a body. A frame of padding alone
    /// has none.
    pub(super) const fn is_work(self) -> bool {
        match self.kind {
            HEADERS => true,
            DATA if self.flags & PADDED != 0 => self.len > MAX_PADDING_BYTES,
            DATA => self.len > 0,
            _ => false,
        }
    }

    /// Reports whether the frame only controls the connection or a stream. h2 limits the frames
    /// that continue a field section.
    pub(super) const fn is_control(self) -> bool {
        !self.is_work() && self.kind != CONTINUATION
    }
}

/// Finds the heads of frames in bytes that arrive in pieces.
#[derive(Debug)]
pub(super) struct FrameScanner {
    /// Number of bytes before the first frame, or of the current payload, that are still to come.
    skipped: u32,
    /// The part of a head that has arrived.
    head: [u8; HEAD_BYTES],
    head_len: usize,
}

impl FrameScanner {
    /// Returns a scanner of bytes that begin with `preface_len` bytes that are no frame.
    pub(super) const fn new(preface_len: u32) -> Self {
        Self { skipped: preface_len, head: [0; HEAD_BYTES], head_len: 0 }
    }

    /// Calls `on_frame` for each frame whose head ends in `bytes`.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            if self.skipped > 0 {
                let count = bytes.len().min(self.skipped as usize);
                bytes = &bytes[count..];
                // `count` is at most `skipped`.
                self.skipped -= u32::try_from(count).unwrap_or(self.skipped);
                continue;
            }
            let count = bytes.len().min(HEAD_BYTES - self.head_len);
            let (part, rest) = bytes.split_at(count);
            self.head[self.head_len..self.head_len + count].copy_from_slice(part);
            self.head_len += count;
            bytes = rest;
            if self.head_len == HEAD_BYTES {
                let head = FrameHead::parse(self.head);
                (self.head_len, self.skipped) = (0, head.len);
                on_frame(head);
            }
        }
    }

    /// Reports whether the last frame is incomplete.
    pub(super) const fn is_within_frame(&self) -> bool {
        self.skipped > 0 || self.head_len > 0
    }

    /// Returns the number of bytes up to the end of the current head, or to the end of the current
    /// payload. Returns 0 at the end of a frame.
    pub(super) const fn next_step(&self) -> usize {
        if self.head_len > 0 { HEAD_BYTES - self.head_len } else { self.skipped as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes of frames of these types, flags and payload lengths.
    fn bytes_of(frames: &[(u8, u8, usize)]) -> Vec<u8> {
        let mut bytes = b"PREFACE".to_vec();
        for (n, (kind, flags, len)) in frames.iter().enumerate() {
            bytes.extend_from_slice(&u32::try_from(*len).unwrap().to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags]);
            bytes.extend_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
            bytes.resize(bytes.len() + len, 0xff);
        }
        bytes
    }

    fn heads_in_pieces(bytes: &[u8], mut cuts: Vec<usize>) -> (Vec<FrameHead>, bool) {
        let (mut scanner, mut heads, mut begin) = (FrameScanner::new(7), Vec::new(), 0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        for cut in cuts {
            scanner.scan(&bytes[begin..cut], |head| heads.push(head));
            begin = cut;
        }
        (heads, scanner.is_within_frame())
    }

    proptest! {
        #[test]
        fn every_cut_of_the_bytes_gives_the_same_frames(
            frames in prop::collection::vec((0_u8..12, any::<u8>(), 0_usize..600), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let bytes = bytes_of(&frames);
            let cuts = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            let (heads, is_within) = heads_in_pieces(&bytes, cuts);
            let found: Vec<_> = heads.iter().map(|head| (head.kind, head.flags, head.len as usize)).collect();
            prop_assert_eq!(found, frames);
            prop_assert!(heads.iter().enumerate().all(|(n, head)| head.stream as usize == n));
            prop_assert!(!is_within);
        }

        #[test]
        fn every_byte_is_accepted(bytes in prop::collection::vec(any::<u8>(), 0..2000), step in 1_usize..50) {
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            FrameScanner::new(0).scan(&bytes, |head| whole.push(head));
            let mut scanner = FrameScanner::new(0);
            for piece in bytes.chunks(step) {
                scanner.scan(piece, |head| pieces.push(head));
            }
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn steps_lead_to_the_end_of_the_frame(len in 0_usize..600, cut in 1_usize..600) {
            let frame = &bytes_of(&[(0, 0, len)])[7..];
            let mut scanner = FrameScanner::new(0);
            let mut at = cut.min(frame.len());
            scanner.scan(&frame[..at], |_| {});
            while scanner.is_within_frame() {
                let end = at + scanner.next_step();
                scanner.scan(&frame[at..end], |_| {});
                at = end;
            }
            prop_assert_eq!(at, frame.len());
        }
    }

    #[test]
    fn frames_without_content_are_control_frames() {
        let head = |kind, flags, len| FrameHead { len, kind, flags, stream: 1 };
        for work in [head(HEADERS, 0, 0), head(DATA, 0, 1), head(DATA, PADDED, 257)] {
            assert!(work.is_work() && !work.is_control(), "{work:?}");
        }
        for control in [head(DATA, 0, 0), head(DATA, PADDED, 256), head(6, 0, 8), head(200, 0, 9)] {
            assert!(control.is_control() && !control.is_work(), "{control:?}");
        }
        let continuation = head(CONTINUATION, 0, 0);
        assert!(!continuation.is_work() && !continuation.is_control());
    }
}
