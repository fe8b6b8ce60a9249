//! Provides a client of `tail` that parses one stream of Server-Sent Events.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::{Conn, Response, is_timeout};

/// Holds one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) data: String,
}

/// Holds a stream that the server answered with 200.
pub(crate) struct Follow {
    conn: Conn,
    pub(crate) head: Response,
    /// The received bytes that are not a whole event yet.
    rest: Vec<u8>,
    events: VecDeque<Event>,
    pub(crate) comments: usize,
    pub(crate) retry: Option<String>,
    ended: Option<End>,
}

/// Says how a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The last chunk was received.
    Whole,
    /// The connection was closed or reset before the last chunk.
    Cut,
}

/// Timeout of all waits. It is longer than any event may take.
const TIMEOUT: Duration = Duration::from_secs(20);

impl Follow {
    /// Opens a stream on this connection. Returns any answer other than 200 as the error.
    pub(crate) fn on(mut conn: Conn, target: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        Self::try_on(&mut conn, target, headers)
            .unwrap_or_else(|error| panic!("GET {target}: no answer: {error}"))
            .map(|head| Self::of(conn, head))
    }

    /// Opens a stream as [`Self::on`] does, from a server that may have stopped.
    pub(crate) fn try_open(
        mut conn: Conn,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<Self, Response>> {
        Ok(Self::try_on(&mut conn, target, headers)?.map(|head| Self::of(conn, head)))
    }

    fn of(conn: Conn, head: Response) -> Self {
        let (rest, events) = (Vec::new(), VecDeque::new());
        Self { conn, head, rest, events, comments: 0, retry: None, ended: None }
    }

    fn try_on(
        conn: &mut Conn,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<Response, Response>> {
        conn.send("GET", target, headers, b"")?;
        let mut head = conn.read_head()?;
        if head.status == 200 {
            return Ok(Ok(head));
        }
        head.body = conn.receive_body(&head)?;
        Ok(Err(head))
    }

    /// Returns the next event. Panics when none comes.
    pub(crate) fn next(&mut self) -> Event {
        self.within(TIMEOUT).unwrap_or_else(|| panic!("no event: {:?}", self.ended))
    }

    /// Returns the data of the next `count` events. Panics when fewer come.
    pub(crate) fn data(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next().data).collect()
    }

    /// Returns the next event, or `None` when none comes in time.
    pub(crate) fn within(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        while self.events.is_empty() && self.ended.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.take_chunk(left) {
                break;
            }
        }
        self.events.pop_front()
    }

    /// Waits for the end of the stream. Panics on another event.
    pub(crate) fn end(&mut self) -> End {
        if let Some(event) = self.within(TIMEOUT) {
            panic!("another event: {event:?}");
        }
        self.ended.expect("the stream does not end")
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Returns whether the stream sent a byte in this time.
    fn take_chunk(&mut self, limit: Duration) -> bool {
        self.conn.set_read_timeout(limit.max(Duration::from_millis(1)));
        let size = match self.conn.read_line() {
            Ok(line) => usize::from_str_radix(&line, 16).expect("the size of a chunk"),
            Err(error) if is_timeout(&error) => return false,
            Err(_) => {
                self.ended = Some(End::Cut);
                return true;
            }
        };
        self.conn.set_read_timeout(TIMEOUT);
        let chunk = self.conn.receive_exactly(size).and_then(|bytes| self.conn.read_line().map(|_| bytes));
        match chunk {
            Ok(bytes) if bytes.is_empty() => self.ended = Some(End::Whole),
            Ok(bytes) => self.take(&bytes),
            Err(_) => self.ended = Some(End::Cut),
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("UTF-8");
            let (mut id, mut data) = (None, None::<String>);
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("data", value)) => match &mut data {
                        Some(data) => *data += &format!("\n{value}"),
                        None => data = Some(value.to_owned()),
                    },
                    Some(("retry", value)) => self.retry = Some(value.to_owned()),
                    _ if line.starts_with(':') => self.comments += 1,
                    _ => assert!(line.is_empty(), "not a line of an event stream: {line:?}"),
                }
            }
            if let (Some(id), Some(data)) = (id, data) {
                self.events.push_back(Event { id, data });
            }
        }
    }
}
