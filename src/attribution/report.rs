//! The attribution report: who earned what, under one model. Every sum equals the orders to the minor unit, per currency: what no touch
//! earned is a row of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Db;
use crate::platform::money::Currency;

use super::credit;
use super::model::Model;
use super::store::{self, QUARTER_US};

/// More rows than this are put together as `other`, the smallest first.
const MAX_ROWS: usize = 5_000;
/// Longest span by day.
const MAX_DAYS: i64 = 1_200;

/// What rows are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Campaign,
    Channel,
    /// The product that the touch was about (not necessarily the one bought).
    Product,
    Variant,
    /// The day of the order, in the report's time zone.
    Day,
}

impl By {
    pub const ALL: [By; 5] = [Self::Campaign, Self::Channel, Self::Product, Self::Variant, Self::Day];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Channel => "channel",
            Self::Product => "product",
            Self::Variant => "variant",
            Self::Day => "day",
        }
    }
    /// The SQL by which credit is grouped.
    const fn key(self) -> &'static str {
        match self {
            Self::Campaign => "c.campaign_id",
            Self::Channel => "c.channel",
            Self::Product => "c.product_id",
            Self::Variant => "c.variant_id",
            Self::Day => "o.placed_at / 900000000",
        }
    }
    /// SQL for names, open at its end, and the prefix of ids.
    const fn names(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Campaign => Some(("SELECT id, name FROM campaign WHERE id IN", "cmp")),
            Self::Product => Some(("SELECT id, title || ' (' || sku || ')' FROM product WHERE id IN", "prd")),
            Self::Variant => Some((
                "SELECT v.id, c.name || ': ' || v.name FROM campaign_variant v JOIN campaign c ON c.id = v.campaign_id WHERE v.id IN",
                "var",
            )),
            Self::Channel | Self::Day => None,
        }
    }
}
impl std::str::FromStr for By {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|b| b.name() == text).ok_or_else(|| {
            format!("“{}” is no grouping: use campaign, channel, product, variant or day", text.chars().take(40).collect::<String>())
        })
    }
}

const fn amount_column(model: Model) -> &'static str {
    match model {
        Model::First => "first_minor",
        Model::Last => "last_minor",
        Model::Linear => "linear_minor",
        Model::TimeDecay => "time_decay_minor",
        Model::Position => "position_minor",
    }
}

