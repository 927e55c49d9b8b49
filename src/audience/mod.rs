//! Segments: typed rules, compiled to parameterised SQL, and snapshots of their membership.
//!
//! A [`Rule`] is a tree that says something of a person; [`resolve`] inlines the segments that it names, and the result compiles to one
//! condition per dialect. [`count`] and [`sample`] ask it at once; [`snapshot`] writes its members down, in pieces, and can be resumed.

mod api;
mod bounded;
mod compile;
mod describe;
mod fold;
mod jobs;
mod limits;
mod membership;
mod overview;
mod resolve;
pub mod rule;
mod service;
mod sql;
mod store;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use api::openapi;
pub use bounded::{Counted, count_within, overlap_within};
pub use compile::{Compiled, Resolved};
pub use fold::fold;
pub use membership::{SizePoint, Snapshot, Walk, latest_snapshot, members, members_among, sizes, snapshot, spread, walk};
pub use overview::{Overview, curves, overview, segments_of};
pub use resolve::{names, resolve};
pub use rule::{Rule, RuleError};
pub use service::{
    AudienceError, NewSegment, Overlap, SamplePerson, Segment, count, create, delete, find, get, list, names_of, overlap, sample, update,
};
pub use sql::Bind;
pub use store::forget_people;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("audience.snapshot", jobs::snapshot)]
}
