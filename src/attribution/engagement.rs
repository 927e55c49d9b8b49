//! Engagement, an outcome beside revenue: how often people come (frequency), how much they do when they are here (depth), how long ago they
//! were last here (recency), and whether they come back (return). By all events that people themselves made; whether campaigns *caused* any
//! of it is a question for lift, which measures days and visits as it measures revenue.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::cohorts::as_bigint;
use super::engagement_kept;
use super::period::{Periods, Unit};
use super::question::{MAX_PERIODS, Question, ReportError};
use super::report::decimal;
use super::sheet::{Cell, Kind, Sheet};
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Db;
use crate::read;

/// One period.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EngagementRow {
    /// Its first day.
    pub period: String,
    /// People with any event in it.
    pub people: i64,
    /// People first seen in it.
    pub new_people: i64,
    /// People who were also here in the period before.
    pub returning_people: i64,
    /// Of the people of the period before; `null` in the first.
    pub return_share: Option<f64>,
    /// Sum of the days on which each was here.
    pub active_days: i64,
    pub events: i64,
    /// Frequency: active days per person.
    pub days_per_person: f64,
    /// Depth: events per active day.
    pub events_per_day: f64,
    pub orders: i64,
    pub revenue_minor: i64,
    pub revenue: String,
}

/// How many people fall between two bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PeopleIn {
    pub from: i64,
    /// `null`: no end.
    pub to: Option<i64>,
    pub people: i64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EngagementReport {
    pub unit: Unit,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    pub currency: String,
    pub rows: Vec<EngagementRow>,
    /// People by the number of days on which they were here in the whole span.
    pub frequency: Vec<PeopleIn>,
    /// The same people by days of the calendar from the last on which they were here to the last of the span (0: on that day).
    pub recency: Vec<PeopleIn>,
}

const FREQUENCY: [i64; 7] = [1, 2, 3, 5, 10, 20, 50];
const RECENCY: [i64; 8] = [0, 1, 3, 7, 14, 30, 60, 90];

pub(super) struct ActiveRow {
    pub period: i64,
    pub people: i64,
    pub days: i64,
    pub events: i64,
    pub came_back: i64,
}

const SEEN: &str = "FROM event e WHERE e.kind <> 'group' AND e.occurred_at >= $1 AND e.occurred_at < $2";

/// What people did, and how they spread: (active days, days from the last of them to the last of the span, people).
pub(super) struct Seen {
    pub periods: Vec<ActiveRow>,
    pub spread: Vec<(i64, i64, i64)>,
}

/// Both from one pass over the events: the days on which each person was here are told once. What [`engagement_kept`] must equal.
async fn seen(db: &Db, days: &Periods, periods: &Periods, to: Timestamp) -> sqlx::Result<Seen> {
    let sql = format!(
        "WITH day AS MATERIALIZED (SELECT e.person_id, {} AS day, COUNT(*) AS n {SEEN} GROUP BY 1, 2),
              seen AS MATERIALIZED (SELECT person_id, {} AS period, COUNT(*) AS days, SUM(n) AS events FROM day GROUP BY 1, 2)
         SELECT TRUE AS of_period, s.period AS a, COUNT(*) AS b, CAST(SUM(s.days) AS BIGINT) AS c, CAST(SUM(s.events) AS BIGINT) AS d,
            COUNT(b.person_id) AS e
         FROM seen s LEFT JOIN seen b ON b.person_id = s.person_id AND b.period = s.period - 1 GROUP BY s.period
         UNION ALL
         SELECT FALSE, days, since, COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM (
            SELECT person_id, COUNT(*) AS days, {} - MAX(day) AS since FROM day GROUP BY person_id
         ) p GROUP BY days, since ORDER BY 1, 2, 3",
        as_bigint(&days.sql("e.occurred_at")),
        as_bigint(&days.sql_within("day", periods)),
        days.count() - 1,
    );
    let rows: Vec<(bool, i64, i64, i64, i64, i64)> =
        read!(*db, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(days.from()).bind(to).fetch_all(c).await)?;
    let mut seen = Seen { periods: Vec::new(), spread: Vec::new() };
    for (of_period, a, b, c, d, e) in rows {
        if of_period {
            seen.periods.push(ActiveRow { period: a, people: b, days: c, events: d, came_back: e });
        } else {
            seen.spread.push((a, b, c));
        }
    }
    Ok(seen)
}

/// People first seen, per period.
async fn new_people(db: &Db, periods: &Periods, to: Timestamp) -> sqlx::Result<Vec<(i64, i64)>> {
    let sql = format!(
        "SELECT {} AS period, COUNT(*) FROM person p WHERE p.merged_into IS NULL AND p.first_seen_at >= $1 AND p.first_seen_at < $2 GROUP BY 1",
        as_bigint(&periods.sql("p.first_seen_at")),
    );
    read!(*db, |c| sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql)).bind(periods.from()).bind(to).fetch_all(c).await)
}

/// (period, orders, net revenue) in one currency.
async fn revenue(db: &Db, periods: &Periods, to: Timestamp, currency: &str) -> sqlx::Result<Vec<(i64, i64, i64)>> {
    let sql = format!(
        "SELECT {} AS period, COUNT(*), CAST(SUM(o.total_minor - o.refunded_minor) AS BIGINT) FROM shop_order o
         WHERE o.flag IS NULL AND o.source <> 'page' AND o.currency = $3 AND o.placed_at >= $1 AND o.placed_at < $2 GROUP BY 1",
        as_bigint(&periods.sql("o.placed_at")),
    );
    read!(*db, |c| {
        sqlx::query_as::<_, (i64, i64, i64)>(AssertSqlSafe(sql)).bind(periods.from()).bind(to).bind(currency).fetch_all(c).await
    })
}

