//! Tests of reading, in which lines of the log become answers.

mod fields;
mod foreign_lines;
mod lnav;
mod log_routes;
mod long_lines;
mod searches;
mod selection;
