//! Blocks addresses: keeps the block list and its file, and counts floods and unknown keys.

pub(crate) mod address_filter;
pub(crate) mod block_list;
pub(crate) mod blocked_address;
pub(crate) mod hit_counters;
pub(crate) mod persist;

pub use self::block_list::BlockedEntry;
pub use self::blocked_address::{BlockedAddress, NotBlockable};
