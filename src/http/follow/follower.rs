//! One follower: where it is, what it wants, and the blocks that come next, as long as it may have them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::block::{Block, BlockFormat};
use super::hub::{FollowContext, FollowerHub, FollowerPermit, Tick};
use crate::store::{Cursor, ReadError};

/// See the module. It holds a cursor, and nothing of the log.
pub(crate) struct Follower {
    context: Arc<dyn FollowContext>,
    pub(crate) shape: BlockFormat,
    at: Cursor,
    /// records that may still come
    left: Option<u64>,
    /// of pieces
    most: u64,
    would_admit: WouldAdmit,
    rounds: watch::Receiver<Tick>,
    auth_epoch: u64,
    _seat: FollowerPermit,
}

/// Reports whether the caller would be admitted if it asked now.
pub(crate) type WouldAdmit = Box<dyn Fn() -> bool + Send + Sync>;

/// What a follower gets.
#[derive(Debug, Clone)]
pub(crate) enum FollowEvent {
    /// records
    Block(Arc<Block>),
    /// the last ones
    Last(Bytes),
    /// it may not follow any more, and has to ask again
    Refused,
    /// the log can't be read
    Failed,
}

/// After a read that failed: it may have been a clear, or a disk that is busy.
const RESTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_secs(1)];

impl Follower {
    pub(crate) fn new(
        context: Arc<dyn FollowContext>,
        would_admit: WouldAdmit,
        shape: BlockFormat,
        at: Cursor,
        limit: Option<u64>,
    ) -> Self {
        let (seat, rounds) = FollowerHub::enter(&context);
        let auth_epoch = rounds.borrow().auth_epoch;
        Self { context, shape, at, left: limit, most: u64::MAX, would_admit, rounds, auth_epoch, _seat: seat }
    }

    /// Pieces of no more than so many bytes.
    pub(crate) const fn in_pieces_of(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// Cancelled when the instance stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.context.stop()
    }

    /// Returns the instance that it follows.
    pub(crate) fn context(&self) -> &Arc<dyn FollowContext> {
        &self.context
    }

    /// What comes; it ends after anything but a block.
    pub(crate) fn given(self) -> impl Stream<Item = FollowEvent> + Send {
        unfold(Some(self), |this| async move {
            let mut this = this?;
            let given = this.next().await;
            let goes_on = matches!(given, FollowEvent::Block(_));
            Some((given, goes_on.then_some(this)))
        })
    }

    /// The next block with records in it.
    async fn next(&mut self) -> FollowEvent {
        let mut failures = RESTS.iter();
        loop {
            let at = self.at;
            let auth_epoch = self.auth_epoch;
            let news = self.rounds.wait_for(|round| at < round.end || round.auth_epoch != auth_epoch).await;
            let Ok(round) = news.map(|round| *round) else { return FollowEvent::Failed };
            if round.auth_epoch != auth_epoch {
                if !(self.would_admit)() {
                    return FollowEvent::Refused;
                }
                self.auth_epoch = round.auth_epoch;
                continue;
            }
            let hub = self.context.hub();
            let size = hub.piece_size().min(self.most);
            let block = match hub.blocks.get(self.context.store(), &self.shape, at, size).await {
                Ok(block) => block,
                Err(ReadError::Gone { oldest }) => {
                    // The log was cleared under an open stream, which goes on with what is left.
                    self.at = oldest;
                    continue;
                }
                Err(ReadError::Store(_)) => match failures.next() {
                    Some(rest) => {
                        sleep(*rest).await;
                        continue;
                    }
                    None => return FollowEvent::Failed,
                },
            };
            if block.next == at {
                // Told of more than can be read yet.
                sleep(RESTS[1]).await;
                continue;
            }
            self.at = block.next;
            let records = block.records() as u64;
            if records == 0 {
                // Long stretches without a match must not hold up others.
                tokio::task::yield_now().await;
                continue;
            }
            match &mut self.left {
                Some(left) if *left <= records => {
                    return FollowEvent::Last(block.first(usize::try_from(*left).unwrap_or(usize::MAX)));
                }
                Some(left) => *left -= records,
                None => {}
            }
            return FollowEvent::Block(block);
        }
    }
}
