//! Limits the control frames of a connection by the work that it does.
//!
//! A control frame costs the server as much as a small request, and its answer as well. h2 does
//! not limit PING, SETTINGS, WINDOW_UPDATE and PRIORITY, and the guard counts requests only.

use super::frame_scanner::FrameHead;

/// Number of control frames that a connection may send without a request.
const FREE_FRAMES: u64 = 1000;

/// Number of further control frames for each request, and for each frame with a part of a body in
/// either direction. A client that downloads sends at most two WINDOW_UPDATE for each such frame.
const FRAMES_PER_WORK: u64 = 10;

/// Counts the frames of a connection.
#[derive(Debug)]
pub(super) struct ControlBudget {
    control: u64,
    work: u64,
}

impl ControlBudget {
    /// Returns the budget of a new connection.
    pub(super) const fn new() -> Self {
        Self { control: 0, work: 0 }
    }

    /// Counts a frame of the client.
    pub(super) const fn received(&mut self, frame: FrameHead) {
        self.sent(frame);
        if frame.is_control() {
            self.control += 1;
        }
    }

    /// Counts a frame of the server. Its control frames cost the client nothing.
    pub(super) const fn sent(&mut self, frame: FrameHead) {
        if frame.is_work() {
            self.work += 1;
        }
    }

    /// Reports whether the client has sent more control frames than it may.
    pub(super) const fn is_exceeded(&self) -> bool {
        self.control > FREE_FRAMES + self.work.saturating_mul(FRAMES_PER_WORK)
    }
}
