//! The paths report: by which sequences people came, how long these were, and how long they took.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::by::By;
use super::learned;
use super::question::{Question, ReportError};
use super::report::decimal;
use super::report_store;
use super::sheet::{Cell, Kind, Sheet};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;

/// Paths longer than this share a row of the lengths.
const LONGEST: usize = 20;

/// One sequence of contacts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PathRow {
    /// Keys in order, repetitions kept: `["email", "email", "banner"]`, `["cmp_3", "cmp_7"]`.
    pub keys: Vec<String>,
    pub names: Vec<String>,
    pub orders: i64,
    pub revenue_minor: i64,
    pub revenue: String,
    /// Journeys along it that ended without an order (of any currency).
    pub misses: i64,
    /// Orders ÷ (orders + misses).
    pub conversion_rate: f64,
}

/// Journeys of one length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LengthRow {
    /// Contacts; the last row holds all that are at least so long.
    pub contacts: usize,
    pub orders: i64,
    pub revenue_minor: i64,
    pub misses: i64,
}

/// Orders that came so long after the first contact of their path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DelayRow {
    pub name: String,
    pub from_hours: i64,
    /// `null`: no end.
    pub to_hours: Option<i64>,
    pub orders: i64,
}

/// Hours from a contact to the order, by quantile. Whole hours, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delay {
    pub median_hours: Option<i64>,
    pub p90_hours: Option<i64>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathsReport {
    pub by: By,
    pub view_through: bool,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    pub currency: String,
    /// Orders with a path, and what they were worth.
    pub orders: i64,
    pub revenue_minor: i64,
    /// Journeys that ended in the span without an order.
    pub misses: i64,
    pub distinct_paths: usize,
    /// Most orders first; as many as were asked for.
    pub paths: Vec<PathRow>,
    pub lengths: Vec<LengthRow>,
    pub delays: Vec<DelayRow>,
    pub from_first_contact: Delay,
    pub from_last_contact: Delay,
}

const DELAYS: [(&str, i64); 9] = [
    ("within an hour", 0),
    ("1 to 6 hours", 1),
    ("6 to 24 hours", 6),
    ("1 to 2 days", 24),
    ("2 to 4 days", 48),
    ("4 to 7 days", 96),
    ("1 to 2 weeks", 168),
    ("2 to 4 weeks", 336),
    ("4 weeks and more", 672),
];

/// The report, in one currency.
pub async fn paths(db: &Db, question: &Question) -> Result<PathsReport, ReportError> {
    let currency = question.currency.code().to_owned();
    let told = learned::tell(db, question, question.by).await?;
    let mut found: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for way in told.ways().iter().filter(|w| w.currency == currency) {
        let row = found.entry(&way.path).or_default();
        row.0 += way.orders;
        row.1 += way.net_minor;
    }
    for (path, n) in told.misses() {
        found.entry(path).or_default().2 += n;
    }
    let mut lengths: BTreeMap<usize, LengthRow> = BTreeMap::new();
    let (mut orders, mut revenue_minor, mut misses) = (0, 0, 0);
    for (path, (n, net, missed)) in &found {
        let contacts = (path.matches('>').count() + 1).min(LONGEST);
        let row = lengths.entry(contacts).or_insert(LengthRow { contacts, orders: 0, revenue_minor: 0, misses: 0 });
        row.orders += n;
        row.revenue_minor += net;
        row.misses += missed;
        (orders, revenue_minor, misses) = (orders + n, revenue_minor + net, misses + missed);
    }
    let distinct_paths = found.len();
    let mut top: Vec<(&str, (i64, i64, i64))> = found.into_iter().collect();
    top.sort_by(|(a, x), (b, y)| (y.0, y.1, y.2).cmp(&(x.0, x.1, x.2)).then_with(|| a.cmp(b)));
    top.truncate(question.limit);
    let scope = question.scope();
    let first = report_store::hours_to_order(db, scope, &currency, true).await?;
    let last = report_store::hours_to_order(db, scope, &currency, false).await?;
    Ok(PathsReport {
        by: question.by,
        view_through: question.view_through,
        from: question.from,
        to: question.to,
        time_zone: question.time_zone.name().to_owned(),
        orders,
        revenue_minor,
        misses,
        distinct_paths,
        paths: named(db, question, &top, &currency).await?,
        lengths: lengths.into_values().collect(),
        delays: delays(&first),
        from_first_contact: delay(&first),
        from_last_contact: delay(&last),
        currency,
    })
}

