//! Finds the messages of a connection. Each ends at a zero byte. Some senders end it at a line end, which
//! counts where an object has its end too.

/// The search for the end of the message at the start of the input. It remembers its place, so each byte
/// is looked at once.
#[derive(Debug, Default)]
pub(super) struct Frames {
    at: usize,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Frames {
    /// Returns the message at the start of `input`, and its length with its end. `None`: it is not
    /// complete. Then the next call gets the same bytes and more behind them.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], is_end: bool) -> Option<(&'a [u8], usize)> {
        while let Some(byte) = input.get(self.at) {
            // A line end within a text is no JSON, and the message is over.
            let is_over = *byte == 0 || (*byte == b'\n' && (self.depth == 0 || self.is_text));
            if is_over {
                let end = std::mem::take(self).at;
                return Some((input.get(..end).unwrap_or_default(), end + 1));
            }
            self.at += 1;
            self.look_at(*byte);
        }
        if is_end && !input.is_empty() {
            *self = Self::default();
            return Some((input, input.len()));
        }
        None
    }

    const fn look_at(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_text => self.is_escaped = true,
            b'"' => self.is_text = !self.is_text,
            b'{' | b'[' if !self.is_text => self.depth += 1,
            b'}' | b']' if !self.is_text => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(input: &[u8], step: usize) -> Vec<String> {
        let (mut frames, mut begin, mut found) = (Frames::default(), 0, Vec::new());
        for end in (0..=input.len()).step_by(step).chain([input.len()]) {
            let is_end = end == input.len();
            while let Some((message, len)) = frames.next(&input[begin..end], is_end) {
                found.push(String::from_utf8_lossy(message).into_owned());
                begin += len;
            }
        }
        assert_eq!(begin, input.len());
        found
    }

    #[test]
    fn messages_end_at_zero_bytes_and_line_ends() {
        let input = b"{\"a\":1}\0{\"b\":\n [2]}\n{\"c\":\"}\\\"\"}\n\n{\"d\":\"x\nrest\0last";
        for step in [1, 3, 100] {
            assert_eq!(
                messages(input, step),
                ["{\"a\":1}", "{\"b\":\n [2]}", "{\"c\":\"}\\\"\"}", "", "{\"d\":\"x", "rest", "last"]
            );
        }
    }

    proptest! {
        #[test]
        fn messages_are_the_same_in_any_pieces(input in r#"[{}"\\\[\]a\n\x00]{0,60}"#, step in 1..9_usize) {
            prop_assert_eq!(messages(input.as_bytes(), step), messages(input.as_bytes(), 1_000));
        }
    }
}
