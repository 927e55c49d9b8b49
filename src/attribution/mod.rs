//! Credit and lift: who earned what, and what would have happened anyway.
//!
//! **Credit** shares an order's net value among the touches before it ([`model`]), is kept in step by the job `attribution.credit`, and is reported
//! by [`report`]. Default reading: click-through; with `view_through` also human opens and viewable banners. Credit says where orders came by, not
//! what caused them. **Lift** ([`lift`], measured by [`campaign_lift`] and [`global_lift`]) says what would not have happened otherwise.

mod api;
mod credit;
pub mod journeys;
pub mod lift;
pub mod markov;
mod measure;
pub mod model;
pub mod report;
pub mod shapley;
mod store;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use api::{AttributionQuery, attribution_report, openapi};
pub use credit::{AttributionSetting, Pass, rebuild, update};
pub use lift::Lift;
pub use measure::{LiftIn, MeasureError, MeasuredLift, campaign_lift, global_lift};
pub use model::Model;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("attribution.credit", credit::job)]
}
