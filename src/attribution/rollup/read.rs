//! Questions to the sums: by campaign, variant, channel, product, day; in all. Each reads as many rows as there are days × groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow};

use super::{Counts, Days, Earned, Figures, Reading, day_of};
use crate::attribution::model::Model;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, ProductId, VariantId};
use crate::{on, read};

/// Where the sums stand.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct State {
    /// The zone whose days they are of; empty before the first pass.
    pub zone: String,
    /// Every campaign is in them.
    pub ready: bool,
    /// What became known until then is in them.
    pub as_of: Option<Timestamp>,
}

const STATE: &str = "SELECT zone, ready, as_of FROM rollup_state WHERE id = 1";
pub async fn state(db: &Db) -> sqlx::Result<State> {
    read!(*db, |c| sqlx::query_as(STATE).fetch_one(c).await)
}
/// The same, as a transaction sees it.
pub(in crate::attribution) async fn read_state(tx: &mut Tx) -> sqlx::Result<State> {
    on!(tx, |c| sqlx::query_as(STATE).fetch_one(&mut *c).await)
}

const LAST_DAY: &str = "SELECT MAX(day) FROM (SELECT MAX(day) AS day FROM rollup_touch WHERE day <= $1
     UNION ALL SELECT MAX(day) FROM rollup_credit WHERE day <= $1) d";
/// The last day, up to and with this one, on which something was due, or earned.
pub async fn last_day(db: &Db, until: NaiveDate) -> sqlx::Result<Option<NaiveDate>> {
    let day: Option<i64> = read!(*db, |c| sqlx::query_scalar(LAST_DAY).bind(super::day_number(until)).fetch_one(c).await)?;
    Ok(day.map(day_of))
}

/// How much there is, as of a moment at most a few minutes ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Not merged into others, not erased.
    pub people: i64,
    /// Not retired.
    pub products: i64,
    pub orders: i64,
    /// Planned touches, those of the holdout left aside.
    pub touches: i64,
    /// `None`: not counted yet.
    pub as_of: Option<Timestamp>,
}

/// Counts that would need a scan, as they were last kept.
pub async fn counted(db: &Db) -> sqlx::Result<Counted> {
    let rows: Vec<(String, i64, Timestamp)> =
        read!(*db, |c| sqlx::query_as("SELECT name, value, as_of FROM rollup_count").fetch_all(c).await)?;
    let mut counted = Counted::default();
    for (name, value, as_of) in rows {
        match name.as_str() {
            "people" => counted.people = value,
            "products" => counted.products = value,
            "orders" => counted.orders = value,
            "touches" => counted.touches = value,
            _ => continue,
        }
        counted.as_of = Some(counted.as_of.map_or(as_of, |at: Timestamp| at.min(as_of)));
    }
    Ok(counted)
}

const COUNTS: [(&str, &str); 4] = [
    ("people", "SELECT COUNT(*) FROM person WHERE merged_into IS NULL AND erased_at IS NULL"),
    ("products", "SELECT COUNT(*) FROM product WHERE retired_at IS NULL"),
    ("orders", "SELECT COUNT(*) FROM shop_order"),
    ("touches", "SELECT CAST(COALESCE(SUM(planned), 0) AS BIGINT) FROM rollup_touch"),
];
/// The scans behind [`counted`].
pub(super) async fn count(db: &Db) -> sqlx::Result<Vec<(&'static str, i64)>> {
    let mut counts = Vec::new();
    for (name, sql) in COUNTS {
        counts.push((name, read!(*db, |c| sqlx::query_scalar::<_, i64>(sql).fetch_one(c).await)?));
    }
    Ok(counts)
}

/// What rows are grouped by: the SQL of a key that is a whole number or a text, cast to text.
#[derive(Clone, Copy)]
enum Group {
    Nothing,
    Campaign,
    Variant,
    Channel,
    Day,
    CampaignDay,
    Product,
    Month,
}

impl Group {
    const fn sql(self) -> &'static str {
        match self {
            Self::Nothing => "''",
            Self::Campaign => "CAST(campaign_id AS TEXT)",
            Self::Variant => "CAST(variant_id AS TEXT)",
            Self::Channel => "channel",
            Self::Day => "CAST(day AS TEXT)",
            Self::CampaignDay => "CAST(campaign_id AS TEXT) || ':' || CAST(day AS TEXT)",
            Self::Product => "CAST(product_id AS TEXT)",
            Self::Month => "CAST(month AS TEXT)",
        }
    }
}

#[derive(FromRow)]
struct CountRow {
    key: String,
    #[sqlx(flatten)]
    counts: Counts,
}

#[derive(FromRow)]
struct EarnedRow {
    key: String,
    currency: String,
    view_through: bool,
    orders: i64,
    last_orders: i64,
    first_minor: i64,
    last_minor: i64,
    linear_minor: i64,
    time_decay_minor: i64,
    position_minor: i64,
}

