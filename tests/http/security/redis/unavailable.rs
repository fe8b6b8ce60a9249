//! Tests with a Redis that dies, hangs, is missing or refuses. No request fails or waits, and the
//! server uses Redis again when it works.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{id, save, target, times_away, times_in_use, undisturbed, wait_until_in_use, with_redis};
use crate::harness::{Conn, Redis, Server, eventually, slowness};

/// Returns the maximum time of a request, which is longer on a slow machine.
fn max_wait() -> Duration {
    Duration::from_millis(50) + Duration::from_millis(200) * slowness()
}

/// Counts the outcomes of requests.
#[derive(Default, Debug)]
struct Outcomes {
    accepted: usize,
    limited: usize,
    slowest: Duration,
    total: Duration,
}

impl Outcomes {
    fn ask(&mut self, conn: &mut Conn, key: &str) {
        let asked = Instant::now();
        match conn.get(&target(key)).status {
            200 => self.accepted += 1,
            429 => self.limited += 1,
            other => panic!("{other}"),
        }
        let took = asked.elapsed();
        self.slowest = self.slowest.max(took);
        self.total += took;
    }

    fn count(&self) -> usize {
        self.accepted + self.limited
    }
}

/// Sends requests from four clients without a pause while `meanwhile` runs.
fn under_load(server: &Server, meanwhile: impl FnOnce()) -> Outcomes {
    let over = AtomicBool::new(false);
    let (over, address) = (&over, server.address());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let key = if n % 2 == 0 { "few" } else { "many" };
                scope.spawn(move || {
                    let (mut seen, mut conn) = (Outcomes::default(), Conn::open(address).unwrap());
                    while !over.load(Ordering::Relaxed) {
                        seen.ask(&mut conn, key);
                    }
                    seen
                })
            })
            .collect();
        meanwhile();
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).fold(Outcomes::default(), |sum, seen| {
            Outcomes {
                accepted: sum.accepted + seen.accepted,
                limited: sum.limited + seen.limited,
                slowest: sum.slowest.max(seen.slowest),
                total: sum.total + seen.total,
            }
        })
    })
}

fn server_with_limits(redis: &Redis) -> Server {
    let setup = with_redis(&redis.url()).key("few", &json!({"rate": "5/minute"}));
    setup.key("many", &json!({"rate": "1000000/hour"})).start()
}

/// Returns an error when a request had to wait.
fn check_no_request_waited(seen: &Outcomes) -> Result<(), String> {
    assert!(seen.accepted > 100 && seen.limited > 100, "{seen:?}");
    // Only the few requests in progress at that moment waited.
    let mean = seen.total / u32::try_from(seen.count()).unwrap();
    let good = seen.slowest < max_wait() && mean < Duration::from_millis(20) * slowness();
    if good { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn wait_until_redis_counts(redis: &Redis, server: &Server) {
    eventually("counted in Redis", Duration::from_secs(5), || {
        redis.say(&["FLUSHALL"]);
        save(server, "many").success();
        redis.counters().len() == 1
    });
}

#[test]
fn a_killed_redis_fails_no_request_and_is_used_again_after_its_start() {
    undisturbed(|| {
        let Some(mut redis) = Redis::start(&[]) else { return Ok(()) };
        let server = server_with_limits(&redis);
        wait_until_in_use(&server, 1);
        let seen = under_load(&server, || {
            std::thread::sleep(Duration::from_millis(500));
            redis.kill();
            std::thread::sleep(Duration::from_millis(1500));
            redis.respawn();
            wait_until_in_use(&server, 2);
            std::thread::sleep(Duration::from_millis(300));
        });
        wait_until_redis_counts(&redis, &server);
        assert_eq!(times_away(&server), 1, "{}", server.stderr());
        check_no_request_waited(&seen)
    });
}

#[test]
fn a_hanging_redis_fails_no_request_and_is_used_again_when_it_continues() {
    undisturbed(|| {
        let Some(redis) = Redis::start(&[]) else { return Ok(()) };
        let server = server_with_limits(&redis);
        wait_until_in_use(&server, 1);
        let seen = under_load(&server, || {
            std::thread::sleep(Duration::from_millis(500));
            redis.signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_millis(3000));
            assert_eq!(times_in_use(&server), 1);
            redis.signal(Signal::SIGCONT);
            wait_until_in_use(&server, 2);
            std::thread::sleep(Duration::from_millis(300));
        });
        wait_until_redis_counts(&redis, &server);
        assert_eq!(times_away(&server), 1, "{}", server.stderr());
        assert!(server.stderr().contains("no answer within 35 ms"), "{}", server.stderr());
        check_no_request_waited(&seen)
    });
}

#[test]
fn memory_continues_from_the_counts_of_redis() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let server = server_with_limits(&redis);
    wait_until_in_use(&server, 1);
    // Another instance counted two of them.
    (0..2).for_each(|_| save(&server, "few").success());
    redis.say(&["INCRBY", &format!("LIMITER/{}/5/1/minute", id("few")), "2"]);
    let answer = save(&server, "few");
    assert!(answer.expect_header("ratelimit").contains(";r=0;"), "{answer:?}");
    redis.kill();
    assert_eq!(save(&server, "few").status, 429, "{}", server.stderr());
    eventually("it is said", Duration::from_secs(2), || times_away(&server) == 1);
    let refused = save(&server, "few");
    assert!((1..=60).contains(&refused.retry_after()), "{refused:?}");
}

