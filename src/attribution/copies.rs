//! What each copy came to: the job `attribution.copies` counts touches by copy and day of planning. The last days are counted anew each time,
//! in which nearly all opens and clicks fall; so the work follows what was planned lately, not how much there ever was.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;

use crate::copywriter::{self, CopyFigures};
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::ids::{CopyId, TouchId};
use crate::platform::queue::JobContext;
use crate::platform::{Db, Platform, Tx, setting};
use crate::{on, read};

/// Days that are counted anew.
const OPEN_DAYS: i64 = 10;
/// The day up to which days stand.
const CURSOR: &str = "attribution.copies";
/// Rows in one statement.
const ROWS: usize = 2_000;

/// Counts of one or more touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyResult {
    /// Sent, or shown.
    pub sent: i64,
    /// By humans.
    pub opened: i64,
    /// Banners that were really seen.
    pub viewable: i64,
    pub clicked: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    copy_id: i64,
    sent: i64,
    opened: i64,
    viewable: i64,
    clicked: i64,
}

// Postgres knows no smallest UUID; the key's first row says the same.
const FIRST: &str = "SELECT id FROM touch ORDER BY id LIMIT 1";
const COUNTED: &str = "SELECT COALESCE(t.copy_id, c.copy_id) AS copy_id, COUNT(*) AS sent, COUNT(t.open_at) AS opened, COUNT(t.viewable_at) AS viewable,
         COUNT(t.click_at) AS clicked
     FROM touch t LEFT JOIN creative c ON c.id = t.creative_id
     WHERE t.id >= $1 AND t.id < $2 AND t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain') AND COALESCE(t.copy_id, c.copy_id) IS NOT NULL
     GROUP BY 1";
const FORGET: &str = "DELETE FROM copy_result WHERE day = $1";
const PUT_SQLITE: &str = "INSERT INTO copy_result (copy_id, day, sent, opened, viewable, clicked)
     SELECT value ->> 0, $2, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($1)";
const PUT_POSTGRES: &str = "INSERT INTO copy_result (copy_id, day, sent, opened, viewable, clicked)
     SELECT (value ->> 0)::BIGINT, $2, (value ->> 1)::BIGINT, (value ->> 2)::BIGINT, (value ->> 3)::BIGINT, (value ->> 4)::BIGINT
     FROM jsonb_array_elements($1) AS value";

/// The smallest id that a touch planned at that instant or later can have: ids begin with their milliseconds.
fn id_from(at: Timestamp) -> TouchId {
    let ms = u64::try_from(at.0.max(0) / 1000).unwrap_or(0);
    TouchId(uuid::Uuid::from_u128(u128::from(ms) << 80))
}

fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_US)
}

async fn first_day(db: &Db) -> sqlx::Result<Option<i64>> {
    let first: Option<TouchId> = read!(*db, |c| sqlx::query_scalar(FIRST).fetch_optional(c).await)?;
    let ms = first.map(|id| i64::try_from(id.0.as_u128() >> 80).unwrap_or(0));
    Ok(ms.map(|ms| day_of(Timestamp(ms.saturating_mul(1000)))))
}

/// Counts what is new. Returns how many days were counted.
///
/// # Errors
/// Those of the database; days that are done stay done.
pub async fn count_copies(platform: &Platform, mut stop: impl FnMut() -> bool) -> anyhow::Result<i64> {
    let db = &platform.db;
    let today = day_of(platform.now());
    let Some(first) = first_day(db).await? else { return Ok(0) };
    let stands: i64 = setting::get(db, CURSOR).await?.unwrap_or(first);
    let mut days = 0;
    for day in stands.min(today - OPEN_DAYS).max(first)..=today {
        if stop() {
            break;
        }
        let from = id_from(Timestamp(day * DAY_US));
        let to = id_from(Timestamp((day + 1) * DAY_US));
        let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(COUNTED).bind(from).bind(to).fetch_all(c).await)?;
        let mut tx = db.begin().await?;
        on!(&mut tx, |c| sqlx::query(FORGET).bind(day).execute(&mut *c).await.map(|_| ()))?;
        put(&mut tx, day, &rows).await?;
        total(&mut tx, &rows).await?;
        if day < today - OPEN_DAYS {
            setting::put(&mut tx, CURSOR, &(day + 1), platform.now()).await?;
        }
        tx.commit().await?;
        days += 1;
    }
    Ok(days)
}