macro_rules! sums {
    ($($column:literal),*) => {
        concat!("'' AS unused", $(", CAST(COALESCE(SUM(", $column, "), 0) AS BIGINT) AS ", $column),*)
    };
}
const COUNTED: &str = sums!(
    "planned",
    "held",
    "skipped",
    "failed",
    "sent",
    "opened",
    "viewable",
    "seen",
    "clicked",
    "bounced",
    "unsubscribed",
    "complained",
    "returned"
);
const EARNED: &str = sums!("orders", "last_orders", "first_minor", "last_minor", "linear_minor", "time_decay_minor", "position_minor");
const PRODUCT_COUNTED: &str = sums!("sent", "opened", "viewable", "clicked");
const PRODUCT_EARNED: &str = sums!("last_orders", "first_minor", "last_minor", "linear_minor", "time_decay_minor", "position_minor");
/// Counts that are not kept per product.
const NOT_KEPT: &str = "CAST(0 AS BIGINT) AS planned, CAST(0 AS BIGINT) AS held, CAST(0 AS BIGINT) AS skipped, CAST(0 AS BIGINT) AS failed,
     CAST(0 AS BIGINT) AS seen, CAST(0 AS BIGINT) AS bounced, CAST(0 AS BIGINT) AS unsubscribed, CAST(0 AS BIGINT) AS complained,
     CAST(0 AS BIGINT) AS returned";

