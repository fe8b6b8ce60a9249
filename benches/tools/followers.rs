//! Follows a log over many connections while it sends records to it, and prints as JSON how many
//! followers got every record, how long that took, and the latencies of the senders.
//!
//! `followers PORT KEY ROOT FOLLOWERS RECORDS RATE SENDERS MESSAGE` sends `RATE` records a second over
//! `SENDERS` connections, or, with a rate of 0, as fast as these connections can send one at a time.
//! The latency of a record counts from the time at which it was due. Each follower checks that the
//! sequence numbers have no gap.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Time from the first record after which a follower has failed.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(150);

#[derive(Clone)]
struct Plan {
    address: SocketAddr,
    key: String,
    root: String,
    followers: usize,
    records: u64,
    rate: u64,
    senders: u64,
    message: String,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, key, root, followers, records, rate, senders, message] = &arguments[..] else {
        return Err(Error::other("usage: followers PORT KEY ROOT FOLLOWERS RECORDS RATE SENDERS MESSAGE"));
    };
    let number = |text: &String| text.parse::<u64>().map_err(Error::other);
    let plan = Plan {
        address: (Ipv4Addr::LOCALHOST, port.parse().map_err(Error::other)?).into(),
        key: key.clone(),
        root: root.clone(),
        followers: usize::try_from(number(followers)?).map_err(Error::other)?,
        records: number(records)?,
        rate: number(rate)?,
        senders: number(senders)?,
        message: message.clone(),
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (open, followed) = runtime.block_on(follow_all(&plan))?;
    let begun = Instant::now();
    let writing = std::thread::spawn({
        let plan = plan.clone();
        move || Builder::new_current_thread().enable_all().build()?.block_on(write_all(&plan))
    });
    let (whole, bytes) = runtime.block_on(followed.join(open));
    let all_after = begun.elapsed().as_secs_f64();
    let mut written = writing.join().map_err(|_| Error::other("the writers panicked"))??;
    written.micros.sort_unstable();
    let at = |share: f64| {
        let index = (written.micros.len() as f64 * share) as usize;
        written.micros.get(index.min(written.micros.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    println!(
        "{{\"followers\":{},\"whole\":{whole},\"received_mb\":{},\"all_after_s\":{all_after:.3},\"saved\":{},\"writers_s\":{:.3},\
        \"records_per_s\":{:.0},\"p50_us\":{},\"p99_us\":{},\"max_us\":{}}}",
        plan.followers,
        bytes / 1_000_000,
        written.micros.len(),
        written.seconds,
        written.micros.len() as f64 / written.seconds,
        at(0.5),
        at(0.99),
        at(1.0),
    );
    Ok(())
}

/// The running followers, and what they have received so far.
struct Followers {
    tasks: JoinSet<Option<u64>>,
    whole: u64,
    bytes: Arc<AtomicU64>,
}

impl Followers {
    /// Waits until each follower has every record. Returns the number of followers that have, and
    /// the bytes of all.
    async fn join(mut self, open: usize) -> (u64, u64) {
        let until = tokio::time::Instant::now() + FOLLOW_TIMEOUT;
        for _ in 0..open {
            match tokio::time::timeout_at(until, self.tasks.join_next()).await {
                Ok(Some(Ok(Some(_)))) => self.whole += 1,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        (self.whole, self.bytes.load(Ordering::Relaxed))
    }
}

async fn follow_all(plan: &Plan) -> Result<(usize, Followers)> {
    let bytes = Arc::new(AtomicU64::new(0));
    let mut followed = Followers { tasks: JoinSet::new(), whole: 0, bytes: Arc::clone(&bytes) };
    for _ in 0..plan.followers {
        let mut stream = TcpStream::connect(plan.address).await?;
        let request = format!(
            "GET /moca-file-log/tail HTTP/1.1\r\nHost: bench\r\nAPI-KEY: {}\r\nROOT-PASS: {}\r\n\r\n",
            plan.key, plan.root
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = vec![0; 4096];
        let count = stream.read(&mut head).await?;
        if !head[..count].starts_with(b"HTTP/1.1 200") {
            return Err(Error::other(String::from_utf8_lossy(&head[..count]).into_owned()));
        }
        let (records, bytes) = (plan.records, Arc::clone(&bytes));
        followed.tasks.spawn(async move { follow(stream, records, &bytes).await });
    }
    Ok((plan.followers, followed))
}

/// The route as it stands in each line: `<CLIENT|KEY|ROUTE|PID|SEQ>`.
const ROUTE: &[u8] = b"|save-log|";

/// Receives `records` records and returns their number; `None` when one is missing or repeated.
async fn follow(stream: TcpStream, records: u64, bytes: &AtomicU64) -> Option<u64> {
    // All followers run on one thread and share a buffer.
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 512 * 1024]);
    }
    let finder = Finder::new(ROUTE);
    let (mut seen, mut last, mut rest) = (0, None::<u64>, Vec::new());
    while seen < records {
        stream.readable().await.ok()?;
        let more = BUFFER.with_borrow_mut(|buffer| {
            let kept = rest.len();
            buffer[..kept].copy_from_slice(&rest);
            rest.clear();
            let count = match stream.try_read(&mut buffer[kept..]) {
                Ok(0) => return Some(false),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    rest.extend_from_slice(&buffer[..kept]);
                    return Some(true);
                }
                Err(_) => return Some(false),
            };
            bytes.fetch_add(count as u64, Ordering::Relaxed);
            let text = &buffer[..kept + count];
            // An incomplete last line is kept and searched with the next read.
            let whole = memchr::memrchr(b'\n', text).map_or(0, |newline| newline + 1);
            for found in finder.find_iter(&text[..whole]) {
                let sequence = sequence_number(&text[found + ROUTE.len()..whole])?;
                if last.is_some_and(|last| last + 1 != sequence) {
                    return None;
                }
                last = Some(sequence);
                seen += 1;
            }
            rest.extend_from_slice(&text[whole..]);
            Some(true)
        })?;
        if !more {
            return None;
        }
    }
    Some(seen)
}

/// Parses the sequence number of `PID|SEQ>`.
fn sequence_number(text: &[u8]) -> Option<u64> {
    let bar = memchr::memchr(b'|', text)?;
    let end = memchr::memchr(b'>', text)?;
    std::str::from_utf8(text.get(bar + 1..end)?).ok()?.parse().ok()
}

/// Latencies of all records in microseconds, and the duration of the whole.
struct Written {
    micros: Vec<u64>,
    seconds: f64,
}

async fn write_all(plan: &Plan) -> Result<Written> {
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..plan.senders {
        let (plan, next) = (plan.clone(), Arc::clone(&next));
        senders.spawn(async move { send(&plan, &next, begun).await });
    }
    let mut micros = Vec::new();
    while let Some(sent) = senders.join_next().await {
        micros.append(&mut sent.map_err(Error::other)??);
    }
    Ok(Written { micros, seconds: begun.elapsed().as_secs_f64() })
}

async fn send(plan: &Plan, next: &AtomicU64, begun: Instant) -> Result<Vec<u64>> {
    let mut stream = TcpStream::connect(plan.address).await?;
    stream.set_nodelay(true)?;
    let body = format!("{{\"level\":1,\"message\":\"{}\"}}", plan.message);
    let request = format!(
        "POST /moca-file-log/save-log HTTP/1.1\r\nHost: bench\r\nAPI-KEY: {}\r\nContent-Type: application/json\r\n\
        Content-Length: {}\r\n\r\n{body}",
        plan.key,
        body.len()
    );
    let mut answer = vec![0; 4096];
    let mut micros = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.records {
            return Ok(micros);
        }
        let mut due = Instant::now();
        if let Some(nanos) = (number * 1_000_000_000).checked_div(plan.rate) {
            due = begun + Duration::from_nanos(nanos);
            tokio::time::sleep_until(due.into()).await;
        }
        stream.write_all(request.as_bytes()).await?;
        let count = stream.read(&mut answer).await?;
        if !answer[..count].starts_with(b"HTTP/1.1 200") || !answer[..count].ends_with(b"success.") {
            return Err(Error::other(String::from_utf8_lossy(&answer[..count]).into_owned()));
        }
        micros.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}
