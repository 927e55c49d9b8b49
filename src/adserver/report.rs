//! Figures of placements and line items for pages, all from the hourly sums.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::QueryBuilder;

use super::meter::{self, Budget};
use super::outcomes::FILLED;
use super::pacing::Forecast;
use super::{LineItem, tally};
use crate::platform::clock::HOUR_US;
use crate::platform::ids::{LineItemId, PlacementId};
use crate::platform::{Db, Timestamp};
use crate::read;

/// What was shown and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Figures {
    pub shown: i64,
    pub viewable: i64,
    pub clicks: i64,
    /// Millionths of a minor unit.
    pub cost_micro: i64,
}

/// A placement's figures over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlacementFigures {
    pub requests: i64,
    pub filled: i64,
    pub figures: Figures,
    /// Why nothing was shown, the commonest first.
    pub reasons: Vec<(String, i64)>,
}

/// A span of whole hours since 1970: `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    pub from: i64,
    pub to: i64,
}

impl Hours {
    /// The last days up to and with the present hour.
    pub fn last_days(now: Timestamp, days: i64) -> Self {
        let to = tally::hour_of(now) + 1;
        Self { from: to - 24 * days, to }
    }
}

macro_rules! of_places {
    ($c:expr, $row:ty, $sql:literal, $group:literal, $hours:expr, $ids:expr) => {{
        let mut q = QueryBuilder::new($sql);
        q.push_bind($hours.from).push(" AND hour < ").push_bind($hours.to).push(" AND placement_id IN (");
        let mut list = q.separated(", ");
        for id in $ids {
            list.push_bind(*id);
        }
        q.push($group);
        q.build_query_as::<$row>().persistent(false).fetch_all($c).await
    }};
}

#[derive(sqlx::FromRow)]
struct PlaceRow {
    placement_id: PlacementId,
    #[sqlx(flatten)]
    figures: Figures,
}

/// Figures of some placements (at most some hundred).
pub async fn of_placements(db: &Db, ids: &[PlacementId], hours: Hours) -> sqlx::Result<HashMap<PlacementId, PlacementFigures>> {
    let mut all: HashMap<PlacementId, PlacementFigures> = HashMap::new();
    if ids.is_empty() {
        return Ok(all);
    }
    let shown: Vec<PlaceRow> = read!(*db, |c| of_places!(
        c,
        PlaceRow,
        "SELECT placement_id, CAST(SUM(shown) AS BIGINT) AS shown, CAST(SUM(viewable) AS BIGINT) AS viewable,
           CAST(SUM(clicks) AS BIGINT) AS clicks, CAST(SUM(cost_micro) AS BIGINT) AS cost_micro FROM ad_hour WHERE hour >= ",
        ") GROUP BY placement_id",
        hours,
        ids
    ))?;
    for row in shown {
        all.entry(row.placement_id).or_default().figures = row.figures;
    }
    let requests: Vec<(PlacementId, String, i64)> = read!(*db, |c| of_places!(
        c,
        (PlacementId, String, i64),
        "SELECT placement_id, outcome, CAST(SUM(requests) AS BIGINT) FROM ad_request WHERE hour >= ",
        ") GROUP BY placement_id, outcome ORDER BY 3 DESC, 2",
        hours,
        ids
    ))?;
    for (placement, outcome, n) in requests {
        let figures = all.entry(placement).or_default();
        figures.requests += n;
        if outcome == FILLED {
            figures.filled += n;
        } else {
            figures.reasons.push((outcome, n));
        }
    }
    Ok(all)
}

const PLACE_HOURS: &str =
    "SELECT hour, CAST(SUM(requests) AS BIGINT), CAST(SUM(CASE WHEN outcome = 'filled' THEN requests ELSE 0 END) AS BIGINT)
     FROM ad_request WHERE placement_id = $1 AND hour >= $2 AND hour < $3 GROUP BY hour ORDER BY hour";

/// Requests and filled ones of a placement per hour: (hour, requests, filled).
pub async fn placement_hours(db: &Db, placement: PlacementId, hours: Hours) -> sqlx::Result<Vec<(i64, i64, i64)>> {
    read!(*db, |c| sqlx::query_as(PLACE_HOURS).bind(placement).bind(hours.from).bind(hours.to).fetch_all(c).await)
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    line_item_id: i64,
    #[sqlx(flatten)]
    figures: Figures,
}