/// Ids as SQL: numbers of ours.
fn list(ids: impl Iterator<Item = i64>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

/// Sums of both tables by a key. `which`: a condition on columns that both have.
async fn figures(db: &Db, group: Group, which: &str, days: Days) -> sqlx::Result<BTreeMap<String, Figures>> {
    let key = group.sql();
    let (from, to) = days.numbers();
    let counts = format!("SELECT {key} AS key, {COUNTED} FROM rollup_touch WHERE day >= $1 AND day <= $2 AND {which} GROUP BY 1");
    let earned = format!(
        "SELECT {key} AS key, currency, view_through, {EARNED} FROM rollup_credit WHERE day >= $1 AND day <= $2 AND {which} GROUP BY 1, 2, 3
         ORDER BY 1, 2, 3"
    );
    ask(db, counts, earned, from, to).await
}

async fn product_figures(db: &Db, group: Group, which: &str, days: Days) -> sqlx::Result<BTreeMap<String, Figures>> {
    let key = group.sql();
    let (from, to) = days.months();
    let counts = format!(
        "SELECT {key} AS key, {PRODUCT_COUNTED}, {NOT_KEPT} FROM rollup_product WHERE month >= $1 AND month <= $2 AND {which} GROUP BY 1"
    );
    let earned = format!(
        "SELECT {key} AS key, currency, view_through, CAST(0 AS BIGINT) AS orders, {PRODUCT_EARNED} FROM rollup_product_credit
         WHERE month >= $1 AND month <= $2 AND {which} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    ask(db, counts, earned, from, to).await
}

async fn ask(db: &Db, counts: String, earned: String, from: i64, to: i64) -> sqlx::Result<BTreeMap<String, Figures>> {
    let counts: Vec<CountRow> = read!(*db, |c| sqlx::query_as(AssertSqlSafe(counts)).bind(from).bind(to).fetch_all(c).await)?;
    let earned: Vec<EarnedRow> = read!(*db, |c| sqlx::query_as(AssertSqlSafe(earned)).bind(from).bind(to).fetch_all(c).await)?;
    let mut found: BTreeMap<String, Figures> = BTreeMap::new();
    for row in counts {
        found.entry(row.key).or_default().counts = row.counts;
    }
    for r in earned {
        let minor = [r.first_minor, r.last_minor, r.linear_minor, r.time_decay_minor, r.position_minor];
        if r.orders == 0 && r.last_orders == 0 && minor == [0; 5] {
            continue;
        }
        found.entry(r.key).or_default().earned.push(Earned {
            currency: r.currency,
            view_through: r.view_through,
            orders: r.orders,
            last_orders: r.last_orders,
            minor,
        });
    }
    Ok(found)
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_default()
}

/// What campaigns came to. Campaigns without anything are absent.
pub async fn by_campaign(db: &Db, ids: &[CampaignId], days: Days) -> sqlx::Result<HashMap<CampaignId, Figures>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let which = format!("campaign_id IN ({})", list(ids.iter().map(|id| id.0)));
    let found = figures(db, Group::Campaign, &which, days).await?;
    Ok(found.into_iter().map(|(key, f)| (CampaignId(number(&key)), f)).collect())
}

fn of(campaign: Option<CampaignId>) -> String {
    campaign.map_or_else(|| "1 = 1".to_owned(), |id| format!("campaign_id = {}", id.0))
}

/// What the variants of a campaign came to; `None`: touches of no variant.
pub async fn by_variant(db: &Db, campaign: CampaignId, days: Days) -> sqlx::Result<BTreeMap<Option<VariantId>, Figures>> {
    let found = figures(db, Group::Variant, &of(Some(campaign)), days).await?;
    Ok(found.into_iter().map(|(key, f)| (Some(VariantId(number(&key))).filter(|v| v.0 != 0), f)).collect())
}

/// What channels came to, of one campaign or of all.
pub async fn by_channel(db: &Db, campaign: Option<CampaignId>, days: Days) -> sqlx::Result<BTreeMap<String, Figures>> {
    figures(db, Group::Channel, &of(campaign), days).await
}

/// Day by day, of one campaign or of all: every day of the span, in order. (A span since ever begins with the first day on which something
/// was.)
pub async fn series(db: &Db, campaign: Option<CampaignId>, days: Days) -> sqlx::Result<Vec<(NaiveDate, Figures)>> {
    let found = figures(db, Group::Day, &of(campaign), days).await?;
    let mut found: BTreeMap<NaiveDate, Figures> = found.into_iter().map(|(key, f)| (day_of(number(&key)), f)).collect();
    let (Some(first), Some(last)) = (found.keys().next().copied(), found.keys().next_back().copied()) else {
        return Ok(if days == Days::ALL { Vec::new() } else { days.iter().map(|d| (d, Figures::default())).collect() });
    };
    let span = if days == Days::ALL { Days { from: first, to: last } } else { days };
    Ok(span.iter().map(|d| (d, found.remove(&d).unwrap_or_default())).collect())
}

/// Day by day for several campaigns: only the days on which there was something.
pub async fn series_of(db: &Db, ids: &[CampaignId], days: Days) -> sqlx::Result<HashMap<CampaignId, BTreeMap<NaiveDate, Figures>>> {
    let mut all: HashMap<CampaignId, BTreeMap<NaiveDate, Figures>> = HashMap::new();
    if ids.is_empty() {
        return Ok(all);
    }
    let which = format!("campaign_id IN ({})", list(ids.iter().map(|id| id.0)));
    for (key, f) in figures(db, Group::CampaignDay, &which, days).await? {
        let (campaign, day) = key.split_once(':').unwrap_or_default();
        all.entry(CampaignId(number(campaign))).or_default().insert(day_of(number(day)), f);
    }
    Ok(all)
}

/// Everything in a span.
pub async fn totals(db: &Db, days: Days) -> sqlx::Result<Figures> {
    Ok(figures(db, Group::Nothing, "1 = 1", days).await?.into_values().next().unwrap_or_default())
}

/// What touches about these products came to, in the months that the span touches. Only `sent`, `opened`, `viewable`, `clicked` and earnings
/// (of the touches about it, whatever was bought) are kept per product.
pub async fn by_product(db: &Db, ids: &[ProductId], days: Days) -> sqlx::Result<HashMap<ProductId, Figures>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let which = format!("product_id IN ({})", list(ids.iter().map(|id| id.0)));
    let found = product_figures(db, Group::Product, &which, days).await?;
    Ok(found.into_iter().map(|(key, f)| (ProductId(number(&key)), f)).collect())
}

/// What touches about one product came to, month by month (its first day), oldest first; months without any are absent.
pub async fn product_months(db: &Db, product: ProductId) -> sqlx::Result<Vec<(NaiveDate, Figures)>> {
    let found = product_figures(db, Group::Month, &format!("product_id = {}", product.0), Days::ALL).await?;
    let months: BTreeMap<NaiveDate, Figures> = found.into_iter().map(|(key, f)| (day_of(number(&key)), f)).collect();
    Ok(months.into_iter().collect())
}

/// What touches about one product came to, day by day, oldest first; days without any are absent, and those longer ago than
/// [`PRODUCT_DAYS`](super::PRODUCT_DAYS). Only `sent`, `opened`, `viewable` and `clicked`.
pub async fn product_days(db: &Db, product: ProductId, days: Days) -> sqlx::Result<Vec<(NaiveDate, Figures)>> {
    let (from, to) = days.numbers();
    let counts = format!(
        "SELECT CAST(day AS TEXT) AS key, {PRODUCT_COUNTED}, {NOT_KEPT} FROM rollup_product_day
         WHERE day >= $1 AND day <= $2 AND product_id = {} GROUP BY 1",
        product.0
    );
    let rows: Vec<CountRow> = read!(*db, |c| sqlx::query_as(AssertSqlSafe(counts)).bind(from).bind(to).fetch_all(c).await)?;
    let days: BTreeMap<NaiveDate, Figures> =
        rows.into_iter().map(|r| (day_of(number(&r.key)), Figures { counts: r.counts, earned: Vec::new() })).collect();
    Ok(days.into_iter().collect())
}

