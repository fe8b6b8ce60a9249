//! Puts the chunks of messages together that are larger than a datagram.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::ingest::socket_dialect::SocketError;

/// The bytes with which a chunk begins.
const MAGIC: [u8; 2] = [0x1e, 0x0f];

/// Length of the head of a chunk: the magic bytes, the message's number, the chunk's place, and the number
/// of chunks.
const HEAD_BYTES: usize = 12;

/// Maximum number of chunks of one message.
const MAX_CHUNKS: u8 = 128;

/// Maximum number of messages that are not complete.
const MAX_MESSAGES: usize = 1000;

/// Maximum size of all of them, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Time in which all chunks of a message must arrive.
const MAX_AGE: Duration = Duration::from_secs(5);

/// A message is known by its sender and its number.
type Id = (String, [u8; 8]);

/// A message that is not complete.
struct Half {
    begun: Instant,
    chunks: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
}

/// The messages of one socket that are not complete.
#[derive(Default)]
pub(super) struct Chunks {
    halves: HashMap<Id, Half>,
    /// The messages by the arrival of their first chunks. Some of them may be complete by now.
    order: VecDeque<(Instant, Id)>,
    bytes: usize,
    /// Number of messages that were given up and not reported.
    lost: usize,
}

/// Returns whether a datagram is a chunk.
pub(super) fn is_chunk(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC)
}

impl Chunks {
    /// Adds a chunk. Returns the message when it is complete.
    ///
    /// # Errors
    /// Fails for a chunk that is malformed or contradicts the others of its message.
    pub(super) fn add(
        &mut self,
        sender: &str,
        datagram: &[u8],
        now: Instant,
    ) -> Result<Option<Vec<u8>>, SocketError> {
        const MALFORMED: SocketError = SocketError::Malformed("The chunk is malformed.");
        self.give_up(now);
        let (head, payload) = datagram.split_first_chunk::<HEAD_BYTES>().ok_or(MALFORMED)?;
        let [_, _, number @ .., place, count] = *head;
        if count == 0 || count > MAX_CHUNKS || place >= count {
            return Err(MALFORMED);
        }
        let id = (sender.to_owned(), number);
        if !self.halves.contains_key(&id) {
            self.begin(&id, count, now);
        }
        let Some(half) = self.halves.get_mut(&id) else { return Err(MALFORMED) };
        if half.chunks.len() != usize::from(count) {
            return Err(MALFORMED);
        }
        let Some(slot) = half.chunks.get_mut(usize::from(place)) else { return Err(MALFORMED) };
        // A chunk that comes again says nothing new.
        if slot.is_none() {
            *slot = Some(payload.to_vec());
            half.missing -= 1;
            half.bytes += payload.len();
            self.bytes += payload.len();
        }
        if half.missing > 0 {
            self.make_room(&id);
            return Ok(None);
        }
        let half = self.halves.remove(&id);
        let chunks = half.map(|half| {
            self.bytes -= half.bytes;
            half.chunks.into_iter().flatten().flatten().collect()
        });
        Ok(chunks)
    }

    /// Returns how many messages were given up since the last call.
    pub(super) const fn take_lost(&mut self) -> usize {
        std::mem::replace(&mut self.lost, 0)
    }

    fn begin(&mut self, id: &Id, count: u8, now: Instant) {
        while self.halves.len() >= MAX_MESSAGES && self.remove_oldest() {}
        let count = usize::from(count);
        let half = Half { begun: now, chunks: vec![None; count], missing: count, bytes: 0 };
        self.halves.insert(id.clone(), half);
        self.order.push_back((now, id.clone()));
    }

    /// Gives up the oldest messages until the others are within the limit, but not the one with this
    /// number.
    fn make_room(&mut self, id: &Id) {
        while self.bytes > MAX_BYTES && self.order.front().is_some_and(|(_, oldest)| oldest != id) {
            self.remove_oldest();
        }
    }

    /// Gives up the messages whose time is over.
    fn give_up(&mut self, now: Instant) {
        while let Some((begun, _)) = self.order.front()
            && now.saturating_duration_since(*begun) > MAX_AGE
        {
            self.remove_oldest();
        }
    }

