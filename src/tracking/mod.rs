//! Tracking: what comes back through the signed links of a touch. Opens, clicks, viewables, unsubscribes and choices; people told apart
//! from machines.

mod ads;
pub mod agents;
mod api;
mod pages;
mod service;
mod texts;

use actix_web::web::ServiceConfig;

pub use agents::{UserAgentClass, classify};

pub use service::{Choice, Tracker};

use crate::platform::queue::JobSpec;

/// The routes' part of the API reference.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = api::openapi();
    document.merge(ads::openapi());
    document
}

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
    ads::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
