//! SQL of campaigns: `campaign`, `campaign_variant`, `campaign_run`.

use std::collections::HashMap;

use sqlx::QueryBuilder;
use sqlx::types::Json;

use super::error::CampaignError;
use super::figures;
use super::model::{Campaign, Run, RunStatus, Status, StoredVariant};
use super::plan::{Plan, Variant};
use crate::platform::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::{CampaignId, PersonId, RunId, SegmentId, SnapshotId, VariantId};
use crate::{fault, on, read};

#[derive(sqlx::FromRow)]
pub struct Row {
    pub id: CampaignId,
    pub key: String,
    pub name: String,
    #[sqlx(try_from = "String")]
    pub status: Status,
    pub plan: Json<Plan>,
    pub next_run_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct VariantRow {
    id: VariantId,
    campaign_id: CampaignId,
    settings: Json<Variant>,
}

macro_rules! columns {
    () => {
        "id, key, name, status, plan, next_run_at, created_at, updated_at, started_at, ended_at"
    };
}

const INSERT: &str = "INSERT INTO campaign (key, name, status, channel, segment_id, plan, holdout_bp, window_us, created_at, updated_at)
     VALUES ($1, $2, 'draft', $3, $4, $5, $6, $7, $8, $8) RETURNING id";

pub async fn insert(tx: &mut Tx, key: &str, name: &str, plan: &Plan, window_us: i64, now: Timestamp) -> Result<CampaignId, CampaignError> {
    let id: sqlx::Result<CampaignId> = on!(&mut *tx, |c| {
        sqlx::query_scalar(INSERT)
            .bind(key)
            .bind(name)
            .bind(plan.channel.as_str())
            .bind(plan.segment)
            .bind(Json(plan))
            .bind(plan.holdout_bp)
            .bind(window_us)
            .bind(now)
            .fetch_one(&mut *c)
            .await
    });
    let id = match id {
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => return Err(CampaignError::KeyTaken(key.to_owned())),
        Err(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => return Err(no_segment(plan.segment)),
        other => other?,
    };
    put_variants(tx, id, &plan.variants).await?;
    figures::make(tx, id).await?;
    Ok(id)
}

fn no_segment(id: SegmentId) -> CampaignError {
    CampaignError::Invalid { field: "segment", detail: fault!("campaign.no_segment_id", "There is no segment {id}.", id) }
}

const UPDATE: &str = "UPDATE campaign SET name = $2, channel = $3, segment_id = $4, plan = $5, holdout_bp = $6, window_us = $7,
       next_run_at = $8, updated_at = $9 WHERE id = $1 AND updated_at = $10";

/// Replaces name, plan and next run of a campaign that nobody has changed since it was `seen`.
pub async fn update(
    tx: &mut Tx,
    id: CampaignId,
    name: &str,
    plan: &Plan,
    window_us: i64,
    next_run_at: Option<Timestamp>,
    seen: Timestamp,
    now: Timestamp,
) -> Result<(), CampaignError> {
    let changed = on!(&mut *tx, |c| {
        sqlx::query(UPDATE)
            .bind(id)
            .bind(name)
            .bind(plan.channel.as_str())
            .bind(plan.segment)
            .bind(Json(plan))
            .bind(plan.holdout_bp)
            .bind(window_us)
            .bind(next_run_at)
            .bind(now)
            .bind(seen)
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected())
    });
    match changed {
        Ok(1) => put_variants(tx, id, &plan.variants).await.map_err(Into::into),
        Ok(_) => Err(CampaignError::Changed),
        Err(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => Err(no_segment(plan.segment)),
        Err(e) => Err(e.into()),
    }
}

async fn put_variants(tx: &mut Tx, id: CampaignId, variants: &[Variant]) -> sqlx::Result<()> {
    on!(tx, |c| {
        let mut q = QueryBuilder::new("DELETE FROM campaign_variant WHERE campaign_id = ");
        q.push_bind(id).push(" AND name NOT IN (");
        let mut names = q.separated(", ");
        for variant in variants {
            names.push_bind(variant.name.as_str());
        }
        q.push(")");
        q.build().persistent(false).execute(&mut *c).await?;
        let mut q = QueryBuilder::new("INSERT INTO campaign_variant (campaign_id, name, weight, settings) ");
        q.push_values(variants, |mut row, v| {
            row.push_bind(id).push_bind(v.name.as_str()).push_bind(v.weight).push_bind(Json(v));
        });
        q.push(" ON CONFLICT (campaign_id, name) DO UPDATE SET weight = excluded.weight, settings = excluded.settings");
        q.build().persistent(false).execute(&mut *c).await.map(|_| ())
    })
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM campaign WHERE id = $1");
const BY_KEY: &str = concat!("SELECT ", columns!(), " FROM campaign WHERE key = $1");
const PAGE: &str = concat!("SELECT ", columns!(), " FROM campaign WHERE id > $1 ORDER BY id LIMIT $2");
const BY_STATUS: &str = concat!("SELECT ", columns!(), " FROM campaign WHERE status = $1 AND channel = $2 ORDER BY id");
const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM campaign WHERE status IN ('scheduled', 'running') AND next_run_at <= $1 ORDER BY next_run_at, id"
);
const ENDING: &str = concat!("SELECT ", columns!(), " FROM campaign WHERE status = 'running' AND next_run_at IS NULL ORDER BY id");

/// Rows with their variants.
pub async fn assemble(db: &Db, rows: Vec<Row>) -> sqlx::Result<Vec<Campaign>> {
    let mut variants: HashMap<CampaignId, Vec<VariantRow>> = HashMap::new();
    if !rows.is_empty() {
        let found = read!(*db, |c| {
            let mut q = QueryBuilder::new("SELECT id, campaign_id, settings FROM campaign_variant WHERE campaign_id IN (");
            let mut list = q.separated(", ");
            for row in &rows {
                list.push_bind(row.id);
            }
            q.push(") ORDER BY id");
            q.build_query_as::<VariantRow>().persistent(false).fetch_all(c).await
        })?;
        for variant in found {
            variants.entry(variant.campaign_id).or_default().push(variant);
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let stored = variants.remove(&row.id).unwrap_or_default();
            let mut stored: Vec<StoredVariant> = stored.into_iter().map(|v| StoredVariant { id: v.id, variant: v.settings.0 }).collect();
            let place = |name: &str| row.plan.variants.iter().position(|v| v.name == name);
            stored.sort_by_key(|v| place(&v.variant.name));
            Campaign {
                id: row.id,
                key: row.key,
                name: row.name,
                status: row.status,
                plan: row.plan.0,
                variants: stored,
                next_run_at: row.next_run_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
                started_at: row.started_at,
                ended_at: row.ended_at,
            }
        })
        .collect())
}

pub async fn by_id(db: &Db, id: CampaignId) -> sqlx::Result<Option<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(BY_ID).bind(id).fetch_all(c).await)?;
    Ok(assemble(db, rows).await?.pop())
}
pub async fn by_key(db: &Db, key: &str) -> sqlx::Result<Option<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(BY_KEY).bind(key).fetch_all(c).await)?;
    Ok(assemble(db, rows).await?.pop())
}
pub async fn page(db: &Db, after: CampaignId, limit: i64) -> sqlx::Result<Vec<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(c).await)?;
    assemble(db, rows).await
}
pub async fn by_status(db: &Db, status: Status, channel: &str) -> sqlx::Result<Vec<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(BY_STATUS).bind(status.as_str()).bind(channel).fetch_all(c).await)?;
    assemble(db, rows).await
}
pub async fn many(db: &Db, ids: &[CampaignId]) -> sqlx::Result<HashMap<CampaignId, Campaign>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = read!(*db, |c| {
        let mut q = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM campaign WHERE id IN ("));
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        q.push(")");
        q.build_query_as::<Row>().persistent(false).fetch_all(c).await
    })?;
    Ok(assemble(db, rows).await?.into_iter().map(|c| (c.id, c)).collect())
}
/// Campaigns whose next run is due.
pub async fn due(db: &Db, now: Timestamp) -> sqlx::Result<Vec<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(DUE).bind(now).fetch_all(c).await)?;
    assemble(db, rows).await
}
/// Running campaigns without a further run: perhaps done.
pub async fn ending(db: &Db) -> sqlx::Result<Vec<Campaign>> {
    let rows = read!(*db, |c| sqlx::query_as(ENDING).fetch_all(c).await)?;
    assemble(db, rows).await
}

