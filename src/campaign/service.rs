//! The life cycle: create, edit, schedule, pause, resume, cancel; and the tick that lets time act.

use super::error::CampaignError;
use super::model::{Action, Campaign, NewCampaign, Status, check_key, check_name, key_from};
use super::plan::{Plan, Schedule};
use super::{PLAN_JOB, store};
use crate::fault;
use crate::platform::clock::HOUR_US;
use crate::platform::ids::CampaignId;
use crate::platform::queue::{self, NewRun};
use crate::platform::{Db, Platform, Timestamp, Tx};
use crate::touches;

pub async fn create(db: &Db, new: NewCampaign, now: Timestamp) -> Result<Campaign, CampaignError> {
    let name = new.name.trim();
    check_name(name)?;
    let key = new.key.clone().unwrap_or_else(|| key_from(name));
    check_key(&key)?;
    new.plan.check()?;
    let mut tx = db.begin().await?;
    let id = store::insert(&mut tx, &key, name, &new.plan, new.plan.goal.window_hours * HOUR_US, now).await?;
    tx.commit().await?;
    get(db, id).await
}

pub async fn get(db: &Db, id: CampaignId) -> Result<Campaign, CampaignError> {
    store::by_id(db, id).await?.ok_or(CampaignError::NotFound)
}

/// By key, or by id (`cmp_7`).
pub async fn find(db: &Db, key_or_id: &str) -> Result<Campaign, CampaignError> {
    let found = match key_or_id.parse::<CampaignId>() {
        Ok(id) => store::by_id(db, id).await?,
        Err(_) => store::by_key(db, key_or_id).await?,
    };
    found.ok_or(CampaignError::NotFound)
}

/// Replaces name and plan. A draft may change altogether, also one that is scheduled or paused before its first run. Once it has begun,
/// whatever measurement rests on stays: channel, segment, choice, variants, goal and holdout. What has ended keeps all but its name.
pub async fn update(db: &Db, id: CampaignId, name: &str, plan: Plan, now: Timestamp) -> Result<Campaign, CampaignError> {
    let name = name.trim();
    check_name(name)?;
    plan.check()?;
    let old = get(db, id).await?;
    check_edit(&old, &plan)?;
    let next_run_at = match old.status {
        Status::Draft | Status::Done | Status::Cancelled => None,
        _ if plan.schedule == old.plan.schedule => old.next_run_at,
        _ => {
            let done = store::run_count(db, id).await?;
            if done == 0 {
                plan.schedule.check_start(now)?;
                plan.schedule.first_run(now)?
            } else {
                plan.schedule.next_run(now, done)?
            }
        }
    };
    let mut tx = db.begin().await?;
    let at = now.max(old.updated_at.plus_us(1));
    store::update(&mut tx, id, name, &plan, plan.goal.window_hours * HOUR_US, next_run_at, old.updated_at, at).await?;
    tx.commit().await?;
    get(db, id).await
}

fn check_edit(old: &Campaign, new: &Plan) -> Result<(), CampaignError> {
    let frozen = |what: &str| {
        let status = old.status;
        Err(CampaignError::Frozen(fault!("campaign.frozen", "The campaign is {status}: {what} cannot change any more.", status, what)))
    };
    if matches!(old.status, Status::Done | Status::Cancelled) {
        return if *new == old.plan { Ok(()) } else { frozen("its plan") };
    }
    if old.started_at.is_none() {
        return Ok(());
    }
    let was = &old.plan;
    for (same, what) in [
        (new.channel == was.channel, "the channel"),
        (new.segment == was.segment, "the segment"),
        (new.choice == was.choice, "the choice of products"),
        (new.variants == was.variants, "the variants"),
        (new.goal == was.goal, "the goal"),
        (new.holdout_bp == was.holdout_bp, "the holdout"),
    ] {
        if !same {
            return frozen(what);
        }
    }
    let single = |s: &Schedule| !matches!(s, Schedule::Recurring { .. } | Schedule::PersonLocal { repeat: Some(_), .. });
    if new.schedule != was.schedule && (single(&new.schedule) || single(&was.schedule)) {
        return frozen("a schedule that runs once");
    }
    Ok(())
}

fn allowed(campaign: &Campaign, action: Action) -> Result<Status, CampaignError> {
    let started = campaign.started_at.is_some();
    campaign.status.after(action, started).ok_or_else(|| CampaignError::WrongState {
        status: campaign.status,
        action,
        allowed: campaign.status.actions(started),
    })
}

