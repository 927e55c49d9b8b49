//! Serving: placements and the decision, from memory.
//!
//! [`AdServer`] holds a [`Snapshot`] that is swapped whole; [`decide`] answers from it without a database or a lock that all share; what was
//! shown is written behind.

mod api;
mod caps;
mod decide;
mod flush;
mod load;
mod placements;
mod prepare;
mod service;
mod snapshot;
mod ticket;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use api::openapi;
pub use caps::{Caps, Subject};
pub use decide::{Answer, Ghost, NoFill, Shown, Viewer, decide};
pub use placements::list as placements;
pub use placements::{NewPlacement, Placement, PlacementError, SIZES};
pub use service::{AdServer, AskedBy, Banner, Creative};
pub use snapshot::{AdCampaign, AdCreative, AdPeople, AdPerson, AdPlacement, CreativeKey, Snapshot};
pub use ticket::{Ticket, TicketKind};

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("adserver.prepare", prepare::run)]
}