#[test]
fn requests_do_not_wait_for_a_hanging_redis() {
    let Some(redis) = Redis::start(&[]) else { return };
    let server = server_with_limits(&redis);
    wait_until_in_use(&server, 1);
    redis.signal(Signal::SIGSTOP);
    let mut conn = server.connect();
    let first = Instant::now();
    assert_eq!(conn.get(&target("many")).status, 200);
    assert!(first.elapsed() >= Duration::from_millis(34), "it did not hang: {:?}", first.elapsed());
    assert!(first.elapsed() < max_wait());
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let asked = Instant::now();
            assert_eq!(conn.get(&target("many")).status, 200);
            asked.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[150] < Duration::from_millis(20) * slowness(), "{:?}", &times[150..]);
    redis.signal(Signal::SIGCONT);
}

#[test]
fn a_redis_missing_at_the_start_is_used_later() {
    let Some(mut redis) = Redis::later(&[]) else { return };
    let server = server_with_limits(&redis);
    assert!(server.ready_after() < Duration::from_secs(2) * slowness(), "{:?}", server.ready_after());
    let accepted = (0..10).filter(|_| save(&server, "few").status == 200).count();
    assert_eq!(accepted, 5, "the limits in memory decide");
    eventually("it is said once", Duration::from_secs(2), || times_away(&server) == 1);
    redis.respawn();
    wait_until_in_use(&server, 1);
    wait_until_redis_counts(&redis, &server);
    let accepted = (0..10).filter(|_| save(&server, "few").status == 200).count();
    assert_eq!(accepted, 5);
}

#[test]
fn a_redis_that_refuses_writes_is_not_used() {
    let Some(redis) = Redis::start(&[]) else { return };
    // The cases are a full Redis, a read-only replica, and a Redis that requires replicas.
    for (n, (refuse, relent, words)) in [
        (["CONFIG SET maxmemory 1"], "CONFIG SET maxmemory 0", "no memory left"),
        (["REPLICAOF 127.0.0.1 1"], "REPLICAOF NO ONE", "replica"),
        (
            ["CONFIG SET min-replicas-to-write 3"],
            "CONFIG SET min-replicas-to-write 0",
            "without its replicas",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let say = |line: &str| redis.say(&line.split(' ').collect::<Vec<_>>());
        let server = server_with_limits(&redis);
        wait_until_in_use(&server, 1);
        refuse.into_iter().for_each(|line| {
            say(line);
        });
        let accepted = (0..10).filter(|_| save(&server, "few").status == 200).count();
        assert_eq!(accepted, 5, "{n}: the limits in memory decide");
        eventually("it is said why", Duration::from_secs(2), || server.stderr().contains(words));
        assert_eq!(times_away(&server), 1, "{}", server.stderr());
        say(relent);
        wait_until_in_use(&server, 2);
        wait_until_redis_counts(&redis, &server);
        redis.say(&["FLUSHALL"]);
    }
}

#[test]
fn another_program_at_its_address_is_not_used() {
    for answer in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"+OK\r\n", b"*2\r\n:1\r\n:-7\r\n", b"*-9\r\n", b""]
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut question = [0; 4096];
                    while stream.read(&mut question).is_ok_and(|length| length > 0) {
                        stream.write_all(answer).ok();
                    }
                });
            }
        });
        let server = with_redis(&url).key("k", &json!({"rate": "2/hour"})).start();
        eventually("it is said", Duration::from_secs(3), || times_away(&server) == 1);
        let asked = Instant::now();
        assert_eq!((0..5).filter(|_| save(&server, "k").status == 200).count(), 2);
        assert!(asked.elapsed() < max_wait() * 2);
        assert_eq!(times_in_use(&server), 0);
    }
}

#[test]
fn a_wrong_password_is_logged_once_and_never_shown() {
    let Some(redis) = Redis::start(&["--requirepass", "s3cret-right"]) else { return };
    for login in [":s3cret-wrong@", "s3cret-user:s3cret-right@", ""] {
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        let server = with_redis(&url).key("k", &json!({"rate": "2/hour"})).start();
        eventually("it is said", Duration::from_secs(3), || times_away(&server) == 1);
        assert_eq!((0..5).filter(|_| save(&server, "k").status == 200).count(), 2);
        // Waits for several attempts.
        std::thread::sleep(Duration::from_millis(1500));
        let stderr = server.stderr();
        assert_eq!((times_away(&server), times_in_use(&server)), (1, 0), "{stderr}");
        assert!(stderr.contains("it refuses the user, the password or the database"), "{stderr}");
        assert!(stderr.contains(&format!("127.0.0.1:{}", redis.port())), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}
