//! The funnel from the sums that are kept: where it is asked for in whole days of their zone, nobody counts touches. Differences that wait to
//! be folded are added, so that it says the same as a count of touches would.

use sqlx::AssertSqlSafe;

use super::by::{By, Within};
use super::funnel::Counts;
use super::period::{Periods, Unit};
use super::question::Question;
use super::report_store::QUARTER_US;
use super::rollup;
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::read;

const FIGURES: [&str; 10] = ["planned", "held", "skipped", "failed", "sent", "seen", "clicked", "bounced", "unsubscribed", "complained"];

/// Counts by key, or `None` where the sums cannot answer: another zone, part of a day, products (which are kept by month).
pub(super) async fn counts(db: &Db, question: &Question) -> sqlx::Result<Option<Vec<Counts>>> {
    let state = rollup::state(db).await?;
    let zone = question.time_zone;
    let midnight = |at: Timestamp| Timestamp::from_date(at.in_zone(zone).date_naive(), zone) == at;
    let whole = midnight(question.from) && midnight(question.to);
    if !state.ready || state.zone != zone.name() || !whole || question.by == By::Product {
        return Ok(None);
    }
    let mut counts = touches(db, question).await?;
    for (key, ordered, revenue_minor) in ordered(db, question).await? {
        match counts.iter_mut().find(|c| c.key == key) {
            Some(row) => (row.ordered, row.revenue_minor) = (ordered, revenue_minor),
            None => counts.push(Counts { key, ordered, revenue_minor, ..Counts::default() }),
        }
    }
    Ok(Some(counts))
}

async fn touches(db: &Db, question: &Question) -> sqlx::Result<Vec<Counts>> {
    let zone = question.time_zone;
    let days = Periods::over(question.from, question.to, Unit::Day, zone);
    let (from, to) = (question.from.day_in(zone), question.to.plus_us(-1).day_in(zone));
    // Days of the sums are numbers; the keys of reports are quarters of an hour.
    let key = if question.by.is_time() { "CAST(c.day AS TEXT)".to_owned() } else { Within::default().key(question.by, "c.day") };
    let inside = question.within.condition().map_or(String::new(), |condition| format!(" AND {condition}"));
    let sums: String = FIGURES.map(|f| format!("CAST(SUM(c.{f}) AS BIGINT) AS {f}")).join(", ");
    let figures = FIGURES.join(", ");
    let sql = format!(
        "SELECT {key} AS key, {sums}, CAST(SUM(c.sent) - SUM(c.returned) AS BIGINT) AS delivered, CAST(0 AS BIGINT) AS ordered,
            CAST(0 AS BIGINT) AS revenue_minor
         FROM (SELECT day, campaign_id, NULLIF(variant_id, 0) AS variant_id, channel, {figures}, returned FROM rollup_touch
                WHERE day >= {from} AND day <= {to}
             UNION ALL SELECT {}, campaign_id, variant_id, channel, {figures}, returned FROM touch_delta
                WHERE quarter >= $1 AND quarter < $2) c
         WHERE 1 = 1{inside} GROUP BY 1",
        days.sql_first_days(&format!("(quarter * {QUARTER_US})"))
    );
    let bounds = (question.from.0 / QUARTER_US, question.to.0 / QUARTER_US);
    let mut rows: Vec<Counts> = read!(*db, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(bounds.0).bind(bounds.1).fetch_all(c).await)?;
    if question.by.is_time() {
        for row in &mut rows {
            let day = rollup::day_of(row.key.parse().unwrap_or_default());
            row.key = (Timestamp::from_date(day, zone).0 / QUARTER_US).to_string();
        }
    }
    rows.retain(|r| !r.is_zero());
    Ok(rows)
}

/// Touches on the path of an order, and what they earned, whenever it came: credits are few, so these are counted.
async fn ordered(db: &Db, question: &Question) -> sqlx::Result<Vec<(String, i64, i64)>> {
    let group = if question.by.is_time() {
        // To the first quarter of the day, as above.
        let days = Periods::over(question.from, question.to, Unit::Day, question.time_zone);
        format!("CAST({} AS TEXT)", days.sql_first_days("c.due_at"))
    } else {
        Within::default().key(question.by, "c.due_at")
    };
    let inside = question.within.condition().map_or(String::new(), |condition| format!(" AND {condition}"));
    let sql = format!(
        "SELECT {group} AS key, COUNT(*), CAST(COALESCE(SUM(x.net), 0) AS BIGINT) FROM
            (SELECT x.touch_id, SUM(CASE WHEN x.currency = $4 THEN x.linear_minor END) AS net FROM credit x
             WHERE x.view_through = $3 AND x.placed_at >= $1 GROUP BY x.touch_id) x JOIN touch c ON c.id = x.touch_id
         WHERE c.due_at >= $1 AND c.due_at < $2{inside} GROUP BY 1"
    );
    let mut rows: Vec<(String, i64, i64)> = read!(*db, |c| {
        sqlx::query_as(AssertSqlSafe(sql))
            .bind(question.from)
            .bind(question.to)
            .bind(question.view_through)
            .bind(question.currency.code())
            .fetch_all(c)
            .await
    })?;
    if question.by.is_time() {
        for row in &mut rows {
            let day = rollup::day_of(row.0.parse().unwrap_or_default());
            row.0 = (Timestamp::from_date(day, question.time_zone).0 / QUARTER_US).to_string();
        }
    }
    Ok(rows)
}
