//! The answers of the fast path.

use std::sync::Arc;

use super::disk_reply::{Answer, DiskReplier, DiskReply, is_worthwhile};
use crate::guard::Quota;
use crate::http::app::App;
use crate::http::policy::Policy;
use crate::http::response::head_writer::write_response;
use crate::http::response::prepared_heads::{PreparedHeads, ReplyExtras};
use crate::http::response::problem::Problem;
use crate::ingest::dialects::native::saved_json;
use crate::net::transport::Transport;
use crate::store::{AppendTicket, Cursor, Saved};

/// Writes the answer to one record.
pub(crate) struct Reply<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) heads: &'a Arc<PreparedHeads>,
    /// True when the client wants the answer as JSON.
    pub(crate) wants_json: bool,
}

impl Reply<'_> {
    /// Lets the disk thread write the answer, if that is worth its cost for this append.
    pub(crate) fn register(
        &self,
        replier: &mut DiskReplier,
        transport: &impl Transport,
        ticket: &AppendTicket,
        quota: Option<&Quota>,
    ) -> Option<DiskReply> {
        let worthwhile = is_worthwhile(ticket, self.app);
        worthwhile.then(|| replier.register(transport, ticket, self.to_disk_answer(quota))).flatten()
    }

    /// Appends the answer, or the part of it that the disk thread has not written. Returns true when
    /// it announces the end of the connection. The outcome has no cursor when the record was
    /// filtered.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        policy: &Policy,
        quota: Option<&Quota>,
        disk_reply: Option<&DiskReply>,
        outcome: Result<Option<Cursor>, Problem>,
    ) -> bool {
        if let Some(answer) = disk_reply.and_then(DiskReply::written) {
            out.extend_from_slice(&answer.bytes);
            return answer.closes;
        }
        let closes = self.app.draining.is_cancelled();
        match outcome {
            Ok(cursor) => self.write_success(out, ReplyExtras { quota, closes }, cursor),
            Err(problem) => {
                self.app.count(&problem);
                write_response(out, &policy.refusal(problem), quota, closes);
            }
        }
        closes
    }

    fn write_success(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>, cursor: Option<Cursor>) {
        if !self.wants_json {
            return self.heads.success(out, extras);
        }
        let (saved, filtered, end) = match cursor {
            Some(cursor) => (1, 0, cursor),
            None => (0, 1, self.app.store.end()),
        };
        let body = saved_json(saved, filtered, &self.app.store.cursor_key().encode(end));
        self.heads.json(out, extras, &body);
    }

    /// Returns a function that makes the answer to a saved record on the disk thread.
    fn to_disk_answer(&self, quota: Option<&Quota>) -> impl FnOnce(Saved) -> Answer + Send + use<> {
        let (app, heads, wants_json) = (Arc::clone(self.app), Arc::clone(self.heads), self.wants_json);
        let quota = quota.cloned();
        move |saved| {
            let mut bytes = Vec::with_capacity(512);
            let closes = app.draining.is_cancelled();
            let extras = ReplyExtras { quota: quota.as_ref(), closes };
            let reply = Reply { app: &app, heads: &heads, wants_json };
            reply.write_success(&mut bytes, extras, Some(saved.cursor));
            Answer { bytes, closes }
        }
    }
}