// CAS on status and updated_at: of two people (or ticks) that act at once, one wins and the other is told.
const MOVE: &str = "UPDATE campaign SET status = $4, next_run_at = $5, updated_at = $6,
       started_at = CASE WHEN $7 THEN COALESCE(started_at, $6) ELSE started_at END,
       ended_at = CASE WHEN $8 THEN $6 ELSE NULL END
     WHERE id = $1 AND status = $2 AND updated_at = $3";

/// Moves a campaign on from the state in which it was seen; false where it changed since.
pub async fn advance(
    tx: &mut Tx,
    seen: &Campaign,
    to: Status,
    next_run_at: Option<Timestamp>,
    started: bool,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let ended = matches!(to, Status::Done | Status::Cancelled);
    // A clock that stands still must not make two changes look like one.
    let now = now.max(seen.updated_at.plus_us(1));
    on!(tx, |c| {
        sqlx::query(MOVE)
            .bind(seen.id)
            .bind(seen.status.as_str())
            .bind(seen.updated_at)
            .bind(to.as_str())
            .bind(next_run_at)
            .bind(now)
            .bind(started)
            .bind(ended)
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected() == 1)
    })
}

const STATUS_SQLITE: &str = "SELECT status FROM campaign WHERE id = $1";
const STATUS_POSTGRES: &str = "SELECT status FROM campaign WHERE id = $1 FOR SHARE";

