//! Checks root passwords, and bounds the work that guesses cause.

pub(crate) mod check;
mod verification_queue;
