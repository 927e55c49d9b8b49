//! Who may do what: scoped API keys for programs; users, roles and sessions for people; the log of what either did.

mod api_audit;
pub mod audit;
mod guard;
mod keys;
mod links;
pub mod password;
mod role;
pub mod sessions;
mod sign_in;
mod store;
mod throttle;
pub mod totp;
mod user_store;
mod users;

pub use api_audit::audit_api;
pub use audit::{AuditEntry, AuditFilter, AuditLog, NewAudit};
pub use guard::{Guarded, Used, key_in, scope};
pub use keys::{ApiKey, KeyError, KeyRing, NewKey, Principal, Scope};
pub use links::LinkPurpose;
pub use role::{Permission, Role, RoleError};
pub use sessions::{Session, SessionInfo};
pub use users::{Accounts, NewUser, SignIn, User, UserError, Visitor, clean_email};
