//! `mocactl top`: shows live figures of all logs in a terminal.

mod row;
mod sample;
mod screen;
mod terminal;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use self::row::Row;
use self::sample::{Figures, Sample};
use self::screen::View;
use self::terminal::{Key, Terminal, TerminalEvent};
use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::system::instance_state::{RUNNING, StateReader};
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of logs; without a name, all that are switched on
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Take two samples, print the figures between them, and end; without a terminal this is the
    /// default
    #[arg(long)]
    once: bool,
    /// Same as --once, as JSON
    #[arg(long)]
    json: bool,
}

/// Maximum time without a byte of a reply. After it `top` shows the instance as silent.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0.1 to 3600 seconds".to_owned())
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let states = StateReader::new(directories);
    let mut watch = Watch { args, directories, before: HashMap::new(), states };
    let rows = watch.look()?;
    if args.once || args.json || !terminal::is_available() {
        drop(rows);
        std::thread::sleep(args.interval);
        return once(args, &watch.look()?, printer);
    }
    live(&mut watch, rows, printer)
}

fn once(args: &Args, rows: &[Row], printer: &mut Printer) -> Outcome {
    if args.json {
        printer.json(&rows)?;
        return Ok(0);
    }
    for line in screen::table(rows, printer, None) {
        printer.styled_line(&line)?;
    }
    printer.flush()?;
    for error in rows.iter().filter_map(|row| row.error.as_ref()) {
        print_note(format_args!("mocactl: {error}"));
    }
    Ok(0)
}

fn live(watch: &mut Watch<'_>, mut rows: Vec<Row>, printer: &Printer) -> Outcome {
    let unusable = |error: std::io::Error| Error::new(Exit::IoErr, format!("the terminal fails: {error}"));
    let terminal = Terminal::take().map_err(unusable)?;
    let mut view = View::new(watch.args.interval);
    let mut next = Instant::now() + watch.args.interval;
    loop {
        terminal.draw(&view.lines(&mut rows, printer, Terminal::size())).map_err(Error::Output)?;
        match Terminal::wait(next).map_err(unusable)? {
            TerminalEvent::Pressed(keys) if keys.contains(&Key::Quit) => return Ok(0),
            TerminalEvent::Pressed(keys) => keys.into_iter().for_each(|key| view.press(key, rows.len())),
            TerminalEvent::HungUp => return Ok(0),
            TerminalEvent::Resized => {}
            TerminalEvent::TimedOut => {
                rows = watch.look()?;
                next = Instant::now() + watch.args.interval;
            }
        }
    }
}

/// Samples the instances, and keeps the last sample of each.
struct Watch<'a> {
    args: &'a Args,
    directories: &'a Directories,
    before: HashMap<LogName, Sample>,
    states: StateReader<'a>,
}

impl Watch<'_> {
    /// Samples all running instances at the same time.
    fn look(&mut self) -> Result<Vec<Row>, Error> {
        let names = LogSelection::load(self.directories)?.select(&self.args.names)?;
        let states = self.states.read(&names)?;
        let asked: Vec<Option<Result<Sample, Error>>> = std::thread::scope(|scope| {
            let directories = self.directories;
            let threads: Vec<_> = names
                .iter()
                .zip(&states)
                .map(|(name, state)| {
                    (state.word == RUNNING).then(|| scope.spawn(move || ask(name, directories)))
                })
                .collect();
            let gone = |_| Err(Error::new(Exit::Software, "a thread panicked"));
            threads.into_iter().map(|thread| thread.map(|t| t.join().unwrap_or_else(gone))).collect()
        });
        let mut rows = Vec::with_capacity(names.len());
        for ((name, state), asked) in names.into_iter().zip(states).zip(asked) {
            let mut word = state.word;
            let (mut figures, mut error) = (Figures::default(), None);
            match asked {
                Some(Ok(sample)) => {
                    figures = sample.since(self.before.get(&name));
                    self.before.insert(name.clone(), sample);
                }
                // If one instance refuses this user, the others do so too.
                Some(Err(refused @ Error::Failed { exit: Exit::NoPerm, .. })) => return Err(refused),
                // Without a listener, the socket is left over from a process that has ended.
                Some(Err(why)) => match (state.unless_it_listens, &why) {
                    (Some(silent), Error::Failed { exit: Exit::Unavailable, .. }) => word = silent,
                    _ => error = Some(why.to_string()),
                },
                None => {}
            }
            rows.push(Row { name: name.to_string(), state: word, figures, error });
        }
        Ok(rows)
    }
}

fn ask(name: &LogName, directories: &Directories) -> Result<Sample, Error> {
    let client = AdminClient::new(directories, name)?.with_read_timeout(REPLY_TIMEOUT);
    let text = client.text("/metrics")?;
    Ok(Sample::read(&text, Instant::now()))
}
