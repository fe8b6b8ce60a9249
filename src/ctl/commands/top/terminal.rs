//! Controls the terminal of `top`, which uses raw mode and the alternate screen, and reads its
//! keys.
//!
//! The terminal is restored when the program ends by a key, a signal or a panic.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{
    DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

/// Number of columns and lines if the terminal does not report its size.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// Names a key that `top` understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Left,
    Right,
    Up,
    Down,
    Reverse,
}

/// Says why a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TerminalEvent {
    /// The operator pressed these keys.
    Pressed(Vec<Key>),
    /// The size may have changed.
    Resized,
    /// The deadline has passed.
    TimedOut,
    /// The terminal was closed.
    HungUp,
}

/// Keeps the terminal in raw mode and on its alternate screen until it is dropped.
pub(super) struct Terminal {
    screen: Arc<Screen>,
    signals: Handle,
}

/// Guards the terminal. The value is true while `top` controls it. Only the holder of the lock may
/// write, and only while the value is true.
struct Screen(Mutex<bool>);

impl Screen {
    fn give_back(&self) {
        // `lock` could deadlock, because the thread that panics may hold the lock.
        if let Ok(mut is_taken) = self.0.try_lock()
            && std::mem::take(&mut *is_taken)
        {
            restore();
        }
    }
}

fn restore() {
    // An error means that the terminal is gone, so there is nothing to restore.
    execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen).ok();
    disable_raw_mode().ok();
}

/// Returns whether input and output are terminals that can move the cursor.
pub(super) fn is_available() -> bool {
    let is_capable = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    is_capable && io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Terminal {
    /// Switches the terminal to raw mode and to the alternate screen.
    ///
    /// # Errors
    /// Fails when the terminal refuses raw mode, or when signal handlers cannot be installed.
    pub(super) fn take() -> io::Result<Self> {
        let screen = Arc::new(Screen(Mutex::new(true)));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH])?;
        let handle = signals.handle();
        let at_signal = Arc::clone(&screen);
        std::thread::spawn(move || {
            // SIGWINCH has a handler only so that it interrupts a wait.
            if let Some(signal) = signals.forever().find(|signal| *signal != SIGWINCH) {
                let mut is_taken = at_signal.0.lock().unwrap_or_else(PoisonError::into_inner);
                if std::mem::take(&mut *is_taken) {
                    restore();
                }
                // This thread keeps the lock, so that no other thread draws on the restored terminal.
                std::process::exit(128 + signal);
            }
        });
        let (at_panic, print_panic) = (Arc::clone(&screen), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            at_panic.give_back();
            print_panic(panic);
        }));
        let terminal = Self { screen, signals: handle };
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(terminal)
    }

    /// Returns the columns and lines of the terminal.
    pub(super) fn size() -> (usize, usize) {
        let size = size().ok().filter(|(columns, lines)| *columns > 0 && *lines > 0);
        let (columns, lines) = size.unwrap_or(DEFAULT_SIZE);
        (columns.into(), lines.into())
    }

    /// Replaces the content of the screen with these lines.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut frame = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            // Each line is cleared before its text is drawn. Clearing after a text that reaches the
            // edge would erase its last character.
            frame.extend([if index == 0 { "" } else { "\r\n" }, "\x1b[K", line, "\x1b[0m"]);
        }
        frame.push_str("\x1b[J");
        let is_taken = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_taken {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(frame.as_bytes())?;
        stdout.flush()
    }

    /// Waits for a key until `deadline` at most.
    pub(super) fn wait(deadline: Instant) -> io::Result<TerminalEvent> {
        let stdin = io::stdin();
        let left = deadline.saturating_duration_since(Instant::now());
        // The timeout is rounded down to milliseconds. One more millisecond prevents a wake-up
        // before the deadline.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        // After a hang-up, crossterm would read the terminal in an endless loop.
        match poll(&mut descriptors, timeout) {
            Ok(0) => return Ok(TerminalEvent::TimedOut),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(TerminalEvent::Resized),
            Err(error) => return Err(error.into()),
        }
        let [stdin] = descriptors;
        if stdin.revents().is_none_or(|events| events != PollFlags::POLLIN) {
            return Ok(TerminalEvent::HungUp);
        }
        let mut keys = Vec::new();
        let mut wait = left;
        while event::poll(wait)? {
            match event::read()? {
                Event::Key(key) => keys.extend(known_key(key)),
                Event::Resize(..) if keys.is_empty() => return Ok(TerminalEvent::Resized),
                _ => {}
            }
            wait = Duration::ZERO;
        }
        Ok(TerminalEvent::Pressed(keys))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signals.close();
        self.screen.give_back();
    }
}

/// Returns the meaning of a key. In raw mode Ctrl-C and Ctrl-D are keys.
fn known_key(key: KeyEvent) -> Option<Key> {
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('r' | 'R') => Some(Key::Reverse),
        KeyCode::Left => Some(Key::Left),
        KeyCode::Right => Some(Key::Right),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
    const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

    #[test]
    fn keys_have_their_meaning() {
        for (code, key) in [
            (KeyCode::Up, Some(Key::Up)),
            (KeyCode::Down, Some(Key::Down)),
            (KeyCode::Right, Some(Key::Right)),
            (KeyCode::Left, Some(Key::Left)),
            (KeyCode::Char('r'), Some(Key::Reverse)),
            (KeyCode::Char('q'), Some(Key::Quit)),
            (KeyCode::Esc, Some(Key::Quit)),
            (KeyCode::Char('c'), None),
            (KeyCode::PageUp, None),
        ] {
            assert_eq!(known_key(code.into()), key, "{code:?}");
        }
        for letter in ['c', 'd'] {
            let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            assert_eq!(known_key(key), Some(Key::Quit), "Ctrl-{letter}");
        }
    }

    /// Starts this test once more as a child in a new terminal, and lets the child panic.
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
        // A read from a terminal that was closed ends with EIO.
        drop(master.read_to_end(&mut shown));
        let place = |wanted: &[u8]| shown.windows(wanted.len()).rposition(|window| window == wanted);
        assert!(place(ENTER).unwrap() < place(LEAVE).unwrap(), "{:?}", String::from_utf8_lossy(&shown));
    }
}
