//! Engagement from the visits that are kept: periods are read as sums, and nobody goes through the events. Differences that wait to be folded are
//! added, so that it says the same as a pass over the events would.

use std::collections::BTreeMap;

use super::engagement::{ActiveRow, Seen};
use super::period::Periods;
use super::question::Question;
use super::rollup::visits::{self, Came, Days};
use super::rollup::{self, day_number};
use crate::events::deltas;
use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};

/// With more differences waiting than this, the events are read instead.
const MANY: i64 = 20_000;
/// Up to so many days the visits of a span are found by day; of longer spans by person, in order.
const SHORT: i64 = 45;

const AFTER: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE occurred_at >= $1 LIMIT 1) few";
const PERIODS: &str = "SELECT period, people, came_back, active_days, events FROM rollup_engagement
     WHERE unit = $1 AND period >= $2 AND period <= $3";

#[derive(sqlx::FromRow)]
struct Row {
    period: i64,
    #[sqlx(flatten)]
    came: Came,
}

/// What people did and how they spread, or `None` where sums cannot answer: another zone, a last period cut short though more happened in it.
pub(super) async fn seen(db: &Db, question: &Question, periods: &Periods) -> sqlx::Result<Option<Seen>> {
    let zone = question.time_zone;
    let mut tx = db.snapshot().await?;
    let state = rollup::read_state(&mut tx).await?;
    if !state.ready || state.zone != zone.name() {
        return Ok(None);
    }
    if question.to < periods.to() {
        let later: i64 = on!(&mut tx, |c| sqlx::query_scalar(AFTER).bind(question.to).fetch_one(&mut *c).await)?;
        if later > 0 {
            return Ok(None);
        }
    }
    let waiting = deltas::waiting(&mut tx, MANY + 1).await?;
    if i64::try_from(waiting.len()).is_ok_and(|n| n > MANY) {
        return Ok(None);
    }
    let day = |at: Timestamp| day_number(at.in_zone(zone).date_naive());
    let span = (day(periods.from()), day(question.to.plus_us(-1)));
    let changes = visits::changes(&mut tx, &waiting, zone, Some(span)).await?;

    let unit = question.unit.name();
    let rows: Vec<Row> = on!(&mut tx, |c| sqlx::query_as(PERIODS).bind(unit).bind(span.0).bind(span.1).fetch_all(&mut *c).await)?;
    let mut sums: BTreeMap<i64, Came> = rows.into_iter().map(|r| (r.period, r.came)).collect();
    for ((unit, period), came) in changes.sums() {
        if unit == question.unit {
            sums.entry(period).or_default().add(came, 1);
        }
    }
    let row = |index: usize| {
        let period = day_number(periods.first_day(index));
        let came = sums.get(&period).copied().filter(|c| c.people > 0)?;
        // The span begins with the first period: nobody was here before.
        let came_back = if index == 0 { 0 } else { came.came_back };
        let period = i64::try_from(index).unwrap_or(i64::MAX);
        Some(ActiveRow { period, people: came.people, days: came.active_days, events: came.events, came_back })
    };
    let active = (0..periods.count()).filter_map(row).collect();

    let mut spread = spread(&mut tx, span).await?;
    tx.rollback().await?;
    for (people, sign) in [(&changes.before, -1), (&changes.after, 1)] {
        for place in people.values().filter_map(|days| place(days, span)) {
            *spread.entry(place).or_default() += sign;
        }
    }
    spread.retain(|_, n| *n != 0);
    Ok(Some(Seen { periods: active, spread: spread.into_iter().map(|((days, last), n)| (days, span.1 - last, n)).collect() }))
}

/// On how many days of a span somebody was here, and the last of them.
fn place(days: &Days, span: (i64, i64)) -> Option<(i64, i64)> {
    let mut inside = days.iter().filter(|(day, n)| (span.0..=span.1).contains(*day) && **n > 0).map(|(day, _)| *day);
    let first = inside.next()?;
    let (n, last) = inside.fold((1, first), |(n, _), day| (n + 1, day));
    Some((n, last))
}

/// People by the number of days of a span on which they were here, and the last of them.
async fn spread(tx: &mut Tx, span: (i64, i64)) -> sqlx::Result<BTreeMap<(i64, i64), i64>> {
    // A plus before the column: no index by it, so that the visits are read person by person and nothing is sorted.
    let day = if span.1 - span.0 <= SHORT { "day" } else { "+day" };
    let sql = format!(
        "SELECT days, last, COUNT(*) FROM (SELECT COUNT(*) AS days, MAX(day) AS last FROM rollup_visit
            WHERE {day} >= $1 AND {day} <= $2 AND events > 0 GROUP BY person_id) p GROUP BY days, last"
    );
    let rows: Vec<(i64, i64, i64)> =
        on!(tx, |c| sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(span.0).bind(span.1).fetch_all(&mut *c).await)?;
    Ok(rows.into_iter().map(|(days, last, n)| ((days, last), n)).collect())
}
