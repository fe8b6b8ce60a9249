//! Reads the events of one follower from its position in the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::block::{Block, BlockFormat};
use super::hub::{FollowContext, FollowerHub, FollowerPermit, Tick};
use crate::store::{Cursor, ReadError};

/// Reads the blocks of one open tail. It holds a cursor and no records.
pub(crate) struct Follower {
    context: Arc<dyn FollowContext>,
    /// The format of its blocks.
    pub(crate) format: BlockFormat,
    /// The cursor after the last record that it returned.
    cursor: Cursor,
    /// Number of records until the client's limit is reached, or `None` without a limit.
    remaining: Option<u64>,
    /// Maximum number of bytes of a chunk.
    max_chunk_bytes: u64,
    /// The check that is repeated when permissions may have changed.
    would_admit: WouldAdmit,
    ticks: watch::Receiver<Tick>,
    /// The authorization epoch in which the client was last checked.
    auth_epoch: u64,
    _permit: FollowerPermit,
}

/// Reports whether the client would be admitted if it sent its request now.
pub(crate) type WouldAdmit = Box<dyn Fn() -> bool + Send + Sync>;

/// Describes an event of a follower's stream.
#[derive(Debug, Clone)]
pub(crate) enum FollowEvent {
    /// A block of records. More events follow.
    Block(Arc<Block>),
    /// The last records before the limit of the client. The stream ends.
    Last(Bytes),
    /// The client is no longer allowed to follow. The stream ends.
    Refused,
    /// The log cannot be read. The stream ends.
    Failed,
}

/// Delays before the retries of a failed read. A clear is over at once, so the first delay is zero.
/// A busy disk takes longer.
const RETRY_DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_secs(1)];

impl Follower {
    pub(crate) fn new(
        context: Arc<dyn FollowContext>,
        would_admit: WouldAdmit,
        format: BlockFormat,
        cursor: Cursor,
        limit: Option<u64>,
    ) -> Self {
        let (permit, ticks) = FollowerHub::enter(&context);
        let auth_epoch = ticks.borrow().auth_epoch;
        Self {
            context,
            format,
            cursor,
            remaining: limit,
            max_chunk_bytes: u64::MAX,
            would_admit,
            ticks,
            auth_epoch,
            _permit: permit,
        }
    }

    /// Limits the chunks of this follower to `max_chunk_bytes`.
    pub(crate) const fn with_max_chunk_bytes(mut self, max_chunk_bytes: u64) -> Self {
        self.max_chunk_bytes = max_chunk_bytes;
        self
    }

    /// Returns the token that is cancelled when the instance stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.context.stop()
    }

    /// Returns the instance that the follower belongs to.
    pub(crate) fn context(&self) -> &Arc<dyn FollowContext> {
        &self.context
    }

    /// Returns the events of the follower. The stream ends after the first event that is not a
    /// block.
    pub(crate) fn events(self) -> impl Stream<Item = FollowEvent> + Send {
        unfold(Some(self), |this| async move {
            let mut this = this?;
            let event = this.next_event().await;
            let continues = matches!(event, FollowEvent::Block(_));
            Some((event, continues.then_some(this)))
        })
    }

    /// Returns the next event. It skips blocks without records.
    async fn next_event(&mut self) -> FollowEvent {
        let mut delays = RETRY_DELAYS.iter();
        loop {
            let at = self.cursor;
            let auth_epoch = self.auth_epoch;
            let store = self.context.store();
            let is_due = |tick: &Tick| store.is_before(at, tick.end) || tick.auth_epoch != auth_epoch;
            let changed = self.ticks.wait_for(is_due).await;
            let Ok(tick) = changed.map(|tick| *tick) else { return FollowEvent::Failed };
            if tick.auth_epoch != auth_epoch {
                if !(self.would_admit)() {
                    return FollowEvent::Refused;
                }
                self.auth_epoch = tick.auth_epoch;
                continue;
            }
            let hub = self.context.hub();
            let size = hub.chunk_bytes().min(self.max_chunk_bytes);
            let block = match hub.blocks.get(self.context.store(), &self.format, at, size).await {
                Ok(block) => block,
                Err(ReadError::Gone { oldest }) => {
                    // The log was cleared while the stream was open. The stream continues with the
                    // oldest record.
                    self.cursor = oldest;
                    continue;
                }
                Err(ReadError::Store(_)) => match delays.next() {
                    Some(delay) => {
                        sleep(*delay).await;
                        continue;
                    }
                    None => return FollowEvent::Failed,
                },
            };
            if block.next == at {
                // The tick announced records that the store cannot read yet.
                sleep(RETRY_DELAYS[1]).await;
                continue;
            }
            self.cursor = block.next;
            let records = block.record_count() as u64;
            if block.is_empty() {
                // A long part of the log without a match must not delay the other followers.
                yield_now().await;
                continue;
            }
            match &mut self.remaining {
                Some(remaining) if *remaining <= records => {
                    return FollowEvent::Last(
                        block.first_records(usize::try_from(*remaining).unwrap_or(usize::MAX)),
                    );
                }
                Some(remaining) => *remaining -= records,
                None => {}
            }
            return FollowEvent::Block(block);
        }
    }
}
