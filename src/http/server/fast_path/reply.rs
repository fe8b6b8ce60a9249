//! The answers of the fast path.

use std::sync::Arc;

use super::disk_reply::{Answer, DiskReplier, DiskReply, is_worthwhile};
use crate::guard::{ClientAddr, Quota};
use crate::http::app::App;
use crate::http::log_path::SAVE_LOG;
use crate::http::observe::refused_requests::Origin;
use crate::http::policy::Policy;
use crate::http::response::head_writer::{AfterAnswer, write_response};
use crate::http::response::prepared_heads::{PreparedHeads, ReplyExtras};
use crate::http::response::problem::Problem;
use crate::ingest::dialects::native::saved_json;
use crate::net::transport::Transport;
use crate::store::{AppendTicket, Cursor, Saved};

/// Writes the answer to one record.
pub(crate) struct Reply<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) client: ClientAddr,
    /// The name of the key.
    pub(crate) key: Option<&'a str>,
    pub(crate) heads: &'a Arc<PreparedHeads>,
    /// True when the client wants the answer as JSON.
    pub(crate) wants_json: bool,
    /// Seconds for which the answer announces that the connection stays open.
    pub(crate) keep_alive_hint: Option<u64>,
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
        let after = self.after();
        match outcome {
            Ok(cursor) => self.write_success(out, ReplyExtras { quota, after }, cursor),
            Err(problem) => {
                let origin = Origin {
                    client: self.client,
                    key: self.key,
                    method: Some("POST"),
                    route: Some(SAVE_LOG),
                };
                self.app.on_refused(&origin, &problem);
                write_response(out, &policy.refusal(problem), quota, after);
            }
        }
        after == AfterAnswer::Close
    }

    /// Returns what becomes of the connection after an answer that is written now.
    fn after(&self) -> AfterAnswer {
        if self.app.draining.is_cancelled() {
            AfterAnswer::Close
        } else {
            AfterAnswer::KeepAlive(self.keep_alive_hint)
        }
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
        let (app, heads) = (Arc::clone(self.app), Arc::clone(self.heads));
        let Self { client, wants_json, keep_alive_hint, .. } = *self;
        let quota = quota.cloned();
        move |saved| {
            let mut bytes = Vec::with_capacity(512);
            let reply = Reply { app: &app, client, key: None, heads: &heads, wants_json, keep_alive_hint };
            let after = reply.after();
            let extras = ReplyExtras { quota: quota.as_ref(), after };
            reply.write_success(&mut bytes, extras, Some(saved.cursor));
            Answer { bytes, closes: after == AfterAnswer::Close }
        }
    }
}
