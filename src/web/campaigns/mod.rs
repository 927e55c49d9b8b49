//! Campaigns: what went out, is going out, will go out; how does it go, and why?

mod act;
mod calendar;
mod detail;
mod figures;
mod form;
mod launch;
mod lift;
mod list;
mod preview;
mod progress;
mod read;
mod retouch;
mod schedule_form;
mod summary;
mod when;
mod wizard;
mod words;

use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::campaign::{self, Action, Campaign, CampaignError, Status};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Db, Timestamp};

pub(super) fn routes() -> Vec<Route> {
    let see = Need::May(Permission::See);
    let plan = Need::May(Permission::Plan);
    vec![
        Route::get("/campaigns", see, list::list),
        Route::get("/campaigns/download", see, list::download),
        Route::get("/campaigns/calendar", see, calendar::page),
        Route::get("/campaigns/new", plan, wizard::new),
        Route::post("/campaigns/new", plan, "campaign.create", wizard::create),
        Route::ask("/campaigns/summary", plan, summary::part),
        Route::get("/campaigns/{id}/edit", plan, wizard::edit),
        Route::post("/campaigns/{id}/edit", plan, "campaign.edit", wizard::update),
        Route::get("/campaigns/{id}/preview", plan, preview::document),
        Route::get("/campaigns/{id}/schedule", plan, launch::ask_schedule),
        Route::post("/campaigns/{id}/schedule", plan, "campaign.schedule", launch::schedule),
        Route::get("/campaigns/{id}/send", plan, launch::ask_send),
        Route::post("/campaigns/{id}/send", plan, "campaign.send", launch::send),
        Route::get("/campaigns/{id}", see, detail::page),
        Route::get("/campaigns/{id}/progress", see, progress::part),
        Route::get("/campaigns/{id}/stream", see, progress::stream),
        Route::get("/campaigns/{id}/lift", see, lift::part),
        Route::post("/campaigns/{id}/duplicate", plan, "campaign.duplicate", act::duplicate),
        Route::post("/campaigns/{id}/pause", plan, "campaign.pause", act::pause),
        Route::post("/campaigns/{id}/resume", plan, "campaign.resume", act::resume),
        Route::post("/campaigns/{id}/unschedule", plan, "campaign.unschedule", act::unschedule),
        Route::get("/campaigns/{id}/cancel", plan, act::ask_cancel),
        Route::post("/campaigns/{id}/cancel", plan, "campaign.cancel", act::cancel),
        Route::get("/campaigns/{id}/resend", plan, act::ask_resend),
        Route::post("/campaigns/{id}/resend", plan, "campaign.resend", act::resend),
    ]
}

/// A campaign as every page of it shows it.
#[derive(Clone, Debug, Serialize)]
struct Shown {
    id: String,
    key: String,
    name: String,
    /// `draft`, `scheduled` …
    status: &'static str,
    tone: &'static str,
    /// `email` or `banner`.
    channel: &'static str,
    next_run_at: Option<Timestamp>,
    may_pause: bool,
    may_resume: bool,
    may_cancel: bool,
    may_unschedule: bool,
    may_schedule: bool,
    /// The whole plan may change.
    may_edit: bool,
}

fn tone(status: Status) -> &'static str {
    match status {
        Status::Running => "good",
        Status::Scheduled => "info",
        Status::Paused => "warn",
        Status::Draft | Status::Done | Status::Cancelled => "",
    }
}

impl Shown {
    fn of(c: &Campaign) -> Self {
        let actions = c.status.actions(c.started_at.is_some());
        let may = |a| actions.contains(&a);
        Self {
            id: c.id.to_string(),
            key: c.key.clone(),
            name: c.name.clone(),
            status: c.status.as_str(),
            tone: tone(c.status),
            channel: c.plan.channel.as_str(),
            next_run_at: c.next_run_at,
            may_pause: may(Action::Pause),
            may_resume: may(Action::Resume),
            may_cancel: may(Action::Cancel),
            may_unschedule: may(Action::Unschedule),
            may_schedule: may(Action::Schedule),
            may_edit: c.started_at.is_none() && !matches!(c.status, Status::Done | Status::Cancelled),
        }
    }
}

async fn find(db: &Db, id: &str) -> ApiResult<Campaign> {
    Ok(campaign::find(db, id).await?)
}

/// An error of a campaign in the viewer's words where it has some.
fn in_words(shell: &Shell, error: &CampaignError) -> String {
    match error {
        CampaignError::WrongState { status, .. } => {
            shell.say_with("campaigns.wrong_state", &[("state", shell.say(&format!("campaign.status.{status}")))])
        }
        CampaignError::Changed => shell.say("campaigns.changed"),
        other => shell.fault(&other.fault()),
    }
}

/// A refused action as a message on the page it came from; what is not the user's doing stays an error.
fn refused(shell: &Shell, back: &str, error: CampaignError) -> ApiResult {
    match error {
        CampaignError::NotFound | CampaignError::Database(_) | CampaignError::Other(_) => Err(ApiError::from(error)),
        said => Ok(shell.redirect_saying(back, "bad", in_words(shell, &said))),
    }
}
