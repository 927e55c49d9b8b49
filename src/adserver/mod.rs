//! Serving: placements and the decision, from memory.

mod caps;
mod decide;
mod flush;
mod snapshot;
mod ticket;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
