//! Delivery: claims planned touches and speaks SMTP; bounces, suppression, unsubscribe.

pub mod sink;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
