//! Days, weeks and months of a zone, and the SQL that tells which of them a time lies in: neither engine knows both zones and our
//! microseconds, so the boundaries are computed here and searched there by a balanced tree of comparisons.

use chrono::{Datelike as _, Days, Months, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::clock::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Day,
    /// From Monday.
    Week,
    Month,
}

impl Unit {
    pub const ALL: [Unit; 3] = [Self::Day, Self::Week, Self::Month];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
    /// How long one is, about.
    pub const fn days(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
        }
    }
    fn begin(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Week => day - Days::new(u64::from(day.weekday().num_days_from_monday())),
            Self::Month => day.with_day(1).unwrap_or(day),
        }
    }
    /// The first day of the period that a day is in, both in days since 1970-01-01 (a Thursday).
    pub(super) fn first(self, day: i64) -> i64 {
        match self {
            Self::Day => day,
            Self::Week => day - (day + 3).rem_euclid(7),
            Self::Month => day - i64::from(super::rollup::day_of(day).day0()),
        }
    }
    fn next(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day + Days::new(1),
            Self::Week => day + Days::new(7),
            Self::Month => day + Months::new(1),
        }
    }
}
impl std::str::FromStr for Unit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|u| u.name() == text)
            .ok_or_else(|| format!("“{}” is no unit: use day, week or month", text.chars().take(40).collect::<String>()))
    }
}

/// Periods that follow each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Periods {
    first_days: Vec<NaiveDate>,
    /// When each begins, and when the last ends.
    bounds: Vec<Timestamp>,
}

impl Periods {
    /// The whole periods that a span touches.
    pub fn over(from: Timestamp, to: Timestamp, unit: Unit, zone: Tz) -> Self {
        let mut day = unit.begin(from.in_zone(zone).date_naive());
        let (mut first_days, mut bounds) = (Vec::new(), vec![Timestamp::from_date(day, zone)]);
        loop {
            first_days.push(day);
            day = unit.next(day);
            let end = Timestamp::from_date(day, zone);
            bounds.push(end);
            if end >= to {
                return Self { first_days, bounds };
            }
        }
    }

    pub fn count(&self) -> usize {
        self.first_days.len()
    }
    pub fn from(&self) -> Timestamp {
        self.bounds[0]
    }
    pub fn to(&self) -> Timestamp {
        self.bounds[self.count()]
    }
    pub fn first_day(&self, index: usize) -> NaiveDate {
        self.first_days[index]
    }
    /// The first day of a period.
    pub fn name(&self, index: usize) -> String {
        self.first_days[index].to_string()
    }
    /// The period's index as SQL, of a column in microseconds that lies within [`Periods::from`] and [`Periods::to`].
    pub fn sql(&self, column: &str) -> String {
        tree(column, &self.bounds.iter().map(|b| b.0).collect::<Vec<_>>(), 0, self.count())
    }
    /// As [`Periods::sql`], with days since 1970-01-01 of each period's first day in place of indices.
    pub fn sql_first_days(&self, column: &str) -> String {
        let bounds: Vec<i64> = self.bounds.iter().map(|b| b.0).collect();
        let first = |i: usize| self.first_days[i].signed_duration_since(NaiveDate::default()).num_days().to_string();
        tree_of(column, &bounds, 0, self.count(), &first)
    }
    /// For each period its index in coarser ones that cover it, as SQL over an index of these.
    pub fn sql_within(&self, index: &str, coarser: &Periods) -> String {
        let mut firsts: Vec<i64> =
            coarser.bounds.iter().map(|b| i64::try_from(self.bounds.partition_point(|own| own < b)).unwrap_or(i64::MAX)).collect();
        firsts.truncate(coarser.count() + 1);
        tree(index, &firsts, 0, coarser.count())
    }
}

/// The place of `column` among ascending bounds, between `low` and `high`, as nested comparisons.
fn tree(column: &str, bounds: &[i64], low: usize, high: usize) -> String {
    tree_of(column, bounds, low, high, &|i| i.to_string())
}
fn tree_of(column: &str, bounds: &[i64], low: usize, high: usize, leaf: &dyn Fn(usize) -> String) -> String {
    if high - low <= 1 {
        return leaf(low);
    }
    let middle = usize::midpoint(low, high);
    let (left, right) = (tree_of(column, bounds, low, middle, leaf), tree_of(column, bounds, middle, high, leaf));
    format!("CASE WHEN {column} < {} THEN {left} ELSE {right} END", bounds[middle])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_whole_and_of_the_zone() {
        let berlin = chrono_tz::Europe::Berlin;
        let at = |t: &str| Timestamp::parse(t).expect("time");
        let months = Periods::over(at("2026-01-31T23:30:00Z"), at("2026-04-01T00:00:00Z"), Unit::Month, berlin);
        assert_eq!((months.name(0), months.count()), ("2026-02-01".into(), 3));
        assert_eq!(months.from(), at("2026-01-31T23:00:00Z"));
        assert_eq!(months.to(), at("2026-03-31T22:00:00Z").max(months.to()));
        let weeks = Periods::over(at("2026-01-01T12:00:00Z"), at("2026-01-12T00:00:01Z"), Unit::Week, Tz::UTC);
        assert_eq!((weeks.name(0), weeks.name(2), weeks.count()), ("2025-12-29".into(), "2026-01-12".into(), 3));
    }

    /// The SQL, read by a small interpreter of its own form.
    fn run(sql: &str, value: i64) -> usize {
        match sql.strip_prefix("CASE WHEN x < ") {
            None => sql.parse().expect("a number"),
            Some(rest) => {
                let (bound, rest) = rest.split_once(" THEN ").expect("then");
                // The ELSE of this CASE: the first at depth zero.
                let (mut depth, mut at) = (0, 0);
                while !(depth == 0 && rest[at..].starts_with(" ELSE ")) {
                    depth += i32::from(rest[at..].starts_with("CASE")) - i32::from(rest[at..].starts_with("END"));
                    at += 1;
                }
                let (then, otherwise) = (&rest[..at], rest[at + 6..].strip_suffix(" END").expect("end"));
                run(if value < bound.parse().expect("a bound") { then } else { otherwise }, value)
            }
        }
    }

    #[test]
    fn the_tree_finds_every_period() {
        let from = Timestamp::from_secs(1_760_000_000);
        let days = Periods::over(from, from.plus_days(40), Unit::Day, chrono_tz::Europe::Berlin);
        let (sql, first_days) = (days.sql("x"), days.sql_first_days("x"));
        let number = |i: usize| days.first_days[i].signed_duration_since(NaiveDate::default()).num_days();
        for (i, pair) in days.bounds.windows(2).enumerate() {
            assert_eq!(run(&sql, pair[0].0), i);
            assert_eq!(i64::try_from(run(&first_days, pair[0].0)), Ok(number(i)));
            assert_eq!(run(&sql, pair[1].0 - 1), i);
        }
        let months = Periods::over(days.from(), days.to(), Unit::Month, chrono_tz::Europe::Berlin);
        let sql = days.sql_within("x", &months);
        for (i, day) in days.first_days.iter().enumerate() {
            assert_eq!(months.first_days[run(&sql, i64::try_from(i).expect("small"))], Unit::Month.begin(*day), "{day}");
        }
    }
}
