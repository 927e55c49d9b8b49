//! Events: immutable facts, how they come in (Segment spec), and the orders that some of them add up to.
//!
//! This slice also carries out what concerns a person across all facts: merging profiles, forgetting them, computed traits.

mod commerce;
pub mod deltas;
mod hints;
pub mod ingest;
mod merge;
mod model;
pub mod orders;
mod prune;
mod store;
mod traits;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use hints::{EventNames, recent_names};
pub use ingest::Ingest;
pub use merge::{forget_person, merge, resolve};
pub use model::{Event, EventError, NewEvent, name};
pub use store::{count, insert_many, timeline};
pub use traits::{enqueue_traits, refresh_traits};

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    ingest::routes(config);
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    ingest::openapi()
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("events.prune", prune::prune), job!("people.traits", traits::job)]
}
