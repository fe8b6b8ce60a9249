//! Tests of the input formats of other systems.

mod bulk;
mod journal;
mod loki;
mod otlp;
