//! Lets the disk thread write the answer to the socket right after the sync, when a record is alone
//! in its commit group.
//!
//! The client then does not wait until the thread of its connection wakes up. A single sender needs
//! 1.43 times the duration of the sync for each record, instead of 1.52 times.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use nix::sys::socket::{MsgFlags, send};

use crate::http::app::App;
use crate::net::transport::Transport;
use crate::store::{AppendTicket, DurableCallback, Saved};

/// Maximum number of open connections up to which the disk thread answers. With more of them a
/// record is rarely alone. Each connection that was answered in this way holds a second descriptor.
pub(crate) const MAX_CONNECTIONS: usize = 64;

/// Lets the disk thread answer on one connection.
#[derive(Default)]
pub(crate) struct DiskReplier {
    /// A duplicate of the connection's descriptor. The disk thread may still use it after the
    /// connection's task has ended.
    socket: Option<Arc<OwnedFd>>,
}

/// Reports whether an answer by the disk thread is worth its cost for this append.
pub(crate) fn is_worthwhile(ticket: &AppendTicket, app: &App) -> bool {
    ticket.gains_by_callback() && app.instance_state.connections.load(Ordering::Relaxed) <= MAX_CONNECTIONS
}

impl DiskReplier {
    /// Makes the disk thread write the answer that `answer` returns, if the append is alone in its
    /// commit group. Returns `None` when the transport encrypts, or when its descriptor cannot be
    /// duplicated.
    pub(crate) fn register(
        &mut self,
        transport: &impl Transport,
        ticket: &AppendTicket,
        answer: impl FnOnce(Saved) -> Answer + Send + 'static,
    ) -> Option<DiskReply> {
        if self.socket.is_none() {
            self.socket = Some(Arc::new(transport.bare_socket()?.try_clone_to_owned().ok()?));
        }
        let socket = Arc::clone(self.socket.as_ref()?);
        let written = Arc::new(OnceLock::new());
        let callback = ticket.on_durable({
            let written = Arc::clone(&written);
            move |saved| {
                let mut answer = answer(saved);
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                // The connection's task writes the bytes that the kernel does not accept at once,
                // and handles errors of the connection.
                let sent_bytes = send(socket.as_raw_fd(), &answer.bytes, flags).unwrap_or_default();
                answer.bytes.drain(..sent_bytes);
                drop(written.set(answer));
            }
        });
        Some(DiskReply { callback, written })
    }
}

/// Holds an answer that was written in full or in part.
pub(crate) struct Answer {
    /// The bytes that are not written yet.
    pub(crate) bytes: Vec<u8>,
    /// True when the answer announces that the server closes the connection.
    pub(crate) closes: bool,
}

/// Holds an answer that the disk thread may write.
pub(crate) struct DiskReply {
    callback: DurableCallback,
    written: Arc<OnceLock<Answer>>,
}

impl DiskReply {
    /// Cancels the answer. Returns false when the disk thread writes it or has written it, or when
    /// the outcome of the append is known.
    pub(crate) fn cancel(&self) -> bool {
        self.callback.cancel()
    }

    /// Returns the answer with its unwritten bytes, or `None` when the disk thread did not write
    /// it. Valid once the outcome of the append is known.
    pub(crate) fn written(&self) -> Option<&Answer> {
        self.written.get()
    }
}
