//! Planning a run: one touch per person of its audience, page by page. A page's touches and the cursor move in one transaction, so that a
//! crash anywhere leaves each person with exactly one touch.

use serde_json::{Value, json};

use super::choice::Shelf;
use super::draft::{self, Draft};
use super::error::CampaignError;
use super::model::{Campaign, Run, RunStatus, Status};
use super::policy::{ContactPolicy, policy};
use super::{service, store};
use crate::audience;
use crate::platform::clock::HOUR_US;
use crate::platform::ids::{CopyId, PersonId, RunId, SnapshotId, TouchId};
use crate::platform::queue::{self, JobContext, NewRun};
use crate::platform::{Platform, Timestamp};
use crate::touches::{self, NewTouch, TouchChannel, TouchState, holdout};

/// People per transaction: keeps SQLite's writer free for others after a few milliseconds.
const PAGE: i64 = 500;
const DISPATCH_JOB: &str = "delivery.dispatch";

/// What planning did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PlannedRun {
    /// People of the audience, those left out included.
    pub people: i64,
    /// The campaign was cancelled, or the run was planned already.
    pub ended_early: bool,
}

/// The job `campaign.tick`.
pub async fn tick_job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    Ok(json!(service::tick(&platform, platform.now().max(context.scheduled_at)).await?))
}

/// The job `campaign.plan`.
pub async fn plan_job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let run: RunId = serde_json::from_value(context.args["run"].clone())?;
    Ok(json!(plan_run(&platform, run, &context).await?))
}

/// Plans (or goes on planning) a run. Any number of planners may work on one run: each page is won by one of them.
pub async fn plan_run(platform: &Platform, id: RunId, context: &JobContext) -> Result<PlannedRun, CampaignError> {
    let db = &platform.db;
    let mut run = store::run(db, id).await?.ok_or(CampaignError::NotFound)?;
    let campaign = service::get(db, run.campaign_id).await?;
    let policy = policy(db).await?;
    let shelf = Shelf::load(platform, &campaign.plan.choice, platform.now()).await?;
    let snapshot = snapshot_of(platform, &campaign, &run, context).await?;
    let mut done = PlannedRun::default();
    loop {
        if run.status != RunStatus::Planning {
            done.ended_early = run.status == RunStatus::Cancelled;
            return Ok(done);
        }
        if context.stop.is_cancelled() {
            return Err(CampaignError::Other(anyhow::anyhow!("asked to stop at person {}; the rest follows", run.cursor_person_id)));
        }
        let people = audience::members(db, snapshot, run.cursor_person_id, PAGE).await.map_err(anyhow::Error::from)?;
        let Some(last) = people.last().copied() else { break };
        assign(platform, &campaign, &policy, &people).await?;
        let now = platform.now();
        let mut drafts = draft::page(platform, &campaign, &policy, &shelf, &people, run.scheduled_at, now).await?;
        let copies = draft::with_copy(platform, &campaign, &mut drafts).await.map_err(anyhow::Error::from)?;
        let touches: Vec<NewTouch> = match campaign.plan.channel {
            TouchChannel::Email => drafts.iter().map(|d| touch(&campaign, &run, d, copies.get(&d.person).copied(), now)).collect(),
            // Banners are decided when somebody looks at a page; planning writes their copy and who is held out.
            TouchChannel::Banner => Vec::new(),
        };
        if commit_page(platform, &campaign, &run, &touches, last, people.len(), now).await? {
            done.people += i64::try_from(people.len()).unwrap_or(0);
            context.progress.add(i64::try_from(people.len()).unwrap_or(0));
        }
        run = store::run(db, id).await?.ok_or(CampaignError::NotFound)?;
    }
    let now = platform.now();
    let mut tx = db.begin().await?;
    store::end_run(&mut tx, id, RunStatus::Planned, now).await?;
    if campaign.plan.channel == TouchChannel::Email {
        queue::enqueue(&mut tx, NewRun { job: DISPATCH_JOB, unique_key: id.to_string(), args: json!({}), at: now }, now).await?;
    }
    tx.commit().await?;
    Ok(done)
}

/// The run's audience, taken once. The moment it is about is the run's own, so that a retry goes on with the same snapshot.
async fn snapshot_of(platform: &Platform, campaign: &Campaign, run: &Run, context: &JobContext) -> Result<SnapshotId, CampaignError> {
    if let Some(id) = run.snapshot_id {
        return Ok(id);
    }
    let snapshot = audience::snapshot(platform, campaign.plan.segment, run.created_at).await.map_err(anyhow::Error::from)?;
    context.progress.total(snapshot.size);
    let mut tx = platform.db.begin().await?;
    store::set_snapshot(&mut tx, run.id, snapshot.id).await?;
    tx.commit().await?;
    // Another planner may have been first: what is stored is what both use.
    let stored = store::run(&platform.db, run.id).await?.and_then(|r| r.snapshot_id);
    Ok(stored.unwrap_or(snapshot.id))
}

/// Writes who is held out, where that is not written yet. Apart from the page: a person keeps the arm whatever becomes of the touch.
async fn assign(platform: &Platform, campaign: &Campaign, policy: &ContactPolicy, people: &[PersonId]) -> sqlx::Result<()> {
    let (_, complete) = draft::arms(platform, campaign, policy, people).await?;
    if complete {
        return Ok(());
    }
    let mut tx = platform.db.begin().await?;
    for (scope, share) in draft::scopes(campaign, policy) {
        holdout::assign(&mut tx, &platform.signer, scope, share, people, platform.now()).await?;
    }
    tx.commit().await
}

fn touch(campaign: &Campaign, run: &Run, draft: &Draft, copy: Option<CopyId>, now: Timestamp) -> NewTouch {
    NewTouch {
        id: TouchId::new(now),
        channel: campaign.plan.channel,
        arm: draft.arm,
        state: if draft.skip.is_some() { TouchState::Skipped } else { TouchState::Planned },
        reason: draft.skip.map(ToOwned::to_owned),
        person_id: Some(draft.person),
        anonymous_id: None,
        campaign_id: campaign.id,
        run_id: Some(run.id),
        variant_id: Some(draft.variant),
        product_ids: draft.products.clone(),
        copy_id: copy.filter(|_| draft.skip.is_none()),
        creative_id: None,
        placement_id: None,
        due_at: draft.due_at,
        expires_at: Some(draft.due_at.plus_us(campaign.plan.expire_after_hours * HOUR_US)),
    }
}

/// One page in one transaction; false where another planner had it, or the campaign was cancelled.
async fn commit_page(
    platform: &Platform,
    campaign: &Campaign,
    run: &Run,
    list: &[NewTouch],
    last: PersonId,
    people: usize,
    now: Timestamp,
) -> Result<bool, CampaignError> {
    let mut tx = platform.db.begin().await?;
    let status = store::status_locked(&mut tx, campaign.id).await?;
    let going = matches!(status, Some(Status::Running | Status::Paused));
    let people = i64::try_from(people).unwrap_or(0);
    if !going || !store::move_cursor(&mut tx, run.id, run.cursor_person_id, last, people).await? {
        if !going {
            store::end_run(&mut tx, run.id, RunStatus::Cancelled, now).await?;
            tx.commit().await?;
        }
        return Ok(false);
    }
    touches::plan_many(&mut tx, list, now).await?;
    tx.commit().await?;
    Ok(true)
}
