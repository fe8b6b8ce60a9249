//! Tests of the input formats of other systems.

mod journal;
mod otlp;
