//! Cohorts and retention: people by the week or month of their first order, and how many of them ordered again in each period after it.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::period::{Periods, Unit};
use super::question::{Question, ReportError};
use super::report::decimal;
use super::sheet::{Cell, Kind, Sheet};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::read;

/// One period of a cohort's life.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CohortCell {
    /// Periods since the first order: 0 is the period of the first order itself.
    pub age: usize,
    /// People of the cohort who ordered in it.
    pub people: i64,
    /// Of the cohort.
    pub share: f64,
    pub orders: i64,
    pub revenue_minor: i64,
    /// From the first order up to the end of this period.
    pub revenue_so_far_minor: i64,
    /// Whether the period was over when the report was made.
    pub complete: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Cohort {
    /// First day of the period of the first order.
    pub period: String,
    pub people: i64,
    /// One per period up to the report's end, also those in which nobody ordered.
    pub cells: Vec<CohortCell>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CohortReport {
    pub unit: Unit,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    /// Of the revenue; people and orders are of all currencies.
    pub currency: String,
    pub cohorts: Vec<Cohort>,
    /// Retention by age, over the cohorts for which that period is over; weighted by their size.
    pub retention: Vec<f64>,
}

/// Orders that were kept: plausible, confirmed, not cancelled or wholly refunded.
const KEPT: &str = "o.flag IS NULL AND o.source <> 'page' AND o.status NOT IN ('cancelled', 'refunded') AND o.person_id IS NOT NULL";

#[derive(sqlx::FromRow)]
struct CellRow {
    cohort: i64,
    period: i64,
    people: i64,
    orders: i64,
    revenue_minor: i64,
}

async fn cells(db: &Db, periods: &Periods, question: &Question) -> sqlx::Result<Vec<CellRow>> {
    let sql = format!(
        "SELECT {} AS cohort, {} AS period, COUNT(DISTINCT o.person_id) AS people, COUNT(*) AS orders,
            CAST(COALESCE(SUM(CASE WHEN o.currency = $3 THEN o.total_minor - o.refunded_minor END), 0) AS BIGINT) AS revenue_minor
         FROM shop_order o JOIN (SELECT o.person_id, MIN(o.placed_at) AS first_at FROM shop_order o WHERE {KEPT} GROUP BY o.person_id) f
           ON f.person_id = o.person_id
         WHERE {KEPT} AND f.first_at >= $1 AND f.first_at < $2 AND o.placed_at < $2 GROUP BY 1, 2 ORDER BY 1, 2",
        as_bigint(&periods.sql("f.first_at")),
        as_bigint(&periods.sql("o.placed_at")),
    );
    let (from, to, currency) = (periods.from(), question.to, question.currency.code());
    read!(*db, |c| sqlx::query_as::<_, CellRow>(AssertSqlSafe(sql)).bind(from).bind(to).bind(currency).fetch_all(c).await)
}

pub(super) fn as_bigint(sql: &str) -> String {
    format!("CAST({sql} AS BIGINT)")
}

/// The report. Cohorts are whole periods; the one in which the span begins counts from its own beginning.
#[allow(clippy::cast_precision_loss, reason = "shares of people")]
pub async fn cohorts(db: &Db, question: &Question) -> Result<CohortReport, ReportError> {
    let periods = Periods::over(question.from, question.to, question.unit, question.time_zone);
    let mut found: BTreeMap<i64, BTreeMap<i64, CellRow>> = BTreeMap::new();
    for row in cells(db, &periods, question).await? {
        found.entry(row.cohort).or_default().insert(row.period, row);
    }
    let last = periods.count() - 1;
    // The last period is over only where the span ends with it.
    let complete = |period: usize| period < last || (question.to >= periods.to() && question.now >= periods.to());
    let mut cohorts = Vec::new();
    for (first, rows) in &found {
        let start = usize::try_from(*first).unwrap_or(0);
        let people = rows.get(first).map_or(0, |r| r.people);
        let mut so_far = 0;
        let mut cells = Vec::new();
        for (age, period) in (start..=last).enumerate() {
            let row = i64::try_from(period).ok().and_then(|p| rows.get(&p));
            so_far += row.map_or(0, |r| r.revenue_minor);
            cells.push(CohortCell {
                age,
                people: row.map_or(0, |r| r.people),
                share: row.map_or(0, |r| r.people) as f64 / people.max(1) as f64,
                orders: row.map_or(0, |r| r.orders),
                revenue_minor: row.map_or(0, |r| r.revenue_minor),
                revenue_so_far_minor: so_far,
                complete: complete(period),
            });
        }
        cohorts.push(Cohort { period: periods.name(start), people, cells });
    }
    Ok(CohortReport {
        unit: question.unit,
        from: periods.from(),
        to: question.to,
        time_zone: question.time_zone.name().to_owned(),
        currency: question.currency.code().to_owned(),
        retention: retention(&cohorts),
        cohorts,
    })
}

#[allow(clippy::cast_precision_loss, reason = "shares of people")]
fn retention(cohorts: &[Cohort]) -> Vec<f64> {
    let longest = cohorts.iter().map(|c| c.cells.len()).max().unwrap_or(0);
    (0..longest)
        .map_while(|age| {
            let done = cohorts.iter().filter(|c| c.cells.get(age).is_some_and(|cell| cell.complete));
            let (kept, all) = done.fold((0, 0), |(kept, all), c| (kept + c.cells[age].people, all + c.people));
            (all > 0).then(|| kept as f64 / all as f64)
        })
        .collect()
}

impl CohortReport {
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("cohorts");
        sheet.column("cohort", Kind::Text).column("cohort_people", Kind::Whole).column("age", Kind::Whole).column("people", Kind::Whole);
        sheet.column("share", Kind::Number).column("orders", Kind::Whole).column("currency", Kind::Text).column("revenue", Kind::Decimal);
        sheet.column("revenue_minor", Kind::Whole).column("revenue_so_far_minor", Kind::Whole).column("complete", Kind::Text);
        for cohort in &self.cohorts {
            for cell in &cohort.cells {
                sheet.row(vec![
                    Cell::text(&cohort.period),
                    Cell::Whole(cohort.people),
                    Cell::Whole(i64::try_from(cell.age).unwrap_or(i64::MAX)),
                    Cell::Whole(cell.people),
                    Cell::Number(cell.share),
                    Cell::Whole(cell.orders),
                    Cell::text(&self.currency),
                    Cell::Decimal(decimal(cell.revenue_minor, &self.currency)),
                    Cell::Whole(cell.revenue_minor),
                    Cell::Whole(cell.revenue_so_far_minor),
                    Cell::text(if cell.complete { "yes" } else { "no" }),
                ]);
            }
        }
        sheet
    }
}
