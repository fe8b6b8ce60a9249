//! Tests of writing, in which request bodies become lines of the log.

mod batches;
mod bodies;
mod compressed;
mod dialects;
mod dry_run;
mod encryption;
mod fast_path;
mod framing;
mod large_bodies;
mod lines;
mod options;
mod parameters;
mod records;
mod sources;