/// What line items came to in all (at most some hundred of them).
pub async fn of_line_items(db: &Db, ids: &[LineItemId]) -> sqlx::Result<HashMap<LineItemId, Figures>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<ItemRow> = read!(*db, |c| {
        let mut q = QueryBuilder::new(
            "SELECT line_item_id, CAST(SUM(shown) AS BIGINT) AS shown, CAST(SUM(viewable) AS BIGINT) AS viewable,
               CAST(SUM(clicks) AS BIGINT) AS clicks, CAST(SUM(cost_micro) AS BIGINT) AS cost_micro FROM ad_hour WHERE line_item_id IN (",
        );
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        q.push(") GROUP BY line_item_id");
        q.build_query_as::<ItemRow>().persistent(false).fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|r| (LineItemId(r.line_item_id), r.figures)).collect())
}

#[derive(sqlx::FromRow)]
struct HourRow {
    hour: i64,
    #[sqlx(flatten)]
    figures: Figures,
}

const ITEM_HOURS: &str = "SELECT hour, CAST(SUM(shown) AS BIGINT) AS shown, CAST(SUM(viewable) AS BIGINT) AS viewable,
       CAST(SUM(clicks) AS BIGINT) AS clicks, CAST(SUM(cost_micro) AS BIGINT) AS cost_micro
     FROM ad_hour WHERE line_item_id = $1 AND hour >= $2 AND hour < $3 GROUP BY hour ORDER BY hour";

/// A point of a line item's curve: what should have been and what was delivered up to an instant, in the unit of its budget (impressions,
/// clicks, minor units; impressions without a budget).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    pub at: Timestamp,
    /// `None` without a pace to keep.
    pub planned: Option<f64>,
    /// `None` in the future.
    pub delivered: Option<f64>,
}

/// Most points of a curve.
const POINTS: i64 = 48;

/// Planned and delivered, over the line item's time or its last week.
pub async fn curve(db: &Db, item: &LineItem, now: Timestamp) -> sqlx::Result<Vec<CurvePoint>> {
    let flight = meter::flight(item);
    let start = item.starts_at.unwrap_or(item.created_at);
    let end = item.ends_at.unwrap_or(now).max(start.plus_us(HOUR_US));
    let (from, to) = (tally::hour_of(start), tally::hour_of(end) + 1);
    let rows: Vec<HourRow> = read!(*db, |c| sqlx::query_as(ITEM_HOURS).bind(item.id).bind(from).bind(to).fetch_all(c).await)?;
    let past = tally::traffic(db, tally::hour_of(now) - 28 * 24, tally::hour_of(now)).await?;
    let past: Vec<(i64, i64)> = past.into_iter().filter(|(p, ..)| *p == item.placement_id).map(|(_, hour, n)| (hour, n)).collect();
    let forecast = Forecast::learn(&past);
    let unit = |f: &Figures| match Budget::of(item) {
        Budget::Unlimited | Budget::Impressions(_) => f.shown as f64,
        Budget::Clicks(_) => f.clicks as f64,
        Budget::Money { .. } => f.cost_micro as f64 / 1e6,
    };
    let scale = if matches!(Budget::of(item), Budget::Money { .. }) { 1e6 } else { 1.0 };
    let step = ((to - from) / POINTS + 1).max(1);
    let mut points = Vec::new();
    let (mut at, mut sum, mut rows) = (from, 0.0, rows.iter().peekable());
    while at < to {
        let until = at + step;
        while let Some(row) = rows.next_if(|r| r.hour < until) {
            sum += unit(&row.figures);
        }
        let instant = Timestamp::from_micros(until * HOUR_US);
        points.push(CurvePoint {
            at: instant,
            planned: flight.map(|f| f.target(&forecast, f.start, 0.0, instant) / scale),
            delivered: (Timestamp::from_micros(at * HOUR_US) <= now).then_some(sum),
        });
        at = until;
    }
    Ok(points)
}
