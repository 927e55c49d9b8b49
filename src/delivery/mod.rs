//! Delivery: claims planned touches and speaks SMTP; bounces, suppression, unsubscribe.

mod api;
pub mod bounces;
pub mod compose;
mod content;
pub mod dispatch;
pub mod dkim;
pub mod dsn;
mod identity;
pub mod message;
mod notice;
mod notify;
mod proof;
pub mod rate;
mod senders;
pub mod sink;
mod sink_session;
pub mod smtp;
pub mod verdict;
pub mod wire;

use actix_web::web::ServiceConfig;

pub use api::{openapi, take as take_bounces};
pub use bounces::forget_addresses;
pub use identity::{SenderError, SenderSetting, mail_config};
pub use notice::{Attachment, Notice, send_notice};
pub use notify::{NotifyError, notify};
pub use proof::send_proof;

use crate::job;
use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("delivery.dispatch", dispatch::dispatch_job)]
}
