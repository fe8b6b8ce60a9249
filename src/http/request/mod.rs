//! Reads the body of a request within its limits, decompresses and decrypts it, and reads the
//! parameters of a read request.

pub(crate) mod body;
pub(crate) mod cpu_pool;
pub(crate) mod decompress;
pub(crate) mod decrypt;
pub(crate) mod head;
pub(crate) mod memory_budget;
pub(crate) mod read_params;
pub(crate) mod search_limit;
pub(crate) mod target;
pub(crate) mod url_key;
