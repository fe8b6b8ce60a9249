//! Tests of the connections that make room for others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

use super::*;

/// A connection whose silence the test sets. 0 stands for a request.
#[derive(Default)]
struct Client(AtomicU64);

impl Silence for Client {
    fn silent_since(&self) -> Option<Millis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }
}

type Serving = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Opens a connection that has been silent since `since`.
fn open(limiter: &Arc<ConnectionLimiter>, since: Millis) -> (Arc<Client>, Serving) {
    let client = Arc::new(Client(AtomicU64::new(since)));
    let permit = limiter.enter(None, None, Arc::<Client>::clone(&client)).unwrap();
    let mut serving: Serving = Box::pin(permit.evictable(std::future::pending(), ()));
    assert!((&mut serving).now_or_never().is_none());
    (client, serving)
}

fn limiter() -> Arc<ConnectionLimiter> {
    Arc::new(ConnectionLimiter::new(0))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Polls all connections. Returns the indices of those that ended, and removes them.
fn ended(connections: &mut Vec<(Arc<Client>, Serving)>) -> Vec<u64> {
    let mut ended = Vec::new();
    connections.retain_mut(|(client, serving)| {
        let has_ended = serving.now_or_never().is_some();
        if has_ended {
            ended.push(client.0.load(Ordering::Relaxed));
        }
        !has_ended
    });
    ended
}

#[test]
fn the_longest_silent_connection_makes_room() {
    let limiter = limiter();
    let mut connections: Vec<_> = [500, 0, 300, 400].map(|since| open(&limiter, since)).into();
    run(async {
        for expected in [300, 400, 500] {
            assert!(limiter.room(|| 4).now_or_never().is_none(), "there is no room yet");
            assert_eq!(ended(&mut connections), [expected]);
            assert!(limiter.room(|| 4).now_or_never().is_some());
            connections.push(open(&limiter, 1000 + expected));
        }
    });
}

#[test]
fn a_connection_with_a_request_stays_open() {
    let limiter = limiter();
    let mut connections: Vec<_> = [300, 400].map(|since| open(&limiter, since)).into();
    run(async {
        assert!(limiter.room(|| 2).now_or_never().is_none());
        // A request arrives before the task of the connection runs.
        connections[0].0.0.store(0, Ordering::Relaxed);
        assert!(ended(&mut connections).is_empty());
        // The connection stays open after the request too.
        connections[0].0.0.store(900, Ordering::Relaxed);
        assert!(ended(&mut connections).is_empty());
        connections[0].0.0.store(0, Ordering::Relaxed);
        assert!(limiter.room(|| 2).now_or_never().is_none());
        assert_eq!(ended(&mut connections), [400]);
        connections.push(open(&limiter, 0));
        assert!(limiter.room(|| 2).now_or_never().is_none());
        assert!(ended(&mut connections).is_empty(), "no connection is silent");
        // One that becomes silent later makes room.
        connections[1].0.0.store(1000, Ordering::Relaxed);
        let room = async {
            while ended(&mut connections).is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(limiter.room(|| 2), room);
    });
}

#[test]
fn a_flood_needs_few_searches_and_evicts_in_order() {
    let limiter = limiter();
    let mut connections: Vec<_> = (1..=1000).map(|since| open(&limiter, since)).collect();
    run(async {
        for since in 1..=3000 {
            assert!(limiter.room(|| 1000).now_or_never().is_none());
            assert_eq!(limiter.lock().candidates.len() as u64, 63 - (since - 1) % 64, "{since}");
            assert_eq!(ended(&mut connections), [since]);
            connections.push(open(&limiter, 1000 + since));
        }
    });
    drop(connections);
    let left = limiter.lock();
    assert_eq!((left.open, left.served.len()), (0, 0));
}

#[test]
fn refusals_are_bounded_beyond_the_limit() {
    let limiter = limiter();
    let _open: Vec<_> = (0..10).map(|_| open(&limiter, 0)).collect();
    let refused: Vec<_> = std::iter::from_fn(|| limiter.enter_refused(10)).collect();
    assert_eq!(refused.len(), MAX_REFUSALS_BEYOND_LIMIT as usize);
    drop(refused);
    assert!(limiter.enter_refused(10).is_some());
}

#[test]
fn a_network_of_ipv6_counts_as_one() {
    let limiter = limiter();
    let enter = |address: &str| {
        let network = ClientNetwork::of(address.parse::<IpAddr>().unwrap());
        limiter.enter(NonZeroU32::new(2), Some(network), Arc::new(Client::default()))
    };
    let first = enter("2001:db8::1").unwrap();
    let _second = enter("2001:db8::2").unwrap();
    assert!(enter("2001:db8::3").is_none() && enter("2001:db8:0:1::1").is_some());
    let network = ClientNetwork::of("2001:db8::9".parse::<IpAddr>().unwrap());
    assert!(limiter.is_full_for(NonZeroU32::new(2), Some(network)));
    drop(first);
    assert!(!limiter.is_full_for(NonZeroU32::new(2), Some(network)));
    assert!(enter("2001:db8::3").is_some());
}
