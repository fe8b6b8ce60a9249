//! Syslog over UDP, TCP, TLS and Unix sockets: RFC 5424 and RFC 3164, as devices send them.
//!
//! `message` takes a message apart, `time` reads its time, `entry` makes the entry, and `frames` finds the
//! messages of a connection.

mod entry;
mod frames;
mod message;
mod structured;
mod time;

use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::socket_dialect::{
    ConnectionOptions, ConnectionParser, DatagramParser, SocketDialect, SocketError,
};
use entry::EntryMaker;
use frames::Frames;

/// The format.
pub(super) struct Syslog;

impl SocketDialect for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn datagrams(&self) -> Option<Box<dyn DatagramParser>> {
        Some(Box::new(Datagrams::default()))
    }

    fn connection(&self, _options: &ConnectionOptions<'_>) -> Option<Box<dyn ConnectionParser>> {
        Some(Box::new(Frames::default()))
    }
}

/// Reads datagrams, each of which is one message (RFC 5426).
#[derive(Default)]
struct Datagrams {
    maker: EntryMaker,
}

impl DatagramParser for Datagrams {
    fn read<'a>(
        &mut self,
        _sender: &str,
        datagram: &'a [u8],
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) -> Result<(), SocketError> {
        let message = without_end(datagram);
        if message.is_empty() {
            return Err(SocketError::Malformed("The datagram is empty."));
        }
        self.maker.push(message, 0, rules, batch);
        Ok(())
    }
}

/// Returns a message without the line end or the zero bytes that many senders put behind it.
fn without_end(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    end.and_then(|end| message.get(..=end)).unwrap_or_default()
}

#[cfg(test)]
#[path = "syslog/tests.rs"]
mod tests;