async fn put(tx: &mut Tx, day: i64, rows: &[Row]) -> sqlx::Result<()> {
    for some in rows.chunks(ROWS) {
        let rows: Vec<[i64; 5]> = some.iter().map(|r| [r.copy_id, r.sent, r.opened, r.viewable, r.clicked]).collect();
        match tx {
            Tx::Sqlite { tx, .. } => sqlx::query(PUT_SQLITE).bind(Json(rows)).bind(day).execute(&mut **tx).await.map(|_| ())?,
            Tx::Postgres(tx) => sqlx::query(PUT_POSTGRES).bind(Json(rows)).bind(day).execute(&mut **tx).await.map(|_| ())?,
        }
    }
    Ok(())
}

/// Writes what these copies came to so far beside them, for the order of the gallery.
async fn total(tx: &mut Tx, rows: &[Row]) -> sqlx::Result<()> {
    for some in rows.chunks(ROWS) {
        let ids = some.iter().map(|r| r.copy_id.to_string()).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT r.copy_id, CAST(SUM(r.sent) AS BIGINT), CAST(SUM(r.clicked) AS BIGINT)
             FROM copy_result r JOIN ad_copy a ON a.id = r.copy_id WHERE r.copy_id IN ({ids}) GROUP BY r.copy_id"
        );
        let sums: Vec<(CopyId, i64, i64)> =
            on!(&mut *tx, |c| sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut *c).await)?;
        let figures: Vec<CopyFigures> = sums.into_iter().map(|(copy_id, sent, clicked)| CopyFigures { copy_id, sent, clicked }).collect();
        copywriter::put_figures(tx, &figures).await?;
    }
    Ok(())
}

pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let days = count_copies(&platform, || context.stop.is_cancelled()).await?;
    Ok(json!({ "days": days }))
}

macro_rules! sums {
    ($ids:literal) => {
        concat!(
            "SELECT copy_id, CAST(SUM(sent) AS BIGINT) AS sent, CAST(SUM(opened) AS BIGINT) AS opened, CAST(SUM(viewable) AS BIGINT) AS viewable,
             CAST(SUM(clicked) AS BIGINT) AS clicked FROM copy_result WHERE copy_id ",
            $ids,
            " GROUP BY copy_id"
        )
    };
}
const OF_SQLITE: &str = sums!("IN (SELECT value FROM json_each($1))");
const OF_POSTGRES: &str = sums!("= ANY($1)");

/// What these copies came to so far, as of the last count. Copies that were never sent or shown are missing.
pub async fn copy_results(db: &Db, copies: &[CopyId]) -> sqlx::Result<HashMap<CopyId, CopyResult>> {
    let ids: Vec<i64> = copies.iter().map(|c| c.0).collect();
    let rows: Vec<Row> = match db {
        Db::Sqlite(s) => sqlx::query_as(OF_SQLITE).bind(Json(ids)).fetch_all(&s.readers).await?,
        Db::Postgres(p) => sqlx::query_as(OF_POSTGRES).bind(ids).fetch_all(p).await?,
    };
    Ok(rows
        .into_iter()
        .map(|r| (CopyId(r.copy_id), CopyResult { sent: r.sent, opened: r.opened, viewable: r.viewable, clicked: r.clicked }))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_day_lie_between_its_bounds() {
        let at = Timestamp::parse("2026-02-28T23:59:59.999Z").expect("time");
        let day = day_of(at);
        let (from, to) = (id_from(Timestamp(day * DAY_US)), id_from(Timestamp((day + 1) * DAY_US)));
        for us in [0, 500] {
            let id = TouchId::new(Timestamp(at.0 + us));
            assert!(id >= from && id < to, "{id}");
        }
        let next = TouchId::new(Timestamp((day + 1) * DAY_US));
        assert!(next >= to);
    }
}
