//! Visits: the days on which each person was here, and what engagement comes to by day, week and month. Both follow differences of events: only
//! the people of whom something came are looked at, and only around the days that it is about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{Datelike as _, Months, NaiveDate};
use chrono_tz::Tz;
use sqlx::{AssertSqlSafe, QueryBuilder};

use super::write::ROWS;
use super::{day_number, day_of};
use crate::attribution::period::Unit;
use crate::attribution::report_store::QUARTER_US;
use crate::events::deltas::Delta;
use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;

/// Events of one person by day.
pub(in crate::attribution) type Days = BTreeMap<i64, i64>;

/// What the people of a period came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::attribution) struct Came {
    pub people: i64,
    /// Of them, who were also here in the period before.
    pub came_back: i64,
    pub active_days: i64,
    pub events: i64,
}

impl Came {
    pub(in crate::attribution) fn add(&mut self, other: Came, sign: i64) {
        self.people += sign * other.people;
        self.came_back += sign * other.came_back;
        self.active_days += sign * other.active_days;
        self.events += sign * other.events;
    }
}

/// By unit and the period's first day.
pub(in crate::attribution) type Sums = BTreeMap<(Unit, i64), Came>;

/// Adds (`sign` 1) or takes away what one person's days come to.
fn count(sums: &mut Sums, days: &Days, sign: i64) {
    for unit in Unit::ALL {
        let mut periods: BTreeMap<i64, Came> = BTreeMap::new();
        for (day, events) in days {
            let came = periods.entry(unit.first(*day)).or_default();
            came.active_days += i64::from(*events > 0);
            came.events += events;
        }
        let mut before: Option<i64> = None;
        for (period, mut came) in periods {
            if came.active_days > 0 {
                came.people = 1;
                came.came_back = i64::from(before == Some(unit.first(period - 1)));
                before = Some(period);
            }
            sums.entry((unit, period)).or_default().add(came, sign);
        }
    }
}

/// What all these people come to.
pub(super) fn sums_of(people: &BTreeMap<i64, Days>) -> Sums {
    let mut sums = Sums::new();
    people.values().for_each(|days| count(&mut sums, days, 1));
    sums
}

/// The day of a quarter of an hour; the same quarters come again and again.
struct Clockwork {
    zone: Tz,
    known: HashMap<i64, i64>,
}
impl Clockwork {
    fn new(zone: Tz) -> Self {
        Self { zone, known: HashMap::new() }
    }
    fn day(&mut self, quarter: i64) -> i64 {
        let zone = self.zone;
        *self.known.entry(quarter).or_insert_with(|| Timestamp(quarter * QUARTER_US).day_in(zone))
    }
}

/// What differences change: the days of the people concerned, before and after.
#[derive(Default)]
pub(in crate::attribution) struct Changes {
    pub before: BTreeMap<i64, Days>,
    pub after: BTreeMap<i64, Days>,
}

impl Changes {
    pub(in crate::attribution) fn sums(&self) -> Sums {
        let mut sums = Sums::new();
        self.before.values().for_each(|days| count(&mut sums, days, -1));
        self.after.values().for_each(|days| count(&mut sums, days, 1));
        sums.retain(|_, came| *came != Came::default());
        sums
    }
}

/// The days around these that decide who came back: from the month before to the month after.
fn around(from: i64, to: i64) -> (i64, i64) {
    let begin = |day: i64, months: i32| {
        let first = day_of(day).with_day(1).unwrap_or_else(|| day_of(day));
        let moved = if months < 0 { first.checked_sub_months(Months::new(1)) } else { first.checked_add_months(Months::new(2)) };
        moved.unwrap_or(if months < 0 { NaiveDate::MIN } else { NaiveDate::MAX })
    };
    (day_number(begin(from, -1)), day_number(begin(to, 1)) - 1)
}

/// Tells what differences change. Reads the visits of the people concerned around those days, and in `also`.
pub(in crate::attribution) async fn changes(tx: &mut Tx, deltas: &[Delta], zone: Tz, also: Option<(i64, i64)>) -> sqlx::Result<Changes> {
    let mut clockwork = Clockwork::new(zone);
    let mut news: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for d in deltas {
        *news.entry((d.person_id.0, clockwork.day(d.quarter))).or_default() += d.events;
    }
    news.retain(|_, n| *n != 0);
    let days = || news.keys().map(|(_, day)| *day);
    let (Some(from), Some(to)) = (days().min(), days().max()) else { return Ok(Changes::default()) };
    let (mut from, mut to) = around(from, to);
    if let Some((begin, end)) = also {
        (from, to) = (from.min(begin), to.max(end));
    }
    let people: BTreeSet<i64> = news.keys().map(|(person, _)| *person).collect();
    let mut changes = Changes { before: people.iter().map(|p| (*p, Days::new())).collect(), after: BTreeMap::new() };
    for some in people.into_iter().collect::<Vec<_>>().chunks(2_000) {
        let list = some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT person_id, day, events FROM rollup_visit WHERE person_id IN ({list}) AND day >= $1 AND day <= $2");
        let rows: Vec<(i64, i64, i64)> =
            on!(&mut *tx, |c| sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(from).bind(to).fetch_all(&mut *c).await)?;
        for (person, day, events) in rows {
            changes.before.entry(person).or_default().insert(day, events);
        }
    }
    changes.after = changes.before.clone();
    for ((person, day), n) in news {
        *changes.after.entry(person).or_default().entry(day).or_default() += n;
    }
    Ok(changes)
}

