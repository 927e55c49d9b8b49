//! A simulated shop with known truth, and the demo that runs it through Marquee's public doors.

pub mod door;
pub mod drive;
pub mod figures;
pub mod mailbox;
pub mod marketer;
pub mod messages;
pub mod picture;
pub mod run;
pub mod storefront;
pub mod world;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