/// Does what a person asked: schedule, unschedule, pause, resume, cancel. A pause stops claims in the same transaction, and also what was
/// claimed but not handed to the mail server. After a pause a missed single run is due at once, missed recurring runs are left out.
pub async fn transition(platform: &Platform, id: CampaignId, action: Action) -> Result<Campaign, CampaignError> {
    let (db, now) = (&platform.db, platform.now());
    let campaign = get(db, id).await?;
    let to = allowed(&campaign, action)?;
    if matches!(action, Action::Start | Action::Finish) {
        let allowed = campaign.status.actions(campaign.started_at.is_some());
        return Err(CampaignError::WrongState { status: campaign.status, action, allowed });
    }
    let schedule = &campaign.plan.schedule;
    let next_run_at = match action {
        Action::Schedule => {
            schedule.check_start(now)?;
            schedule.first_run(now)?
        }
        Action::Resume => match campaign.next_run_at {
            Some(missed) if missed < now && !matches!(schedule, Schedule::Once { .. }) => {
                let done = store::run_count(db, id).await?;
                // A local hour that is still ahead for somebody is not missed: the run leaves out whom it has passed.
                if matches!(schedule, Schedule::PersonLocal { repeat: None, .. }) { Some(missed) } else { schedule.next_run(now, done)? }
            }
            other => other,
        },
        Action::Pause => campaign.next_run_at,
        _ => None,
    };
    let mut tx = db.begin().await?;
    if !store::advance(&mut tx, &campaign, to, next_run_at, false, now).await? {
        tx.rollback().await?;
        return Err(CampaignError::Changed);
    }
    match action {
        Action::Pause => touches::hold_campaign(&mut tx, id, now).await?,
        Action::Resume => touches::release_campaign(&mut tx, id).await?,
        Action::Cancel => {
            // Held until every touch is cancelled, which may take several transactions; the tick ends what a crash interrupts.
            touches::hold_campaign(&mut tx, id, now).await?;
            store::cancel_runs(&mut tx, id, now).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    if action == Action::Cancel {
        sweep_cancelled(platform, id).await?;
    }
    get(db, id).await
}

/// Cancels what a cancelled campaign still has planned, then lets go of its hold.
async fn sweep_cancelled(platform: &Platform, id: CampaignId) -> Result<u64, CampaignError> {
    let cancelled = touches::cancel_campaign(&platform.db, id, "campaign_cancelled", platform.now()).await?;
    let mut tx = platform.db.begin().await?;
    touches::release_campaign(&mut tx, id).await?;
    tx.commit().await?;
    Ok(cancelled)
}

/// Which of these campaigns may send now.
pub async fn sendable(db: &Db, ids: &[CampaignId]) -> sqlx::Result<std::collections::HashSet<CampaignId>> {
    Ok(store::many(db, ids).await?.into_values().filter(|c| c.status == Status::Running).map(|c| c.id).collect())
}

/// What a tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ticked {
    pub runs: u64,
    pub finished: u64,
    pub expired: u64,
    pub cancelled: u64,
}

/// Turns due schedules into runs, ends campaigns that have nothing left, and tidies what a crash left half done.
pub async fn tick(platform: &Platform, now: Timestamp) -> Result<Ticked, CampaignError> {
    let db = &platform.db;
    let mut done = Ticked::default();
    for campaign in store::due(db, now).await? {
        if start_run(platform, &campaign, now).await? {
            done.runs += 1;
        }
    }
    done.expired = touches::release_expired(platform).await?.expired;
    let held = touches::held_campaigns(db).await?;
    for campaign in store::many(db, &held).await?.into_values().filter(|c| c.status == Status::Cancelled) {
        done.cancelled += sweep_cancelled(platform, campaign.id).await?;
    }
    // A planning job that gave up is tried again, once an hour.
    for run in store::stale_runs(db, now.plus_us(-HOUR_US)).await? {
        let mut tx = db.begin().await?;
        enqueue_plan(&mut tx, run.id, format!("{}:{}", run.id, now.micros() / HOUR_US), now).await?;
        tx.commit().await?;
    }
    for campaign in store::ending(db).await? {
        let waiting = store::has_open_runs(db, campaign.id).await? || touches::has_open(db, campaign.id).await?;
        // A banner campaign ends when somebody ends it: it serves until then.
        if waiting || campaign.plan.channel == touches::TouchChannel::Banner {
            continue;
        }
        let mut tx = db.begin().await?;
        if store::advance(&mut tx, &campaign, Status::Done, None, true, now).await? {
            done.finished += 1;
        }
        tx.commit().await?;
    }
    Ok(done)
}

async fn enqueue_plan(tx: &mut Tx, run: crate::platform::ids::RunId, unique_key: String, now: Timestamp) -> Result<(), CampaignError> {
    let args = serde_json::json!({ "run": run });
    queue::enqueue(tx, NewRun { job: PLAN_JOB, unique_key, args, at: now }, now).await?;
    Ok(())
}

/// Makes the due run and its planning job, and moves the campaign to its next run: one transaction. False where another tick did it.
async fn start_run(platform: &Platform, campaign: &Campaign, now: Timestamp) -> Result<bool, CampaignError> {
    let Some(at) = campaign.next_run_at else { return Ok(false) };
    let to = allowed(campaign, Action::Start)?;
    let done = store::run_count(&platform.db, campaign.id).await? + 1;
    // Runs missed while nothing ran are left out: the next lies ahead of now.
    let next = campaign.plan.schedule.next_run(at.max(now), done)?;
    let mut tx = platform.db.begin().await?;
    if !store::advance(&mut tx, campaign, to, next, true, now).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    let run = store::ensure_run(&mut tx, campaign.id, at, now).await?;
    enqueue_plan(&mut tx, run.id, run.id.to_string(), now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Runs once, now: schedules a draft for this instant and lets the tick begin it.
pub async fn send_now(platform: &Platform, id: CampaignId) -> Result<Campaign, CampaignError> {
    let now = platform.now();
    let campaign = get(&platform.db, id).await?;
    let mut plan = campaign.plan.clone();
    if !matches!(campaign.status, Status::Draft | Status::Scheduled) {
        let (status, allowed) = (campaign.status, campaign.status.actions(campaign.started_at.is_some()));
        return Err(CampaignError::WrongState { status, action: Action::Schedule, allowed });
    }
    plan.schedule = Schedule::Once { at: now };
    update(&platform.db, id, &campaign.name, plan, now).await?;
    if campaign.status == Status::Draft {
        transition(platform, id, Action::Schedule).await?;
    }
    tick(platform, now).await?;
    get(&platform.db, id).await
}