/// What each campaign's touches about one product came to so far.
pub async fn product_campaigns(db: &Db, product: ProductId) -> sqlx::Result<BTreeMap<CampaignId, Figures>> {
    let found = product_figures(db, Group::Campaign, &format!("product_id = {}", product.0), Days::ALL).await?;
    Ok(found.into_iter().map(|(key, f)| (CampaignId(number(&key)), f)).collect())
}

/// The products of a campaign that earned most in a currency, then those clicked most, then those sent most. Reads what earned and what was
/// clicked; all that was sent only where that is too little.
pub async fn top_products(
    db: &Db,
    campaign: CampaignId,
    currency: &str,
    reading: Reading,
    limit: i64,
) -> sqlx::Result<Vec<(ProductId, Figures)>> {
    let column = crate::attribution::report_store::amount_column(if reading.model.learns() { Model::Last } else { reading.model });
    let earned = format!(
        "SELECT product_id FROM rollup_product_credit WHERE campaign_id = $1 AND currency = $2 AND view_through = $3
         GROUP BY product_id HAVING SUM({column}) > 0 ORDER BY SUM({column}) DESC, product_id LIMIT $4"
    );
    let mut ids: BTreeSet<ProductId> = read!(*db, |c| {
        let ask = sqlx::query_scalar::<_, ProductId>(AssertSqlSafe(earned)).bind(campaign).bind(currency).bind(reading.view_through);
        ask.bind(limit).fetch_all(c).await
    })?
    .into_iter()
    .collect();
    for sql in [MOST_CLICKED, MOST_SENT] {
        if i64::try_from(ids.len()).is_ok_and(|n| n < limit) {
            ids.extend(read!(*db, |c| sqlx::query_scalar::<_, ProductId>(sql).bind(campaign).bind(limit).fetch_all(c).await)?);
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let which = format!("campaign_id = {} AND product_id IN ({})", campaign.0, list(ids.iter().map(|id| id.0)));
    let found = product_figures(db, Group::Product, &which, Days::ALL).await?;
    let mut found: Vec<(ProductId, Figures)> = found.into_iter().map(|(key, f)| (ProductId(number(&key)), f)).collect();
    let rank = |(id, f): &(ProductId, Figures)| (f.revenue(currency, reading), f.counts.clicked, f.counts.sent, std::cmp::Reverse(id.0));
    found.sort_by_key(|row| std::cmp::Reverse(rank(row)));
    found.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(found)
}

const MOST_CLICKED: &str = "SELECT product_id FROM rollup_product WHERE campaign_id = $1 AND clicked > 0
     GROUP BY product_id ORDER BY SUM(clicked) DESC, SUM(sent) DESC, product_id LIMIT $2";
const MOST_SENT: &str =
    "SELECT product_id FROM rollup_product WHERE campaign_id = $1 GROUP BY product_id ORDER BY SUM(sent) DESC, product_id LIMIT $2";

macro_rules! so_far {
    ($($column:literal),*) => {
        concat!(
            "SELECT '' AS unused", $(", CAST(COALESCE(SUM(n.", $column, "), 0) AS BIGINT) AS ", $column),*,
            " FROM (SELECT campaign_id", $(", ", $column),*, " FROM rollup_touch WHERE campaign_id = $1
             UNION ALL SELECT campaign_id", $(", ", $column),*, " FROM touch_delta WHERE campaign_id = $1) n"
        )
    };
}
const SO_FAR: &str = so_far!(
    "planned",
    "held",
    "skipped",
    "failed",
    "sent",
    "opened",
    "viewable",
    "seen",
    "clicked",
    "bounced",
    "unsubscribed",
    "complained",
    "returned"
);

/// What a campaign came to up to this moment, what waits to be folded included. `None` while sums are added up anew.
pub async fn campaign_so_far(db: &Db, campaign: CampaignId) -> sqlx::Result<Option<Counts>> {
    if !state(db).await?.ready {
        return Ok(None);
    }
    read!(*db, |c| sqlx::query_as(SO_FAR).bind(campaign).fetch_one(c).await).map(Some)
}

/// Up to so many people are counted; beyond, the count that is kept says how many there are.
const FEW: i64 = 20_000;
const FEW_PEOPLE: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM person WHERE erased_at IS NULL LIMIT $1) few";

/// How many people there are: of many, as of a few minutes ago.
pub async fn people(db: &Db) -> sqlx::Result<i64> {
    let few: i64 = read!(*db, |c| sqlx::query_scalar(FEW_PEOPLE).bind(FEW).fetch_one(c).await)?;
    Ok(if few < FEW { few } else { counted(db).await?.people.max(few) })
}
