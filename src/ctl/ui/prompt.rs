//! Asks the operator questions at the terminal.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::ctl::error::Error;
use crate::ctl::ui::output::{print_note, write_to_stderr};
use crate::exit::Exit;

/// Asks the operator whether to go on. With `yes` it asks nothing and returns true.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<bool, Error> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        let message = format!("{question} There is no terminal to ask on: pass --yes to go on");
        return Err(Error::new(Exit::Usage, message));
    }
    write_to_stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| read_error(&error))?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        print_note("Nothing was changed.");
    }
    Ok(yes)
}

/// Returns whether there is a terminal to ask on.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Asks the operator to type a word. Any other answer is a no.
pub(crate) fn confirm_by_word(question: &str, word: &str) -> Result<bool, Error> {
    write_to_stderr(&format!("{question} Type {word} to go on: "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| read_error(&error))?;
    let yes = answer.trim() == word;
    if !yes {
        print_note("Nothing was changed.");
    }
    Ok(yes)
}

/// Reads one line of standard input, without its line end.
fn read_stdin_line(what: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let limit = 64 * 1024;
    io::stdin().lock().take(limit).read_until(b'\n', &mut bytes).map_err(|error| read_error(&error))?;
    without_line_end(bytes, what)
}

/// Returns the argument. For `-` it reads one line of standard input, which other users cannot see.
pub(crate) fn argument_or_stdin(argument: &str, what: &str) -> Result<String, Error> {
    if argument == "-" { read_stdin_line(what) } else { Ok(argument.to_owned()) }
}

/// Reads a new password. On a terminal it asks twice and without echo. Otherwise it reads one line
/// of standard input.
pub(crate) fn new_password() -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return read_stdin_line("the password");
    }
    let password = read_hidden("New root password: ")?;
    if read_hidden("The same again: ")? != password {
        return Err(Error::new(Exit::DataErr, "the two passwords are different; nothing was changed"));
    }
    Ok(password)
}

fn read_hidden(question: &str) -> Result<String, Error> {
    let terminal = File::open("/dev/tty").map_err(|error| read_error(&error))?;
    write_to_stderr(question);
    let silence = EchoOff::on(&terminal).map_err(|error| read_error(&error))?;
    let mut bytes = Vec::new();
    let read = io::BufReader::new(&terminal).take(64 * 1024).read_until(b'\n', &mut bytes);
    drop(silence);
    print_note("");
    read.map_err(|error| read_error(&error))?;
    without_line_end(bytes, "the password")
}

fn without_line_end(mut bytes: Vec<u8>, what: &str) -> Result<String, Error> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::new(Exit::DataErr, format!("{what} is not UTF-8 text")))
}

/// Turns the echo of the terminal off until it is dropped. A signal that ends the program also
/// turns the echo on again.
struct EchoOff {
    terminal: File,
    before: Termios,
    signals: Handle,
}

impl EchoOff {
    fn on(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let (at_signal, of_terminal) = (before.clone(), terminal.try_clone()?);
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                tcsetattr(&of_terminal, SetArg::TCSANOW, &at_signal).ok();
                print_note("");
                std::process::exit(128 + signal);
            }
        });
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before, signals: handle })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before).ok();
        self.signals.close();
    }
}

fn read_error(error: &io::Error) -> Error {
    Error::new(Exit::IoErr, format!("can't read an answer: {error}"))
}