    /// Gives up the oldest message. Returns false when there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some((begun, id)) = self.order.pop_front() else { return false };
        // A complete message is no longer there, and its number may have been used again.
        if self.halves.get(&id).is_some_and(|half| half.begun == begun)
            && let Some(half) = self.halves.remove(&id)
        {
            self.bytes -= half.bytes;
            self.lost += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a chunk.
    pub(super) fn chunk(number: u64, place: u8, count: u8, payload: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &number.to_be_bytes(), &[place, count], payload].concat()
    }

    fn add(chunks: &mut Chunks, datagram: &[u8]) -> Result<Option<Vec<u8>>, SocketError> {
        chunks.add("a", datagram, Instant::now())
    }

    #[test]
    fn chunks_may_come_in_any_order_and_twice() {
        let mut chunks = Chunks::default();
        for (place, payload) in [(2, b"c"), (0, b"a"), (0, b"x"), (2, b"c")] {
            assert_eq!(add(&mut chunks, &chunk(1, place, 3, payload)), Ok(None));
        }
        // Another sender may use the same number.
        assert_eq!(chunks.add("b", &chunk(1, 1, 3, b"z"), Instant::now()), Ok(None));
        assert_eq!(add(&mut chunks, &chunk(1, 1, 3, b"b")), Ok(Some(b"abc".to_vec())));
        assert_eq!((chunks.halves.len(), chunks.bytes), (1, 1));
        assert_eq!(add(&mut chunks, &chunk(1, 0, 1, b"d")), Ok(Some(b"d".to_vec())));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let mut chunks = Chunks::default();
        add(&mut chunks, &chunk(1, 0, 3, b"a")).unwrap();
        for datagram in [
            chunk(2, 0, 0, b"a"),
            chunk(2, 3, 3, b"a"),
            chunk(2, 0, 129, b"a"),
            chunk(1, 1, 4, b"a"),
            vec![0x1e, 0x0f],
        ] {
            assert!(add(&mut chunks, &datagram).is_err());
        }
        assert_eq!(chunks.halves.len(), 1);
    }

    #[test]
    fn messages_that_stay_incomplete_are_given_up() {
        let mut chunks = Chunks::default();
        let now = Instant::now();
        for number in 0..1_500 {
            chunks.add("a", &chunk(number, 0, 2, b"a"), now).unwrap();
        }
        assert_eq!((chunks.halves.len(), chunks.take_lost()), (MAX_MESSAGES, 500));
        assert_eq!(chunks.add("a", &chunk(1_499, 1, 2, b"b"), now), Ok(Some(b"ab".to_vec())));
        let later = now + MAX_AGE + Duration::from_millis(1);
        assert_eq!(chunks.add("a", &chunk(1_498, 1, 2, b"b"), later), Ok(None));
        assert_eq!((chunks.halves.len(), chunks.take_lost(), chunks.bytes), (1, MAX_MESSAGES - 1, 1));
    }

    #[test]
    fn memory_of_incomplete_messages_is_bounded() {
        let mut chunks = Chunks::default();
        let payload = vec![b'a'; 60_000];
        for number in 0..900 {
            chunks.add("a", &chunk(number, 0, 2, &payload), Instant::now()).unwrap();
        }
        assert!(chunks.bytes <= MAX_BYTES && chunks.take_lost() > 0);
    }

    proptest! {
        #[test]
        fn any_chunks_are_bounded(
            datagrams in prop::collection::vec((0..4_u64, 0..5_u8, 0..5_u8, prop::collection::vec(any::<u8>(), 0..9)), 0..60),
        ) {
            let mut chunks = Chunks::default();
            for (number, place, count, payload) in datagrams {
                drop(add(&mut chunks, &chunk(number, place, count, &payload)));
                prop_assert_eq!(chunks.bytes, chunks.halves.values().map(|half| half.bytes).sum::<usize>());
                prop_assert!(chunks.halves.len() <= 4);
            }
        }
    }
}
