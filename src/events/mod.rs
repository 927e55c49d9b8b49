//! Events: immutable facts, how they come in (Segment spec), and the orders that some of them add up to.

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