/// What to report.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    pub model: Model,
    pub by: By,
    /// Orders placed from here …
    pub from: Timestamp,
    /// … to before here.
    pub to: Timestamp,
    pub time_zone: Tz,
    pub view_through: bool,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Row {
    /// An id, a channel, a date; `none` where touches carry none; `unattributed` for what no touch earned; `other` for the smallest rows.
    pub key: String,
    pub name: String,
    pub currency: String,
    /// Orders that gave it something. With models that share, one order counts in several rows.
    pub orders: i64,
    pub revenue_minor: i64,
    /// The same as a decimal number.
    pub revenue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Total {
    pub currency: String,
    pub orders: i64,
    /// Net: after refunds and cancellations.
    pub revenue_minor: i64,
    pub attributed_minor: i64,
    pub unattributed_minor: i64,
    pub revenue: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Report {
    pub model: Model,
    pub by: By,
    pub view_through: bool,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    /// Up to when changes of orders and clicks are included in the shares (not in the totals, which are always current).
    #[schema(value_type = Option<String>, format = DateTime)]
    pub computed_through: Option<Timestamp>,
    /// Largest first within a currency (by day: in order), `unattributed` last.
    pub rows: Vec<Row>,
    pub totals: Vec<Total>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("“{0}” is not a time: write 2026-01-31 or 2026-01-31T12:00:00Z")]
    Time(String),
    #[error("“{0}” is no time zone: write a name such as Europe/Berlin or UTC")]
    Zone(String),
    #[error("“from” must lie before “to”")]
    Span,
    #[error("a report by day spans at most {MAX_DAYS} days")]
    Days,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Reads the span of a report. Bare dates are days of the zone, and the last day counts. Default: the 30 days before now.
pub fn span(from: Option<&str>, to: Option<&str>, zone: Tz, now: Timestamp) -> Result<(Timestamp, Timestamp), ReportError> {
    let read = |text: &str, day_end: bool| {
        let at = Timestamp::parse_in(text, zone).ok_or_else(|| ReportError::Time(text.chars().take(40).collect()))?;
        let date = chrono::NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok();
        Ok::<_, ReportError>(match date.and_then(|d| d.succ_opt()) {
            Some(next) if day_end => Timestamp::from_date(next, zone),
            _ => at,
        })
    };
    let to = to.map_or(Ok(now.plus_us(1)), |t| read(t, true))?;
    let from = from.map_or(Ok(to.plus_days(-30)), |t| read(t, false))?;
    if from < to { Ok((from, to)) } else { Err(ReportError::Span) }
}

/// A number with the currency's decimals and no symbol: `-12.50`.
pub fn decimal(minor: i64, currency: &str) -> String {
    let digits = currency.parse::<Currency>().map_or(2, Currency::exponent);
    let unit = 10_u64.pow(digits);
    let (sign, abs) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    if digits == 0 { format!("{sign}{abs}") } else { format!("{sign}{}.{:0w$}", abs / unit, abs % unit, w = digits as usize) }
}

struct Group {
    orders: i64,
    amount: i64,
}

/// The report. Totals are read from the orders, shares from the credit computed so far; what is between them is unattributed.
pub async fn attribution(db: &Db, query: Query) -> Result<Report, ReportError> {
    if query.by == By::Day && query.to.since(query.from) > MAX_DAYS * DAY_US {
        return Err(ReportError::Days);
    }
    let mark = credit::mark(db).await?;
    let totals = store::totals(db, query.from, query.to).await?;
    let column = amount_column(query.model);
    let found = store::grouped(db, query.by.key(), column, query.view_through, query.from, query.to).await?;
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for row in found {
        let key = label(query.by, row.key.as_deref(), query.time_zone);
        let group = groups.entry((row.currency, key)).or_insert(Group { orders: 0, amount: 0 });
        group.orders += row.orders;
        group.amount += row.amount_minor;
    }
    let names = names(db, query.by, &groups).await?;
    let mut rows = Vec::new();
    let mut sums = Vec::new();
    for total in totals {
        let mut of_currency: Vec<Row> = groups
            .iter()
            .filter(|((currency, _), _)| *currency == total.currency)
            .map(|((currency, key), g)| row(key, names.get(key).unwrap_or(key), currency, g.orders, g.amount))
            .collect();
        let attributed: i64 = of_currency.iter().map(|r| r.revenue_minor).sum();
        if query.by != By::Day {
            of_currency.sort_by(|a, b| b.revenue_minor.cmp(&a.revenue_minor).then_with(|| a.key.cmp(&b.key)));
        }
        if of_currency.len() > MAX_ROWS {
            let rest = of_currency.split_off(MAX_ROWS);
            let (orders, amount) = rest.iter().fold((0, 0), |(o, a), r| (o + r.orders, a + r.revenue_minor));
            of_currency.push(row("other", &format!("{} smaller rows", rest.len()), &total.currency, orders, amount));
        }
        let left = total.net_minor - attributed;
        let without = without_path(db, query, &total.currency, total.orders).await?;
        of_currency.push(row("unattributed", "No touch earned it", &total.currency, without, left));
        rows.extend(of_currency);
        sums.push(Total {
            revenue: decimal(total.net_minor, &total.currency),
            currency: total.currency,
            orders: total.orders,
            revenue_minor: total.net_minor,
            attributed_minor: attributed,
            unattributed_minor: left,
        });
    }
    Ok(Report {
        model: query.model,
        by: query.by,
        view_through: query.view_through,
        from: query.from,
        to: query.to,
        time_zone: query.time_zone.name().to_owned(),
        computed_through: mark.through,
        rows,
        totals: sums,
    })
}

fn row(key: &str, name: &str, currency: &str, orders: i64, minor: i64) -> Row {
    Row { key: key.into(), name: name.into(), currency: currency.into(), orders, revenue_minor: minor, revenue: decimal(minor, currency) }
}

/// Orders of a currency that gave nothing to any touch.
async fn without_path(db: &Db, query: Query, currency: &str, orders: i64) -> Result<i64, ReportError> {
    let credited = store::credited_orders(db, currency, query.view_through, query.from, query.to).await?;
    Ok(orders - credited)
}

fn label(by: By, key: Option<&str>, zone: Tz) -> String {
    let Some(key) = key else { return "none".into() };
    match (by, by.names()) {
        (_, Some((_, prefix))) => format!("{prefix}_{key}"),
        (By::Day, _) => {
            key.parse::<i64>().map_or_else(|_| key.to_owned(), |q| Timestamp(q * QUARTER_US).in_zone(zone).date_naive().to_string())
        }
        _ => key.to_owned(),
    }
}

async fn names(db: &Db, by: By, groups: &BTreeMap<(String, String), Group>) -> Result<BTreeMap<String, String>, ReportError> {
    let Some((sql, prefix)) = by.names() else { return Ok(BTreeMap::new()) };
    let ids: BTreeSet<i64> = groups.keys().filter_map(|(_, key)| key.split_once('_').and_then(|(_, id)| id.parse().ok())).collect();
    let found = store::names(db, sql, &ids.into_iter().collect::<Vec<_>>()).await?;
    Ok(found.into_iter().map(|(id, name)| (format!("{prefix}_{id}"), name)).collect())
}

impl Report {
    /// RFC 4180, one header line, `\r\n`. Safe to open in a spreadsheet: a text that would start a formula gets an apostrophe before it.
    pub fn to_csv(&self) -> String {
        let mut out = format!("{},name,currency,orders,revenue,revenue_minor,model\r\n", self.by.name());
        for r in &self.rows {
            let (key, name, currency) = (csv_text(&r.key), csv_text(&r.name), csv_text(&r.currency));
            let _ = write!(out, "{key},{name},{currency},{},{},{},{}\r\n", r.orders, r.revenue, r.revenue_minor, self.model);
        }
        out
    }
}

/// A text as a CSV field that no spreadsheet takes for a formula.
fn csv_text(text: &str) -> String {
    let risky = text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '|', '%'])
        || text.starts_with(['\t', '\r', '\n']);
    let guarded = if risky { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_start_no_formula() {
        assert_eq!(csv_text("Spring, sale"), "\"Spring, sale\"");
        assert_eq!(csv_text("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for evil in ["+1", "-1", "@a", "\t=1", " =1", "\r=1", "＝1"] {
            assert!(csv_text(evil).trim_start_matches('"').starts_with('\''), "{evil:?}");
        }
    }

    #[test]
    fn spans_are_days_of_the_zone() {
        let now = Timestamp::parse("2026-03-31T12:00:00Z").expect("time");
        let berlin = chrono_tz::Europe::Berlin;
        let (from, to) = span(Some("2026-03-29"), Some("2026-03-29"), berlin, now).expect("a span");
        assert_eq!(
            (from.to_string().as_str(), to.to_string().as_str()),
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            "a day of 23 hours"
        );
        let (from, to) = span(None, None, berlin, now).expect("a span");
        assert_eq!((to.since(now), to.since(from)), (1, 30 * DAY_US));
        assert!(matches!(span(Some("2026-04-02"), None, berlin, now), Err(ReportError::Span)));
        assert!(matches!(span(Some("yesterday"), None, berlin, now), Err(ReportError::Time(_))));
    }

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(decimal(-1205, "GBP"), "-12.05");
        assert_eq!(decimal(1205, "JPY"), "1205");
        assert_eq!(decimal(-5, "KWD"), "-0.005");
    }
}