async fn named(db: &Db, question: &Question, top: &[(&str, (i64, i64, i64))], currency: &str) -> Result<Vec<PathRow>, ReportError> {
    let keys: Vec<Vec<String>> =
        top.iter().map(|(path, _)| path.split('>').map(|k| question.by.label(k, question.time_zone)).collect()).collect();
    let names = question.by.names_of(db, keys.iter().flatten()).await?;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let row = |keys: Vec<String>, (orders, revenue_minor, misses): (i64, i64, i64)| PathRow {
        names: keys.iter().map(|k| names.get(k).unwrap_or(k).clone()).collect(),
        keys,
        orders,
        revenue_minor,
        revenue: decimal(revenue_minor, currency),
        misses,
        conversion_rate: orders as f64 / (orders + misses).max(1) as f64,
    };
    Ok(keys.into_iter().zip(top).map(|(keys, (_, counts))| row(keys, *counts)).collect())
}

fn delays(hours: &[(i64, i64)]) -> Vec<DelayRow> {
    (0..DELAYS.len())
        .map(|i| {
            let (name, from_hours) = DELAYS[i];
            let to_hours = DELAYS.get(i + 1).map(|(_, next)| *next);
            let inside = |h: i64| h >= from_hours && to_hours.is_none_or(|to| h < to);
            let orders = hours.iter().filter(|(h, _)| inside(*h)).map(|(_, n)| n).sum();
            DelayRow { name: name.to_owned(), from_hours, to_hours, orders }
        })
        .collect()
}

/// Quantiles of ascending (hours, orders).
fn delay(hours: &[(i64, i64)]) -> Delay {
    let all: i64 = hours.iter().map(|(_, n)| n).sum();
    let at = |percent: i64| {
        let mut seen = 0;
        hours.iter().find(|(_, n)| {
            seen += n;
            seen * 100 >= all * percent
        })
    };
    Delay { median_hours: at(50).map(|(h, _)| *h), p90_hours: at(90).map(|(h, _)| *h) }
}

impl PathsReport {
    /// `paths`, `lengths` and `delays`.
    pub fn sheets(&self) -> Vec<Sheet> {
        let mut paths = Sheet::new("paths");
        paths.column("path", Kind::Text).column("names", Kind::Text).column("contacts", Kind::Whole).column("orders", Kind::Whole);
        paths.column("currency", Kind::Text).column("revenue", Kind::Decimal).column("revenue_minor", Kind::Whole);
        paths.column("misses", Kind::Whole).column("conversion_rate", Kind::Number);
        for r in &self.paths {
            paths.row(vec![
                Cell::Text(r.keys.join(" > ")),
                Cell::Text(r.names.join(" > ")),
                Cell::Whole(i64::try_from(r.keys.len()).unwrap_or(i64::MAX)),
                Cell::Whole(r.orders),
                Cell::text(&self.currency),
                Cell::Decimal(r.revenue.clone()),
                Cell::Whole(r.revenue_minor),
                Cell::Whole(r.misses),
                Cell::Number(r.conversion_rate),
            ]);
        }
        let mut lengths = Sheet::new("lengths");
        lengths.column("contacts", Kind::Whole).column("orders", Kind::Whole).column("revenue_minor", Kind::Whole);
        lengths.column("misses", Kind::Whole);
        for r in &self.lengths {
            let contacts = i64::try_from(r.contacts).unwrap_or(i64::MAX);
            lengths.row(vec![Cell::Whole(contacts), Cell::Whole(r.orders), Cell::Whole(r.revenue_minor), Cell::Whole(r.misses)]);
        }
        let mut delays = Sheet::new("delays");
        delays.column("delay", Kind::Text).column("from_hours", Kind::Whole).column("to_hours", Kind::Whole).column("orders", Kind::Whole);
        for r in &self.delays {
            delays.row(vec![Cell::text(&r.name), Cell::Whole(r.from_hours), r.to_hours.into(), Cell::Whole(r.orders)]);
        }
        vec![paths, lengths, delays]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_by_quantile_and_bucket() {
        let hours = [(0, 4), (5, 3), (24, 2), (1000, 1)];
        assert_eq!(delay(&hours), Delay { median_hours: Some(5), p90_hours: Some(24) });
        assert_eq!(delay(&[]), Delay::default());
        let rows = delays(&hours);
        assert_eq!(rows.iter().map(|r| r.orders).collect::<Vec<_>>(), [4, 3, 0, 2, 0, 0, 0, 0, 1]);
        assert_eq!(rows[8].to_hours, None);
    }
}
