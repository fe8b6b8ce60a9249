//! Reads the body of a request within its limits, decompresses and decrypts it, and parses the
//! parameters.

pub(crate) mod body;
pub(crate) mod cpu_pool;
pub(crate) mod decompress;
pub(crate) mod decrypt;
pub(crate) mod head;
pub(crate) mod memory_budget;
pub(crate) mod params;
pub(crate) mod read_params;
pub(crate) mod search_limit;
