//! Decides which client may do what, from which address and how often. Knows no routes and no
//! storage.
//!
//! [`Rules`] is the configuration, which is immutable and rebuilt at each reload. [`Guard`] is the
//! state that survives a reload: the windows of rate limits, blocked addresses, wrong passwords,
//! maintenance.
//!
//! `admission` has the checks of a request in their order, in four steps that start with
//! [`admit_address`]. Each step returns the first [`Refusal`].
//!
//! Checks take the time as a parameter (`now`), so that tests need not wait. No request waits for a
//! disk. The memory for clients is bounded. Journal entries contain no secret and no text of a
//! client.

mod admission;
mod blocking;
mod caller;
mod check;
mod checks;
mod client_addr;
mod explain;
mod floods;
mod forwarded;
#[cfg(any(fuzzing, test))]
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

pub(crate) use self::admission::admit_sender;
pub use self::admission::{
    AddressAdmitted, AdmittedKey, HeadersAdmitted, KeyAdmitted, ParametersAdmitted, admit_address,
    is_in_maintenance, peek_key, would_admit_address,
};
pub use self::blocking::{BlockedAddress, BlockedEntry, NotBlockable};
pub use self::caller::{Access, Caller, Head, Parameters, PresentedKey};
pub use self::check::{Check, Watch};
pub use self::checks::{Guard, GuardError, Spending};
pub(crate) use self::client_addr::CountedClient;
pub use self::client_addr::{ClientAddr, ClientText, client_addr};
pub use self::explain::RefusalContext;
pub use self::key::{Key, PathRule};
pub use self::limits::{Cost, LimitState, Quota};
pub use self::maintenance::Maintenance;
pub use self::refusal::Refusal;
pub use self::rules::Rules;
pub use self::state_file::state_file;
