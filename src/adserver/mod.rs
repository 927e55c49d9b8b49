//! Serving: placements, line items and the decision, from memory.
//!
//! [`AdServer`] holds a [`Snapshot`] that is swapped whole; [`decide`] answers from it without a database or a lock that all share; what was
//! shown is written behind.

mod api;
mod auction;
pub mod bandit;
mod caps;
mod decide;
mod explain;
mod item_store;
mod learn;
mod line_items;
mod load;
mod log;
mod lottery;
mod manage;
mod meter;
mod offer;
pub mod openrtb;
mod outcomes;
mod pacing;
mod people;
mod person_token;
mod placements;
mod prepare;
mod recommendations;
mod render;
mod report;
mod service;
mod snapshot;
mod tag;
mod tally;
mod targeting;
mod ticket;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use api::openapi;
pub use auction::Declared;
pub use caps::{Caps, Subject};
pub use decide::{Answer, Ghost, NoFill, Note, Shown, Viewer, decide};
pub use explain::{Asked, Explained, WouldShow};
pub use item_store::{create as create_line_item, get as line_item, of_campaign as line_items_of_campaign};
pub use item_store::{of_placement as line_items_of_placement, page as line_items};
pub use item_store::{set_status as set_line_item_status, update as update_line_item};
pub use line_items::{BudgetKind, Chooser, ItemError, ItemStatus, LineItem, NewLineItem, Pacing, PriceKind, Tier};
pub use load::ad_creative;
pub use meter::{Budget, Meter};
pub use pacing::{Flight, Forecast, Pacer};
pub use people::{AdPeople, AdPerson};
pub use placements::{NewPlacement, Placement, PlacementError};
pub use placements::{find as placement, get as placement_by_id, list as placements, page as placements_page, put as put_placement};
pub use render::{Banner, Creative, Parts};
pub use report::{CurvePoint, Figures, Hours, PlacementFigures, curve, of_line_items, of_placements, placement_hours};
pub use service::{AdServer, AskedBy, Served};
pub use snapshot::{AdCampaign, AdCreative, AdItem, AdPlacement, Snapshot, Turn};
pub use tag::{TAG, snippets};
pub use tally::count_answers;
pub use targeting::{Context, Device, Members, Target, Targeting, country};
pub use ticket::Ticket;

/// Routes that are asked thousands of times a second: mounted apart, outside of what all other routes are wrapped in.
pub fn fast_routes(config: &mut ServiceConfig) {
    api::fast_routes(config);
}

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("adserver.prepare", prepare::run)]
}
