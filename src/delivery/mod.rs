//! Delivery: claims planned touches and speaks SMTP; bounces, suppression, unsubscribe.

pub mod bounces;
pub mod compose;
pub mod dispatch;
pub mod dkim;
pub mod message;
pub mod rate;
mod senders;
pub mod sink;
pub mod smtp;
pub mod verdict;
pub mod wire;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