/// A campaign's state, kept from changing until the transaction ends (on SQLite there is one writer anyway).
pub async fn status_locked(tx: &mut Tx, id: CampaignId) -> sqlx::Result<Option<Status>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => STATUS_SQLITE,
        Dialect::Postgres => STATUS_POSTGRES,
    };
    let text: Option<String> = on!(tx, |c| sqlx::query_scalar(sql).bind(id).fetch_optional(&mut *c).await)?;
    Ok(text.and_then(|t| t.parse().ok()))
}

macro_rules! run_columns {
    () => {
        "id, campaign_id, scheduled_at, snapshot_id, status, cursor_person_id, planned, created_at, finished_at"
    };
}
const NEW_RUN: &str = "INSERT INTO campaign_run (campaign_id, scheduled_at, status, created_at) VALUES ($1, $2, 'planning', $3)
     ON CONFLICT (campaign_id, scheduled_at) DO NOTHING";
const RUN_AT: &str = concat!("SELECT ", run_columns!(), " FROM campaign_run WHERE campaign_id = $1 AND scheduled_at = $2");

/// The run of an instant, made where it is not there yet.
pub async fn ensure_run(tx: &mut Tx, campaign: CampaignId, at: Timestamp, now: Timestamp) -> sqlx::Result<Run> {
    on!(tx, |c| {
        sqlx::query(NEW_RUN).bind(campaign).bind(at).bind(now).execute(&mut *c).await?;
        sqlx::query_as(RUN_AT).bind(campaign).bind(at).fetch_one(&mut *c).await
    })
}

