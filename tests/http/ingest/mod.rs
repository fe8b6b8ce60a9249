//! Tests of writing, in which request bodies become lines of the log.

mod compressed;
mod encryption;
mod fast_path;
mod framing;
mod large_bodies;
mod lines;
mod options;
mod parameters;
mod records;
mod sources;
