//! Reads the configuration files, with one module for each file.

pub(crate) mod api_key_json;
pub(crate) mod http_toml;
pub(crate) mod ip_blacklist_json;
pub(crate) mod listen;
pub(crate) mod log_json;
pub(crate) mod server_json;
pub(crate) mod system_json;
