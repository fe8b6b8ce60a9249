//! `mocactl tail`: what a log has last, and what comes.
//!
//! The file is asked again and again for what follows the bytes that were printed. Each question begins a little before
//! that, at an anchor: when the log no longer has it there, it was cleared or rotated, and following starts over.

use std::io::{self, Read};
use std::os::fd::AsFd;

use clap::Args;
use nix::poll::{PollFd, PollFlags, poll};

use super::admin::Admin;
use super::error::{Error, Outcome};
use super::lines::{self, ANCHOR, Place, Sink};
use super::logs::Logs;
use super::out::{Out, remark};
use super::places::Places;
use crate::config::LogName;
use crate::exit::Exit;

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The log; may be left out when only one is switched on
    name: Option<LogName>,
    /// How many lines come first
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Milliseconds between two questions.
const PAUSE: u16 = 250;
/// The same while nobody answers.
const PAUSE_AWAY: u16 = 1000;

/// How far a log was printed.
struct Position {
    end: u64,
    /// what stands before `end`
    anchor: Vec<u8>,
}

/// What asking again gave.
#[derive(PartialEq, Eq)]
enum News {
    Nothing,
    Lines,
    /// the log is not the one that was printed
    StartedOver,
}

pub(crate) fn run(tail: &Tail, places: &Places, out: &mut Out) -> Outcome {
    let name = Logs::load(places)?.one(tail.name.as_ref())?;
    let admin = Admin::new(&places.run, &name);
    let mut sink = Sink::new(tail.json);
    let latest = lines::latest(&admin, tail.lines)?;
    sink.write(&latest.lines, out)?;
    out.flush()?;
    let mut position = Position { end: latest.end, anchor: latest.anchor };
    let mut away = false;
    loop {
        if gone_after(if away { PAUSE_AWAY } else { PAUSE }) {
            return Ok(0);
        }
        match position.advance(&admin, &mut sink, out) {
            Ok(News::Nothing) => away = false,
            Ok(News::Lines) => {
                away = false;
                out.flush()?;
            }
            Ok(News::StartedOver) => {
                away = false;
                sink.end(out)?;
                out.flush()?;
                remark(format_args!("mocactl: {name} was cleared or rotated; following it from its start"));
            }
            Err(error @ Error::Failed { exit: Exit::Unavailable | Exit::TempFail, .. }) => {
                // a restart takes a moment, and nothing is lost meanwhile
                if !away {
                    out.flush()?;
                    remark(format_args!("mocactl: {error}; waiting for it"));
                }
                away = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits; true when nobody reads the output any more.
fn gone_after(milliseconds: u16) -> bool {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let polled = poll(&mut descriptors, milliseconds);
    let [descriptor] = &descriptors;
    let gone = descriptor.revents().is_some_and(|events| events.intersects(PollFlags::POLLERR));
    if polled.is_err() {
        // a signal that does not end the program
        std::thread::sleep(std::time::Duration::from_millis(u64::from(milliseconds)));
    }
    gone
}

impl Position {
    fn advance(&mut self, admin: &Admin, sink: &mut Sink, out: &mut Out) -> Result<News, Error> {
        let from = self.end - self.anchor.len() as u64;
        let mut reply = lines::part(admin, &format!("bytes={from}-"))?;
        let Some(place) = Place::of(&reply) else {
            return Ok(if self.end == 0 { News::Nothing } else { self.start_over() });
        };
        let mut body = reply.body.by_ref();
        if place.first != from {
            return Ok(self.start_over());
        }
        let mut anchor = Vec::with_capacity(ANCHOR);
        (&mut body).take(self.anchor.len() as u64).read_to_end(&mut anchor).map_err(|e| admin.broken(&e))?;
        if anchor != self.anchor {
            return Ok(self.start_over());
        }
        let mut news = News::Nothing;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = body.read(&mut buffer).map_err(|error| admin.broken(&error))?;
            if count == 0 {
                return Ok(news);
            }
            sink.write(&buffer[..count], out)?;
            self.printed(&buffer[..count]);
            news = News::Lines;
        }
    }

    fn printed(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        self.anchor.extend_from_slice(&bytes[bytes.len().saturating_sub(ANCHOR)..]);
        let excess = self.anchor.len().saturating_sub(ANCHOR);
        self.anchor.drain(..excess);
    }

    fn start_over(&mut self) -> News {
        *self = Self { end: 0, anchor: Vec::new() };
        News::StartedOver
    }
}
