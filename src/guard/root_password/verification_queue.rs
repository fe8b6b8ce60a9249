//! Bounds the verifications of root passwords: how many run, how many wait, and in which order.
//!
//! Networks take turns, so that a network with many attempts delays the attempts of others by one
//! verification each. When the queue is full, the network with the most waiting attempts loses its
//! last one to a network with fewer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::guard::client_addr::CountedClient;

/// Maximum number of Argon2id verifications at the same time. The hash determines the memory and
/// time of each.
pub(crate) const MAX_CONCURRENT_VERIFICATIONS: usize = 2;
/// Maximum number of attempts that wait for their verification.
pub(crate) const MAX_WAITING_ATTEMPTS: usize = 32;

/// The queue of the attempts.
#[derive(Default)]
pub(crate) struct VerificationQueue {
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    running: usize,
    /// The waiting attempts, in the order of their arrival.
    waiting: Vec<Waiting>,
    /// The last turns of the networks that wait, in their order.
    last_turns: Vec<CountedClient>,
}

struct Waiting {
    network: CountedClient,
    turn: oneshot::Sender<VerificationPermit>,
}

/// The permission to verify one password. Dropping it gives the turn to the next attempt.
pub(crate) struct VerificationPermit {
    queue: Option<Arc<VerificationQueue>>,
}

/// Too many attempts wait already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl VerificationQueue {
    /// Waits for the turn of an attempt from `network`.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(crate) async fn turn(
        self: &Arc<Self>,
        network: CountedClient,
    ) -> Result<VerificationPermit, QueueFull> {
        let turn = {
            let mut turns = self.lock();
            turns.waiting.retain(|waiting| !waiting.turn.is_closed());
            if turns.running < MAX_CONCURRENT_VERIFICATIONS {
                turns.running += 1;
                return Ok(VerificationPermit { queue: Some(Arc::clone(self)) });
            }
            if turns.waiting.len() >= MAX_WAITING_ATTEMPTS && !turns.make_room_for(network) {
                return Err(QueueFull);
            }
            let (sender, turn) = oneshot::channel();
            turns.waiting.push(Waiting { network, turn: sender });
            turn
        };
        turn.await.map_err(|_| QueueFull)
    }

    /// Returns the number of verifications that run.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.lock().running
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a turn on to the next attempt.
    fn pass_on(self: Arc<Self>) {
        let mut turns = self.lock();
        loop {
            let Some(next) = turns.take_next() else {
                turns.running -= 1;
                return;
            };
            match next.turn.send(VerificationPermit { queue: Some(Arc::clone(&self)) }) {
                Ok(()) => return,
                // The client has left. Its permit must not pass the turn on a second time.
                Err(mut permit) => permit.queue = None,
            }
        }
    }
}

impl Turns {
    /// Removes the last waiting attempt of the network that has most of them. Returns false when
    /// `network` would then have no fewer.
    fn make_room_for(&mut self, network: CountedClient) -> bool {
        let count_of = |network| self.waiting.iter().filter(|waiting| waiting.network == network).count();
        let largest = self.waiting.iter().map(|waiting| waiting.network).max_by_key(|&other| count_of(other));
        let Some(largest) = largest.filter(|&largest| count_of(largest) > count_of(network) + 1) else {
            return false;
        };
        if let Some(last) = self.waiting.iter().rposition(|waiting| waiting.network == largest) {
            self.waiting.remove(last);
        }
        true
    }

    /// Takes the first attempt of the network whose last turn is longest ago.
    fn take_next(&mut self) -> Option<Waiting> {
        let Self { waiting, last_turns, .. } = self;
        last_turns.retain(|network| waiting.iter().any(|waiting| waiting.network == *network));
        let last_turn = |waiting: &Waiting| last_turns.iter().position(|network| *network == waiting.network);
        // An attempt of a network without a turn comes first. The first of equal ones is the oldest.
        let next = (0..waiting.len()).min_by_key(|&index| waiting.get(index).map(last_turn))?;
        let next = waiting.remove(next);
        last_turns.retain(|network| *network != next.network);
        last_turns.push(next.network);
        Some(next)
    }
}

impl Drop for VerificationPermit {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;

    use super::*;
    use crate::guard::client_addr::ClientAddr;

    type Turn = std::pin::Pin<Box<dyn Future<Output = Result<VerificationPermit, QueueFull>>>>;

    fn network(n: u8) -> CountedClient {
        ClientAddr::from(IpAddr::from([192, 0, 2, n])).counted()
    }

    /// Queues an attempt, and polls it once.
    fn attempt(queue: &Arc<VerificationQueue>, n: u8) -> (u8, Turn) {
        let queue = Arc::clone(queue);
        let mut turn: Turn = Box::pin(async move { queue.turn(network(n)).await });
        assert!((&mut turn).now_or_never().is_none(), "{n} has its turn already");
        (n, turn)
    }

    /// Returns the attempt that has its turn now.
    fn next(waiting: &mut Vec<(u8, Turn)>) -> Option<(u8, VerificationPermit)> {
        let (index, permit) = (0..waiting.len())
            .find_map(|index| Some((index, (&mut waiting[index].1).now_or_never()?.ok()?)))?;
        Some((waiting.remove(index).0, permit))
    }

    fn both_running(queue: &Arc<VerificationQueue>) -> (VerificationPermit, VerificationPermit) {
        let turn = || queue.turn(network(250)).now_or_never().unwrap().unwrap();
        (turn(), turn())
    }

    #[test]
    fn networks_take_turns() {
        let queue = Arc::default();
        let (first, _second) = both_running(&queue);
        let mut waiting: Vec<_> = [1, 1, 1, 1, 2, 2, 3].map(|n| attempt(&queue, n)).into();
        drop(first);
        let mut order = Vec::new();
        while let Some((n, permit)) = next(&mut waiting) {
            order.push(n);
            drop(permit);
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1, 1]);
    }

    #[test]
    fn a_full_queue_has_room_for_a_network_with_fewer_attempts() {
        let queue = Arc::default();
        let (first, _second) = both_running(&queue);
        let mut waiting: Vec<_> = (0..MAX_WAITING_ATTEMPTS).map(|_| attempt(&queue, 1)).collect();
        assert!(queue.turn(network(1)).now_or_never().unwrap().is_err(), "33 attempts of one network");
        waiting.push(attempt(&queue, 2));
        let displaced = waiting.iter_mut().filter_map(|(n, turn)| Some((*n, turn.now_or_never()?.is_err())));
        assert_eq!(displaced.collect::<Vec<_>>(), [(1, true)]);
        drop(waiting.remove(MAX_WAITING_ATTEMPTS - 1));
        drop(first);
        let (n, permit) = next(&mut waiting).unwrap();
        assert_eq!(n, 1);
        drop(permit);
        assert_eq!(next(&mut waiting).unwrap().0, 2);
    }

    #[test]
    fn clients_that_leave_free_their_places() {
        let queue = Arc::default();
        let (first, second) = both_running(&queue);
        let waiting: Vec<_> = (0..MAX_WAITING_ATTEMPTS).map(|_| attempt(&queue, 1)).collect();
        drop(waiting);
        let mut waiting = vec![attempt(&queue, 1)];
        drop((first, second));
        drop(next(&mut waiting).unwrap());
        assert_eq!(queue.lock().running, 0);
        // A client may also leave between its turn and the next poll.
        let (first, second) = both_running(&queue);
        let waiting = attempt(&queue, 1);
        drop((first, second));
        drop(waiting);
        assert_eq!(queue.lock().running, 0);
    }
}
