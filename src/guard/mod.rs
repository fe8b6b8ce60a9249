//! Who may do what, from where, how fast. Knows nothing of routes and storage.
//!
//! Two halves: [`Rules`] is what the configuration says, immutable and built anew at each reload; [`Guard`] is what the
//! service remembers (windows of rate limits, blocked addresses, wrong passwords, maintenance) and outlives reloads.
//!
//! The methods of [`Guard`] are the steps of a request in their order: [`Guard::check_address`] →
//! [`Guard::check_headers`] → [`Guard::find_key`] → [`Guard::check_key`] → [`Guard::check_args`] → [`Guard::spend`] →
//! [`Guard::check_root`]. Each gives the first [`Refusal`] of its own checks. Nothing is spent by a request that an
//! earlier step refused, as long as the caller keeps the order.
//!
//! Time is a parameter (`now`), so that nothing here has to wait to be tested. No request waits for a disk, and all
//! that is remembered about clients is bounded. Nothing logged here holds a secret or what a client sent.

mod blocking;
mod checks;
mod client_addr;
mod explain;
mod forwarded;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod key_check;
mod limits;
mod maintenance;
mod refusal;
mod required_headers;
mod root_password;
mod rules;
mod state_file;
#[cfg(test)]
mod testing;

pub use self::blocking::BlockedEntry;
pub use self::checks::{Guard, GuardError};
pub use self::client_addr::{ClientAddr, ClientText, client_addr};
pub use self::explain::Asked;
pub use self::key::{Key, PathRule};
pub use self::limits::{LimitState, Quota};
pub use self::maintenance::Maintenance;
pub use self::refusal::Refusal;
pub use self::rules::Rules;
pub use self::state_file::state_file;