/// The report. Periods are whole; the one in which the span begins counts from its own beginning.
#[allow(clippy::cast_precision_loss, reason = "means and shares of counts")]
pub async fn engagement(db: &Db, question: &Question) -> Result<EngagementReport, ReportError> {
    if question.to.since(question.from) > MAX_PERIODS * DAY_US {
        return Err(ReportError::invalid("from", format!("engagement looks at most {MAX_PERIODS} days back")));
    }
    let (zone, to) = (question.time_zone, question.to);
    let periods = Periods::over(question.from, to, question.unit, zone);
    let days = Periods::over(periods.from(), to, Unit::Day, zone);
    let kept = engagement_kept::seen(db, question, &periods).await?;
    let Seen { periods: active, spread } = match kept {
        Some(kept) => kept,
        None => seen(db, &days, &periods, to).await?,
    };
    let seen: BTreeMap<i64, ActiveRow> = active.into_iter().map(|r| (r.period, r)).collect();
    let new: BTreeMap<i64, i64> = new_people(db, &periods, to).await?.into_iter().collect();
    let currency = question.currency.code();
    let sold: BTreeMap<i64, (i64, i64)> =
        revenue(db, &periods, to, currency).await?.into_iter().map(|(period, orders, net)| (period, (orders, net))).collect();
    let mut rows = Vec::with_capacity(periods.count());
    let mut before: Option<i64> = None;
    for index in 0..periods.count() {
        let period = i64::try_from(index).unwrap_or(i64::MAX);
        let row = seen.get(&period);
        let (people, active_days, events) = row.map_or((0, 0, 0), |r| (r.people, r.days, r.events));
        let (orders, revenue_minor) = sold.get(&period).copied().unwrap_or_default();
        let returning_people = row.map_or(0, |r| r.came_back);
        rows.push(EngagementRow {
            period: periods.name(index),
            people,
            new_people: new.get(&period).copied().unwrap_or(0),
            returning_people,
            return_share: before.map(|n| returning_people as f64 / n.max(1) as f64),
            active_days,
            events,
            days_per_person: active_days as f64 / people.max(1) as f64,
            events_per_day: events as f64 / active_days.max(1) as f64,
            orders,
            revenue_minor,
            revenue: decimal(revenue_minor, currency),
        });
        before = Some(people);
    }
    Ok(EngagementReport {
        unit: question.unit,
        from: periods.from(),
        to,
        time_zone: zone.name().to_owned(),
        currency: currency.to_owned(),
        rows,
        frequency: buckets(&FREQUENCY, spread.iter().map(|(days, _, n)| (*days, *n))),
        recency: buckets(&RECENCY, spread.iter().map(|(_, since, n)| (*since, *n))),
    })
}

/// Counts by ascending lower bounds.
fn buckets(bounds: &[i64], counts: impl Iterator<Item = (i64, i64)> + Clone) -> Vec<PeopleIn> {
    (0..bounds.len())
        .map(|i| {
            let (from, to) = (bounds[i], bounds.get(i + 1).copied());
            let people = counts.clone().filter(|(v, _)| *v >= from && to.is_none_or(|to| *v < to)).map(|(_, n)| n).sum();
            PeopleIn { from, to, people }
        })
        .collect()
}

impl EngagementReport {
    /// `engagement`, `frequency` and `recency`.
    pub fn sheets(&self) -> Vec<Sheet> {
        let mut main = Sheet::new("engagement");
        main.column("period", Kind::Text);
        for name in ["people", "new_people", "returning_people"] {
            main.column(name, Kind::Whole);
        }
        main.column("return_share", Kind::Number).column("active_days", Kind::Whole).column("events", Kind::Whole);
        main.column("days_per_person", Kind::Number).column("events_per_day", Kind::Number).column("orders", Kind::Whole);
        main.column("currency", Kind::Text).column("revenue", Kind::Decimal).column("revenue_minor", Kind::Whole);
        for r in &self.rows {
            main.row(vec![
                Cell::text(&r.period),
                Cell::Whole(r.people),
                Cell::Whole(r.new_people),
                Cell::Whole(r.returning_people),
                r.return_share.into(),
                Cell::Whole(r.active_days),
                Cell::Whole(r.events),
                Cell::Number(r.days_per_person),
                Cell::Number(r.events_per_day),
                Cell::Whole(r.orders),
                Cell::text(&self.currency),
                Cell::Decimal(r.revenue.clone()),
                Cell::Whole(r.revenue_minor),
            ]);
        }
        let list = |name: &str, rows: &[PeopleIn]| {
            let mut sheet = Sheet::new(name);
            sheet.column("from_days", Kind::Whole).column("to_days", Kind::Whole).column("people", Kind::Whole);
            for r in rows {
                sheet.row(vec![Cell::Whole(r.from), r.to.into(), Cell::Whole(r.people)]);
            }
            sheet
        };
        vec![main, list("frequency", &self.frequency), list("recency", &self.recency)]
    }
}
