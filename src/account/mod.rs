//! Who may do what: scoped API keys (users, roles and sessions join them here).

mod guard;
mod keys;
mod store;

pub use guard::{Guarded, key_in, scope};
pub use keys::{ApiKey, KeyError, KeyRing, NewKey, Principal, Scope};
