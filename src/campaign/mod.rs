//! Campaigns: plan, schedule, variants, holdouts, caps, life cycle, planning runs.

mod error;
mod model;
mod policy;
mod schedule;
mod service;
mod store;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

pub use error::CampaignError;
pub use model::{
    Action, Campaign, Caps, Choice, Goal, GoalKind, Hours, IfPast, LocaleMode, NewCampaign, Plan, Repeat, Run, RunStatus, Schedule,
    SendWindow, Sender, Status, StoredVariant, Utm, Variant,
};
pub use policy::{ContactPolicy, policy, set_policy};
pub use schedule::next_allowed;
pub use service::{Ticked, create, find, get, send_now, sendable, tick, transition, update};

pub(crate) const PLAN_JOB: &str = "campaign.plan";

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