const RUN: &str = concat!("SELECT ", run_columns!(), " FROM campaign_run WHERE id = $1");
const RUNS: &str = concat!("SELECT ", run_columns!(), " FROM campaign_run WHERE campaign_id = $1 AND id > $2 ORDER BY id LIMIT $3");
const RUN_COUNT: &str = "SELECT COUNT(*) FROM campaign_run WHERE campaign_id = $1";
const STALE_RUNS: &str = concat!("SELECT ", run_columns!(), " FROM campaign_run WHERE status = 'planning' AND created_at < $1 ORDER BY id");
const HAS_OPEN_RUNS: &str = "SELECT EXISTS (SELECT 1 FROM campaign_run WHERE campaign_id = $1 AND status = 'planning')";
pub async fn run(db: &Db, id: RunId) -> sqlx::Result<Option<Run>> {
    read!(*db, |c| sqlx::query_as(RUN).bind(id).fetch_optional(c).await)
}
pub async fn runs(db: &Db, campaign: CampaignId, after: RunId, limit: i64) -> sqlx::Result<Vec<Run>> {
    read!(*db, |c| sqlx::query_as(RUNS).bind(campaign).bind(after).bind(limit).fetch_all(c).await)
}
const NAMES: &str = "SELECT id, name FROM campaign ORDER BY id DESC LIMIT $1";
/// Ids and names, the youngest first.
pub async fn names(db: &Db, limit: i64) -> sqlx::Result<Vec<(CampaignId, String)>> {
    read!(*db, |c| sqlx::query_as(NAMES).bind(limit).fetch_all(c).await)
}

const RECENT_RUNS: &str = concat!("SELECT ", run_columns!(), " FROM campaign_run ORDER BY id DESC LIMIT $1");
/// The last runs of all campaigns, newest first.
pub async fn recent_runs(db: &Db, limit: i64) -> sqlx::Result<Vec<Run>> {
    read!(*db, |c| sqlx::query_as(RECENT_RUNS).bind(limit).fetch_all(c).await)
}
pub async fn run_count(db: &Db, campaign: CampaignId) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar(RUN_COUNT).bind(campaign).fetch_one(c).await)
}
/// Runs still being planned that began before an instant.
pub async fn stale_runs(db: &Db, before: Timestamp) -> sqlx::Result<Vec<Run>> {
    read!(*db, |c| sqlx::query_as(STALE_RUNS).bind(before).fetch_all(c).await)
}
pub async fn has_open_runs(db: &Db, campaign: CampaignId) -> sqlx::Result<bool> {
    read!(*db, |c| sqlx::query_scalar(HAS_OPEN_RUNS).bind(campaign).fetch_one(c).await)
}

const SET_SNAPSHOT: &str = "UPDATE campaign_run SET snapshot_id = $2 WHERE id = $1 AND snapshot_id IS NULL";
pub async fn set_snapshot(tx: &mut Tx, run: RunId, snapshot: SnapshotId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_SNAPSHOT).bind(run).bind(snapshot).execute(&mut *c).await.map(|_| ()))
}

const MOVE_CURSOR: &str = "UPDATE campaign_run SET cursor_person_id = $3, planned = planned + $4
     WHERE id = $1 AND cursor_person_id = $2 AND status = 'planning'";
/// Moves the cursor; false where another planner was there first.
pub async fn move_cursor(tx: &mut Tx, run: RunId, from: PersonId, to: PersonId, people: i64) -> sqlx::Result<bool> {
    on!(tx, |c| {
        sqlx::query(MOVE_CURSOR).bind(run).bind(from).bind(to).bind(people).execute(&mut *c).await.map(|r| r.rows_affected() == 1)
    })
}

const END_RUN: &str = "UPDATE campaign_run SET status = $2, finished_at = $3 WHERE id = $1 AND status = 'planning'";
pub async fn end_run(tx: &mut Tx, run: RunId, to: RunStatus, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(END_RUN).bind(run).bind(to.as_str()).bind(now).execute(&mut *c).await.map(|_| ()))
}
const CANCEL_RUNS: &str = "UPDATE campaign_run SET status = 'cancelled', finished_at = $2 WHERE campaign_id = $1 AND status = 'planning'";
pub async fn cancel_runs(tx: &mut Tx, campaign: CampaignId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(CANCEL_RUNS).bind(campaign).bind(now).execute(&mut *c).await.map(|_| ()))
}
