//! Tests of the input formats of other systems.

mod otlp;