/// Adds differences of events.
pub(super) async fn add(tx: &mut Tx, deltas: &[Delta], zone: Tz) -> sqlx::Result<()> {
    let changes = changes(tx, deltas, zone, None).await?;
    let (mut rows, mut gone) = (Vec::new(), Vec::new());
    for (person, days) in &changes.after {
        let before = changes.before.get(person);
        for (day, events) in days {
            match before.and_then(|b| b.get(day)) {
                Some(old) if old == events => {}
                Some(_) if *events == 0 => gone.push((*person, *day)),
                _ => rows.push((*person, *day, *events)),
            }
        }
    }
    put(tx, &rows).await?;
    for (person, day) in gone {
        on!(&mut *tx, |c| sqlx::query(GONE).bind(person).bind(day).execute(&mut *c).await.map(|_| ()))?;
    }
    put_sums(tx, &changes.sums()).await
}

const GONE: &str = "DELETE FROM rollup_visit WHERE person_id = $1 AND day = $2";

/// Writes visits: (person, day, events).
pub(super) async fn put(tx: &mut Tx, rows: &[(i64, i64, i64)]) -> sqlx::Result<()> {
    for chunk in rows.chunks(2 * ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO rollup_visit (person_id, day, events) ");
            q.push_values(chunk, |mut row, (person, day, events)| {
                row.push_bind(*person).push_bind(*day).push_bind(*events);
            });
            q.push(" ON CONFLICT (person_id, day) DO UPDATE SET events = excluded.events");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

pub(super) async fn put_sums(tx: &mut Tx, sums: &Sums) -> sqlx::Result<()> {
    let rows: Vec<_> = sums.iter().collect();
    for chunk in rows.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO rollup_engagement (unit, period, people, came_back, active_days, events) ");
            q.push_values(chunk, |mut row, ((unit, period), came)| {
                row.push_bind(unit.name()).push_bind(*period).push_bind(came.people).push_bind(came.came_back);
                row.push_bind(came.active_days).push_bind(came.events);
            });
            q.push(
                " ON CONFLICT (unit, period) DO UPDATE SET people = rollup_engagement.people + excluded.people, \
                 came_back = rollup_engagement.came_back + excluded.came_back, \
                 active_days = rollup_engagement.active_days + excluded.active_days, events = rollup_engagement.events + excluded.events",
            );
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

const FACTS: &str = "SELECT person_id, occurred_at / 900000000 AS quarter, COUNT(*) FROM event
     WHERE person_id >= $1 AND person_id < $2 AND kind <> 'group' GROUP BY 1, 2";
/// The visits of some people, told from their events.
pub(super) async fn of_events(tx: &mut Tx, people: std::ops::Range<i64>, zone: Tz) -> sqlx::Result<BTreeMap<i64, Days>> {
    let rows: Vec<(i64, i64, i64)> = on!(tx, |c| sqlx::query_as(FACTS).bind(people.start).bind(people.end).fetch_all(&mut *c).await)?;
    let mut clockwork = Clockwork::new(zone);
    let mut found: BTreeMap<i64, Days> = BTreeMap::new();
    for (person, quarter, events) in rows {
        *found.entry(person).or_default().entry(clockwork.day(quarter)).or_default() += events;
    }
    Ok(found)
}

const ANY: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM rollup_visit WHERE person_id >= $1 AND person_id < $2 LIMIT 1) few";
const CLEAR: &str = "DELETE FROM rollup_visit WHERE person_id >= $1 AND person_id < $2";
/// Forgets the visits of some people; whether there were any.
pub(super) async fn clear(tx: &mut Tx, people: std::ops::Range<i64>) -> sqlx::Result<bool> {
    let any: i64 = on!(&mut *tx, |c| sqlx::query_scalar(ANY).bind(people.start).bind(people.end).fetch_one(&mut *c).await)?;
    if any > 0 {
        on!(&mut *tx, |c| sqlx::query(CLEAR).bind(people.start).bind(people.end).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(any > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i64 {
        day_number(text.parse().expect("a date"))
    }

    #[test]
    fn a_person_comes_back_to_the_next_period() {
        let days: Days = [("2026-01-31", 2), ("2026-02-01", 1), ("2026-02-03", 4), ("2026-04-01", 1)].map(|(d, n)| (day(d), n)).into();
        let sums = sums_of(&BTreeMap::from([(7, days)]));
        let of = |unit, first: &str| sums[&(unit, day(first))];
        assert_eq!(of(Unit::Month, "2026-01-01"), Came { people: 1, came_back: 0, active_days: 1, events: 2 });
        assert_eq!(of(Unit::Month, "2026-02-01"), Came { people: 1, came_back: 1, active_days: 2, events: 5 });
        assert_eq!(of(Unit::Month, "2026-04-01").came_back, 0, "a month lies between");
        assert_eq!(of(Unit::Week, "2026-01-26"), Came { people: 1, came_back: 0, active_days: 2, events: 3 });
        assert_eq!(of(Unit::Week, "2026-02-02").came_back, 1);
        assert_eq!((of(Unit::Day, "2026-02-01").came_back, of(Unit::Day, "2026-02-03").came_back), (1, 0));
        assert_eq!(sums.len(), 3 + 3 + 4);
    }

    #[test]
    fn what_is_taken_away_leaves_nothing() {
        let days: Days = [(day("2026-02-01"), 3), (day("2026-02-02"), 1)].into();
        let changes = Changes { before: BTreeMap::from([(1, days.clone())]), after: BTreeMap::from([(1, days)]) };
        assert!(changes.sums().is_empty());
        let (from, to) = around(day("2026-03-31"), day("2026-03-31"));
        assert_eq!((from, to), (day("2026-02-01"), day("2026-04-30")));
    }
}
