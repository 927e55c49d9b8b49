//! Campaigns: plan, schedule, variants, holdouts, caps, life cycle, planning runs.

mod api;
mod choice;
mod draft;
mod dry_run;
mod error;
mod facts;
mod figures;
mod listing;
mod model;
mod plan;
mod planning;
mod policy;
mod reach;
mod recheck;
mod report;
mod schedule;
mod service;
mod store;
mod uses;

use actix_web::web::ServiceConfig;

use crate::job;
use crate::platform::queue::JobSpec;

pub use api::openapi;
pub use choice::explain;
pub use draft::{copy_request, locale_for};
pub use dry_run::{Detectable, DryRun, PersonPart, ProductShare, detectable, dry_run};
pub use error::CampaignError;
pub use facts::reason;
pub use figures::{CampaignFigures, put_figures};
pub use listing::{ListFilter, ListOrder, coming, duplicate, filtered, last_runs, latest_runs, run_count, runs_between};
pub use model::{Action, Campaign, NewCampaign, Run, RunStatus, Status, StoredVariant};
pub use plan::{Caps, Choice, Goal, GoalKind, Hours, IfPast, LocaleMode, Plan, Repeat, Schedule, SendWindow, Sender, Utm, Variant};
pub use planning::{PlannedRun, plan_run};
pub use policy::{ContactPolicy, policy, set_policy};
pub use reach::{Reach, reach};
pub use recheck::{Checked, Verdict, recheck};
pub use report::{Progress, VariantResult, progress};
pub use schedule::next_allowed;
pub use service::{Ticked, create, find, get, send_now, sendable, tick, transition, update};
pub use store::{by_status, many as get_many, names, page as list, recent_runs, run as get_run, runs};
pub use uses::{Use, using};

/// The campaigns of a channel that run now.
pub async fn running(db: &crate::platform::Db, channel: crate::touches::TouchChannel) -> sqlx::Result<Vec<Campaign>> {
    store::by_status(db, Status::Running, channel.as_str()).await
}

pub(crate) const PLAN_JOB: &str = "campaign.plan";

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("campaign.tick", planning::tick_job), job!("campaign.plan", planning::plan_job)]
}
