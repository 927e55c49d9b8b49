//! Credit and lift: who earned what, and what would have happened anyway.
//!
//! **Credit** shares an order's net value among the touches before it ([`model`]), is kept in step by the job `attribution.credit`, and is reported
//! by [`answer`]: credit by any model, all models side by side, paths ([`journeys`]), cohorts, engagement, funnel. Default reading:
//! click-through; with `view_through` also human opens and viewable banners. Credit says where orders came by, not what caused them. **Lift** ([`lift`], measured by [`campaign_lift`] and [`global_lift`]) says what would not have happened otherwise.

mod answer;
mod api;
pub mod best;
mod by;
mod cohorts;
mod copies;
mod credit;
mod deliver;
mod engagement;
mod engagement_kept;
mod funnel;
mod funnel_kept;
pub mod hosts;
pub mod journeys;
mod kept;
mod learned;
pub mod lift;
mod lost;
pub mod markov;
mod measure;
pub mod model;
mod parquet_file;
mod path_file;
mod paths;
mod period;
mod products;
mod question;
pub mod report;
mod report_store;
pub mod rollup;
pub mod shapley;
mod sheet;
mod store;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use answer::{Answer, Format, ReportKind, report as answer};
pub use api::openapi;
pub use by::{By, Within};
pub use cohorts::{Cohort, CohortCell, CohortReport, cohorts};
pub use copies::{CopyResult, copy_results, count_copies};
pub use credit::{AttributionSetting, Pass, rebuild, update};
pub use deliver::{Deliveries, Delivery, Destination, deliver_due, deliver_now, last_delivered};
pub use engagement::{EngagementReport, EngagementRow, PeopleIn, engagement};
pub use funnel::{FunnelReport, FunnelRow, funnel};
pub use kept::{KeptLift, best_lifts, keep_lift, keep_lifts, kept_lift, kept_lifts, kept_lifts_of};
pub use learned::Learned;
pub use lift::Lift;
pub use measure::{LiftIn, MeasureError, MeasuredLift, campaign_lift, global_lift, lift as measured_lift};
pub use model::Model;
pub use path_file::{FileReport, PathFileError, of_file};
pub use paths::{PathRow, PathsReport, paths};
pub use period::Unit;
pub use products::count_products;
pub use question::{Question, ReportError, ReportQuery};
pub use sheet::{Cell, Kind, Sheet};
#[doc(hidden)]
pub use store::NEWS_SQL;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![
        job!("attribution.credit", credit::job),
        job!("attribution.copies", copies::job),
        job!("attribution.products", products::job),
        job!("attribution.deliver", deliver::job),
        job!("attribution.rollup", rollup::job),
        job!("attribution.lift", kept::job),
    ]
}
