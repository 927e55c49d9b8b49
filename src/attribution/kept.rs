//! Lifts that are kept: measuring reads every person of an experiment, so the job `attribution.lift` does it once a day (or when somebody
//! asks), and pages show what it found, with the moment it is of.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::types::Json;

use super::measure::{self, MeasureError, MeasuredLift};
use crate::platform::Platform;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::{Db, Tx};
use crate::platform::ids::CampaignId;
use crate::platform::queue::JobContext;
use crate::{on, read};

/// After a campaign's last window closes its lift still moves by refunds; for so long.
const SETTLES_US: i64 = 14 * DAY_US;

/// A lift as it was last measured.
#[derive(Clone, Debug, Serialize)]
pub struct KeptLift {
    /// `None`: all marketing.
    pub campaign: Option<CampaignId>,
    pub as_of: Timestamp,
    pub measured: MeasuredLift,
}

#[derive(sqlx::FromRow)]
struct Row {
    campaign_id: i64,
    as_of: Timestamp,
    result: Json<MeasuredLift>,
}

impl From<Row> for KeptLift {
    fn from(row: Row) -> Self {
        Self { campaign: Some(CampaignId(row.campaign_id)).filter(|id| id.0 != 0), as_of: row.as_of, measured: row.result.0 }
    }
}

// Campaigns whose people's windows are open or were so lately, and those never measured.
const OPEN: &str = "SELECT c.id FROM campaign c LEFT JOIN kept_lift k ON k.campaign_id = c.id
     WHERE c.started_at IS NOT NULL AND (k.campaign_id IS NULL OR c.ended_at IS NULL OR c.ended_at + c.window_us + $1 > k.as_of) ORDER BY c.id";
const PUT: &str =
    "INSERT INTO kept_lift (campaign_id, as_of, unit, held, incremental, low, high, result) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (campaign_id) DO UPDATE SET as_of = excluded.as_of, unit = excluded.unit, held = excluded.held,
        incremental = excluded.incremental, low = excluded.low, high = excluded.high, result = excluded.result";

#[allow(clippy::cast_possible_truncation, reason = "saturates; amounts stay far below 2^63")]
fn whole(value: f64) -> Option<i64> {
    value.is_finite().then(|| value.round() as i64)
}

async fn put(tx: &mut Tx, campaign: Option<CampaignId>, measured: &MeasuredLift) -> sqlx::Result<()> {
    let Some(main) = measured.results.first() else { return Ok(()) };
    let held = i64::try_from(main.lift.n_held).unwrap_or(i64::MAX);
    on!(tx, |c| {
        sqlx::query(PUT)
            .bind(campaign.map_or(0, |id| id.0))
            .bind(measured.as_of)
            .bind(main.unit.as_str())
            .bind(held)
            .bind(whole(main.lift.incremental_total).unwrap_or(0))
            .bind(whole(main.lift.ci95_low))
            .bind(whole(main.lift.ci95_high))
            .bind(Json(measured))
            .execute(&mut *c)
            .await
            .map(|_| ())
    })
}

/// Measures all marketing and every campaign whose result may have changed, and keeps what was found. How many were measured.
pub async fn keep_lifts(platform: &Platform) -> Result<usize, MeasureError> {
    keep_with(platform, &mut || true).await
}

async fn keep_with(platform: &Platform, go_on: &mut (dyn FnMut() -> bool + Send)) -> Result<usize, MeasureError> {
    let now = platform.now();
    let open: Vec<CampaignId> = read!(platform.db, |c| sqlx::query_scalar(OPEN).bind(SETTLES_US).fetch_all(c).await)?;
    let mut measured = 0;
    for campaign in std::iter::once(None).chain(open.into_iter().map(Some)) {
        if !go_on() {
            break;
        }
        let lift = measure::lift(platform, campaign, None, now).await?;
        let mut tx = platform.db.begin().await?;
        put(&mut tx, campaign, &lift).await?;
        tx.commit().await?;
        measured += 1;
    }
    Ok(measured)
}

/// Measures one campaign and keeps what was found.
///
/// # Errors
/// There is no such campaign; those of the database.
pub async fn keep_lift(platform: &Platform, campaign: CampaignId) -> Result<MeasuredLift, MeasureError> {
    let lift = measure::lift(platform, Some(campaign), None, platform.now()).await?;
    let mut tx = platform.db.begin().await?;
    put(&mut tx, Some(campaign), &lift).await?;
    tx.commit().await?;
    Ok(lift)
}

const OF: &str = "SELECT campaign_id, as_of, result FROM kept_lift WHERE campaign_id = $1";
/// The kept lift of a campaign (`None`: of all marketing).
pub async fn kept_lift(db: &Db, campaign: Option<CampaignId>) -> sqlx::Result<Option<KeptLift>> {
    let row: Option<Row> = read!(*db, |c| sqlx::query_as(OF).bind(campaign.map_or(0, |id| id.0)).fetch_optional(c).await)?;
    Ok(row.map(KeptLift::from))
}

const ALL: &str = "SELECT campaign_id, as_of, result FROM kept_lift WHERE campaign_id <> 0 ORDER BY campaign_id DESC LIMIT $1";
/// The kept lifts of campaigns, the youngest campaigns first.
pub async fn kept_lifts(db: &Db, limit: i64) -> sqlx::Result<Vec<KeptLift>> {
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(ALL).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(KeptLift::from).collect())
}

const OF_MANY: &str = "SELECT campaign_id, as_of, result FROM kept_lift WHERE campaign_id <> 0";
/// The kept lifts of these campaigns.
pub async fn kept_lifts_of(db: &Db, ids: &[CampaignId]) -> sqlx::Result<HashMap<CampaignId, KeptLift>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let list = ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!("{OF_MANY} AND campaign_id IN ({list})");
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(KeptLift::from).filter_map(|k| Some((k.campaign?, k))).collect())
}

const BEST: &str = "SELECT campaign_id, as_of, result FROM kept_lift WHERE unit = $1 AND campaign_id <> 0 AND held > 0 AND low IS NOT NULL
     ORDER BY incremental DESC LIMIT $2";
/// The campaigns that added most in a currency (or another unit), as far as their people were held out to compare with.
pub async fn best_lifts(db: &Db, unit: &str, limit: i64) -> sqlx::Result<Vec<KeptLift>> {
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(BEST).bind(unit).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(KeptLift::from).collect())
}

/// The job `attribution.lift`.
pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let (progress, stop) = (context.progress.clone(), context.stop.clone());
    let measured = keep_with(&platform, &mut || {
        progress.add(1);
        !stop.is_cancelled()
    })
    .await?;
    anyhow::ensure!(!context.stop.is_cancelled(), "stopped; the next attempt goes on");
    Ok(json!({ "measured": measured }))
}
