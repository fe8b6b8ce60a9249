//! The terminal as `top` needs it: keys one by one, a screen of its own. However the program ends,
//! by a key, a signal or a panic, the terminal is as it was before.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

/// The other screen, without a cursor; lines that are too long are cut.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Where the size cannot be told.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// What a person pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Left,
    Right,
    Up,
    Down,
    Reverse,
}

/// Why waiting is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TerminalEvent {
    Pressed(Vec<Key>),
    /// the size may have changed
    Resized,
    InTime,
    /// nobody is there any more
    Gone,
}

/// While it lives, the terminal is ours.
pub(super) struct Terminal {
    screen: Arc<Screen>,
    signals: Handle,
}

/// Whoever holds the lock may write; once the terminal was given back, nobody does.
struct Screen(Mutex<Option<Termios>>);

impl Screen {
    fn give_back(&self) {
        // a panic may come from whoever holds the lock
        let before = match self.0.try_lock() {
            Ok(mut before) => before.take(),
            Err(_) => return,
        };
        if let Some(before) = before {
            restore(&before);
        }
    }
}

fn restore(before: &Termios) {
    let mut stdout = io::stdout();
    // who is gone sees nothing
    drop(stdout.write_all(LEAVE));
    drop(stdout.flush());
    tcsetattr(io::stdin(), SetArg::TCSANOW, before).ok();
}

/// Whether there is a terminal at both ends that understands more than lines.
pub(super) fn is_there() -> bool {
    let capable = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    capable && io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// When it is none, or signals cannot be heard.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let screen = Arc::new(Screen(Mutex::new(Some(before.clone()))));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH])?;
        let handle = signals.handle();
        let at_signal = Arc::clone(&screen);
        std::thread::spawn(move || {
            // SIGWINCH is heard so that it ends a wait
            if let Some(signal) = signals.forever().find(|signal| *signal != SIGWINCH) {
                let mut before = at_signal.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(before) = before.take() {
                    restore(&before);
                }
                // with the lock: nothing is written to the terminal any more
                std::process::exit(128 + signal);
            }
        });
        let (at_panic, say) = (Arc::clone(&screen), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            at_panic.give_back();
            say(panic);
        }));
        let this = Self { screen, signals: handle };
        let mut ours = before;
        ours.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ISIG);
        ours.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        ours.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &ours)?;
        this.write(ENTER)?;
        Ok(this)
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        match rustix::termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => DEFAULT_SIZE,
        }
    }

    /// Puts these lines in place of what is there.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut frame = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            // The line is emptied first: behind a text that reaches the edge, that would take its
            // last character.
            frame.extend([if index == 0 { "" } else { "\r\n" }, "\x1b[K", line, "\x1b[0m"]);
        }
        frame.push_str("\x1b[J");
        self.write(frame.as_bytes())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let ours = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ours.is_none() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Waits for a key, at most until `until`.
    pub(super) fn wait(until: Instant) -> io::Result<TerminalEvent> {
        let stdin = io::stdin();
        let left = until.saturating_duration_since(Instant::now());
        // a little too late rather than a round of waiting for nothing
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(0) => return Ok(TerminalEvent::InTime),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(TerminalEvent::Resized),
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 256];
        match nix::unistd::read(&stdin, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => Ok(TerminalEvent::Gone),
            Ok(count) => Ok(TerminalEvent::Pressed(keys(&bytes[..count]))),
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(TerminalEvent::Resized),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signals.close();
        self.screen.give_back();
    }
}

/// What these bytes mean; Ctrl-C and Ctrl-D are keys here.
fn keys(bytes: &[u8]) -> Vec<Key> {
    let (mut keys, mut rest) = (Vec::new(), bytes);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            b'q' | b'Q' | 3 | 4 => Key::Quit,
            b'r' | b'R' => Key::Reverse,
            // ESC alone, or the beginning of what another key sends
            0x1b => match rest {
                [] => Key::Quit,
                [b'[' | b'O', tail @ ..] => {
                    let end = tail.iter().position(|byte| (0x40..=0x7e).contains(byte));
                    let last = end.and_then(|end| tail.get(end));
                    rest = end.and_then(|end| tail.get(end + 1..)).unwrap_or_default();
                    match last {
                        Some(b'A') => Key::Up,
                        Some(b'B') => Key::Down,
                        Some(b'C') => Key::Right,
                        Some(b'D') => Key::Left,
                        _ => continue,
                    }
                }
                _ => continue,
            },
            _ => continue,
        };
        keys.push(key);
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::openpty;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_keys_send() {
        assert_eq!(
            keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[Dxr"),
            [Key::Up, Key::Down, Key::Right, Key::Left, Key::Reverse]
        );
        for quit in [&b"q"[..], b"\x03", b"\x04", b"\x1b"] {
            assert_eq!(keys(quit), [Key::Quit]);
        }
        assert_eq!(keys(b"\x1b[5~\x1bq\xff"), [Key::Quit]);
        assert_eq!(keys(b"\x1b["), []);
    }

    /// The program that panics is this test, in a terminal of its own.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        const CHILD: &str = "MOCA_PANICS_IN_A_TERMINAL";
        if std::env::var_os(CHILD).is_some() {
            let _terminal = Terminal::take().unwrap();
            panic!("as wanted");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let own = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut program = Command::new(std::env::current_exe().unwrap());
        program
            .args(["--exact", "ctl::commands::top::terminal::tests::a_panic_gives_the_terminal_back"])
            .env(CHILD, "");
        let mut child = program.stdin(own()).stdout(own()).stderr(Stdio::null()).spawn().unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
        drop((program, pty.slave));
        let (mut shown, mut master) = (Vec::new(), File::from(pty.master));
        // EIO is the end of a terminal
        drop(master.read_to_end(&mut shown));
        let place = |wanted: &[u8]| shown.windows(wanted.len()).rposition(|window| window == wanted);
        assert!(place(ENTER).unwrap() < place(LEAVE).unwrap(), "{:?}", String::from_utf8_lossy(&shown));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            prop_assert!(keys(&bytes).len() <= bytes.len());
        }
    }
}
