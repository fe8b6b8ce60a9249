//! What an input format is that does not come over HTTP: how the bytes of a datagram or of a connection
//! become entries, and what is answered.
//!
//! The parsers do no I/O. The caller checks the sender, reads the socket, stores the entries, and then
//! sends the answer.

use super::batch::Batch;
use super::entry::read_rules::ReadRules;

/// An input format over sockets.
pub(crate) trait SocketDialect: Send + Sync {
    /// Returns the name of the format, which is ROUTE in the lines of its records.
    fn name(&self) -> &'static str;

    /// Returns the parser of a datagram socket, which lives as long as the socket. `None`: the format
    /// has no datagrams.
    fn datagrams(&self) -> Option<Box<dyn DatagramParser>>;

    /// Returns the parser of a new connection. `None`: the format has no connections.
    fn connection(&self, options: &ConnectionOptions<'_>) -> Option<Box<dyn ConnectionParser>>;
}

/// The options of `listen` that concern the parser of a connection.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "syslog has no handshake")]
pub(crate) struct ConnectionOptions<'a> {
    /// The secret that client and server share, for formats that prove it.
    pub(crate) shared_key: Option<&'a str>,
    /// The address of the client as text, for formats that name the peer.
    pub(crate) client: &'a str,
}

/// Reads the datagrams of one socket.
pub(crate) trait DatagramParser: Send {
    /// Reads one datagram and adds its entries to `batch`. A piece of a larger message adds nothing until
    /// the message is complete. `sender` tells the senders apart.
    ///
    /// # Errors
    /// Fails when the datagram holds nothing that can be stored. The caller counts it.
    fn read<'a>(
        &mut self,
        sender: &str,
        datagram: &'a [u8],
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) -> Result<(), SocketError>;
}

/// Reads the bytes of one connection.
pub(crate) trait ConnectionParser: Send {
    /// Returns the bytes to send as soon as the connection is open.
    fn greeting(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads the messages at the start of `input` that are complete, adds their entries to `batch`, and
    /// appends to `answer` what the client gets once they are durable. `is_end` is true when the client
    /// sends nothing more, so that a message without an end may count as complete.
    ///
    /// Returns how many bytes of `input` are done with. The next call gets the rest again, with more bytes
    /// behind it. The parser need not read all of `input` at once: it is called again as long as it makes
    /// progress, so a parser can bound the memory of one batch.
    ///
    /// # Errors
    /// Fails when the rest of the connection cannot be understood. What stands in `batch` and `answer` is
    /// stored and sent, and then the connection is closed.
    fn read<'a>(
        &mut self,
        input: &'a [u8],
        is_end: bool,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
        answer: &mut Vec<u8>,
    ) -> Result<usize, SocketError>;

    /// Returns the maximum number of bytes of one message that is not complete. The connection is closed
    /// when a message needs more.
    fn max_message_bytes(&self) -> usize;
}

/// Why bytes from a socket hold nothing that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SocketError {
    /// The bytes are not in this format.
    #[error("{0}")]
    Malformed(&'static str),
    /// The message is larger than the format or the server allows.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The client did not prove that it knows the secret.
    #[error("{0}")]
    Denied(&'static str),
}
