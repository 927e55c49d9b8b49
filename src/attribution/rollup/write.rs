//! SQL that changes the sums of touches and credit by differences.

use std::collections::BTreeMap;

use chrono::Datelike as _;
use chrono_tz::Tz;
use sqlx::{AssertSqlSafe, QueryBuilder};

use super::{Earned, Reading, day_number};
use crate::attribution::report_store::QUARTER_US;
use crate::campaign::{self, CampaignFigures};
use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::{CampaignId, OrderId, ProductId, VariantId};
use crate::touches::deltas::{Counts, Delta};

pub(super) const ROWS: usize = 500;

/// The day of an instant in a zone, and the first day of its month.
fn days_of(at: Timestamp, zone: Tz) -> (i64, i64) {
    let day = at.in_zone(zone).date_naive();
    (day_number(day), day_number(day.with_day(1).unwrap_or(day)))
}

const LOCK: &str = "UPDATE rollup_state SET generation = generation + 1 WHERE id = 1 RETURNING zone";

/// Takes the turn of everything that changes the sums, until the transaction ends. The zone in which days are cut; `None` where nothing has
/// been added up yet, and so nothing needs to be corrected. Call it before anything else is written.
pub(in crate::attribution) async fn lock(tx: &mut Tx) -> sqlx::Result<Option<Tz>> {
    let zone: Option<String> = on!(tx, |c| sqlx::query_scalar(LOCK).fetch_optional(&mut *c).await)?;
    Ok(zone.and_then(|z| z.parse().ok()))
}

const TURN: &str = "UPDATE rollup_state SET generation = generation + 1 WHERE id = 1 AND ready RETURNING zone";
/// As [`lock`], for folding: `None` while everything is added up anew.
pub(super) async fn turn(tx: &mut Tx) -> sqlx::Result<Option<Tz>> {
    let zone: Option<String> = on!(tx, |c| sqlx::query_scalar(TURN).fetch_optional(&mut *c).await)?;
    Ok(zone.and_then(|z| z.parse().ok()))
}

const FORGET_DAYS: &str = "DELETE FROM rollup_product_day WHERE day < $1";
/// Products' days that have become too old go.
pub(super) async fn forget_days(tx: &mut Tx, before: i64) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(FORGET_DAYS).bind(before).execute(&mut *c).await.map(|_| ()))
}

const FOLDED: &str = "UPDATE rollup_state SET as_of = $1 WHERE id = 1";
/// Everything that was written until now is in the sums.
pub(super) async fn folded(tx: &mut Tx, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(FOLDED).bind(now).execute(&mut *c).await.map(|_| ()))
}

const COUNT: &str = "INSERT INTO rollup_count (name, value, as_of) VALUES ($1, $2, $3)
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, as_of = excluded.as_of";
pub(super) async fn counts(tx: &mut Tx, counts: &[(&'static str, i64)], now: Timestamp) -> sqlx::Result<()> {
    for (name, value) in counts {
        on!(&mut *tx, |c| sqlx::query(COUNT).bind(*name).bind(*value).bind(now).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

/// These campaigns' sums changed: what stands beside the campaigns follows at the end of the fold ([`write_figures`]).
pub(super) async fn changed(tx: &mut Tx, campaigns: impl Iterator<Item = i64>) -> sqlx::Result<()> {
    let ids: Vec<i64> = campaigns.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    for chunk in ids.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO rollup_changed (campaign_id) ");
            q.push_values(chunk, |mut row, id| {
                row.push_bind(*id);
            });
            q.push(" ON CONFLICT (campaign_id) DO NOTHING");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

const REREAD: &str = "UPDATE rollup_state SET reading = $1 WHERE id = 1 AND reading <> $1";
const ALL_CHANGED: &str =
    "INSERT INTO rollup_changed (campaign_id) SELECT id FROM campaign WHERE true ON CONFLICT (campaign_id) DO NOTHING";
/// How credit is read from here on; where that is new, what stands beside every campaign is.
pub(super) async fn read_as(tx: &mut Tx, reading: &str) -> sqlx::Result<()> {
    let new = on!(&mut *tx, |c| sqlx::query(REREAD).bind(reading).execute(&mut *c).await.map(|r| r.rows_affected()))?;
    if new > 0 {
        on!(tx, |c| sqlx::query(ALL_CHANGED).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const TAKE_CHANGED: &str =
    "DELETE FROM rollup_changed WHERE campaign_id IN (SELECT campaign_id FROM rollup_changed ORDER BY campaign_id LIMIT $1)
     RETURNING campaign_id";
/// Writes what some of the changed campaigns came to beside them. How many there were; fewer than asked for: all are done.
pub(super) async fn write_figures(tx: &mut Tx, currency: &str, reading: Reading, limit: i64) -> sqlx::Result<usize> {
    let ids: Vec<i64> = on!(&mut *tx, |c| sqlx::query_scalar(TAKE_CHANGED).bind(limit).fetch_all(&mut *c).await)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let column = crate::attribution::report_store::amount_column(reading.model);
    // Only of campaigns that exist: the sums outlive nothing, but an old database may hold some that do.
    let sql = format!(
        "SELECT c.id AS campaign_id,
            CAST(COALESCE((SELECT SUM(t.sent) FROM rollup_touch t WHERE t.campaign_id = c.id), 0) AS BIGINT) AS sent,
            CAST(COALESCE((SELECT SUM(t.clicked) FROM rollup_touch t WHERE t.campaign_id = c.id), 0) AS BIGINT) AS clicked,
            CAST(COALESCE((SELECT SUM(r.{column}) FROM rollup_credit r
                WHERE r.campaign_id = c.id AND r.currency = $1 AND r.view_through = $2), 0) AS BIGINT) AS earned_minor
         FROM campaign c WHERE c.id IN ({list})"
    );
    let rows: Vec<(CampaignId, i64, i64, i64)> = on!(&mut *tx, |c| {
        let q = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(currency).bind(reading.view_through);
        q.fetch_all(&mut *c).await
    })?;
    let figures: Vec<CampaignFigures> = rows
        .into_iter()
        .map(|(campaign_id, sent, clicked, earned_minor)| CampaignFigures { campaign_id, sent, clicked, earned_minor })
        .collect();
    campaign::put_figures(tx, &figures).await?;
    Ok(ids.len())
}

const ON_TOUCH: &str = " ON CONFLICT (campaign_id, day, variant_id, channel) DO UPDATE SET planned = rollup_touch.planned + excluded.planned, \
     held = rollup_touch.held + excluded.held, skipped = rollup_touch.skipped + excluded.skipped, \
     failed = rollup_touch.failed + excluded.failed, sent = rollup_touch.sent + excluded.sent, \
     opened = rollup_touch.opened + excluded.opened, viewable = rollup_touch.viewable + excluded.viewable, \
     seen = rollup_touch.seen + excluded.seen, clicked = rollup_touch.clicked + excluded.clicked, \
     bounced = rollup_touch.bounced + excluded.bounced, unsubscribed = rollup_touch.unsubscribed + excluded.unsubscribed, \
     complained = rollup_touch.complained + excluded.complained, \
     returned = rollup_touch.returned + excluded.returned";
const ON_PRODUCT: &str = " ON CONFLICT (product_id, campaign_id, month) DO UPDATE SET sent = rollup_product.sent + excluded.sent, \
     opened = rollup_product.opened + excluded.opened, viewable = rollup_product.viewable + excluded.viewable, \
     clicked = rollup_product.clicked + excluded.clicked";

const ON_PRODUCT_DAY: &str = " ON CONFLICT (product_id, day, campaign_id) DO UPDATE SET sent = rollup_product_day.sent + excluded.sent, \
     opened = rollup_product_day.opened + excluded.opened, viewable = rollup_product_day.viewable + excluded.viewable, \
     clicked = rollup_product_day.clicked + excluded.clicked";

/// Adds differences of touches. `since`: the first day that products are kept by day of.
pub(super) async fn add(tx: &mut Tx, deltas: &[Delta], zone: Tz, since: i64) -> sqlx::Result<()> {
    let mut touches: BTreeMap<TouchKey, Counts> = BTreeMap::new();
    let mut products: BTreeMap<ProductKey, Counts> = BTreeMap::new();
    let mut product_days: BTreeMap<ProductKey, Counts> = BTreeMap::new();
    for d in deltas {
        let (day, month) = days_of(Timestamp(d.quarter * QUARTER_US), zone);
        let variant = d.variant_id.map_or(0, |v| v.0);
        touches.entry((d.campaign_id.0, day, variant, d.channel.as_str().to_owned())).or_default().add(d.counts);
        if let Some(product) = d.product_id {
            products.entry((product.0, d.campaign_id.0, month)).or_default().add(d.counts);
            if day >= since {
                product_days.entry((product.0, d.campaign_id.0, day)).or_default().add(d.counts);
            }
        }
    }
    touches.retain(|_, n| !n.is_zero());
    changed(tx, touches.keys().map(|(campaign, ..)| *campaign)).await?;
    put_touches(tx, &touches.into_iter().collect::<Vec<_>>()).await?;
    for (by, mut counts) in [(ByProduct::Month, products), (ByProduct::Day, product_days)] {
        counts.retain(|_, n| [n.sent, n.opened, n.viewable, n.clicked] != [0; 4]);
        put_products(tx, by, &counts.into_iter().collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Campaign, day, variant (0: none), channel.
pub(super) type TouchKey = (i64, i64, i64, String);
/// Product, campaign, month or day.
pub(super) type ProductKey = (i64, i64, i64);

/// Adds sums by day.
pub(super) async fn put_touches(tx: &mut Tx, rows: &[(TouchKey, Counts)]) -> sqlx::Result<()> {
    for chunk in rows.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(
                "INSERT INTO rollup_touch (campaign_id, day, variant_id, channel, planned, held, skipped, failed, sent, opened, viewable, \
                 seen, clicked, bounced, unsubscribed, complained, returned) ",
            );
            q.push_values(chunk, |mut row, ((campaign, day, variant, channel), n)| {
                row.push_bind(*campaign).push_bind(*day).push_bind(*variant).push_bind(channel.as_str());
                for n in n.array() {
                    row.push_bind(n);
                }
            });
            q.push(ON_TOUCH);
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// The two tables of products.
#[derive(Clone, Copy, Debug)]
pub(super) enum ByProduct {
    Month,
    Day,
}

/// Adds sums by product, campaign and the first day of a span.
pub(super) async fn put_products(tx: &mut Tx, by: ByProduct, rows: &[(ProductKey, Counts)]) -> sqlx::Result<()> {
    let (insert, on_conflict) = match by {
        ByProduct::Month => ("INSERT INTO rollup_product (product_id, campaign_id, month, sent, opened, viewable, clicked) ", ON_PRODUCT),
        ByProduct::Day => {
            ("INSERT INTO rollup_product_day (product_id, campaign_id, day, sent, opened, viewable, clicked) ", ON_PRODUCT_DAY)
        }
    };
    for chunk in rows.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(insert);
            q.push_values(chunk, |mut row, ((product, campaign, day), n)| {
                row.push_bind(*product).push_bind(*campaign).push_bind(*day);
                row.push_bind(n.sent).push_bind(n.opened).push_bind(n.viewable).push_bind(n.clicked);
            });
            q.push(on_conflict);
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// One row of credit, put in (`sign` 1) or taken out (-1).
#[derive(Clone, Debug)]
pub(in crate::attribution) struct CreditDelta<'a> {
    pub sign: i64,
    pub order_id: OrderId,
    pub placed_at: Timestamp,
    pub currency: &'a str,
    pub view_through: bool,
    pub campaign_id: CampaignId,
    pub variant_id: Option<VariantId>,
    pub product_id: Option<ProductId>,
    pub channel: &'a str,
    /// By model, in the order of `Model::PER_ORDER`.
    pub minor: [i64; 5],
}

fn merge(sum: &mut Earned, sign: i64, orders: i64, minor: [i64; 5]) {
    sum.orders += sign * orders;
    sum.last_orders += sign * i64::from(minor[1] != 0);
    for (s, m) in sum.minor.iter_mut().zip(minor) {
        *s += sign * m;
    }
}

/// Follows a change of credit. All rows of an order must come together, those taken out before those put in, each in order of position.
pub(in crate::attribution) async fn credit_changed(tx: &mut Tx, rows: &[CreditDelta<'_>], zone: Tz) -> sqlx::Result<()> {
    type Key<'k> = (i64, i64, i64, &'k str, &'k str, bool);
    let mut campaigns: BTreeMap<Key<'_>, Earned> = BTreeMap::new();
    let mut products: BTreeMap<(i64, i64, i64, &str, bool), Earned> = BTreeMap::new();
    let mut met = std::collections::HashSet::new();
    for r in rows {
        let (day, month) = days_of(r.placed_at, zone);
        let first = met.insert((r.sign, r.order_id.0, r.view_through, r.campaign_id.0));
        let variant = r.variant_id.map_or(0, |v| v.0);
        let key = (r.campaign_id.0, day, variant, r.channel, r.currency, r.view_through);
        merge(campaigns.entry(key).or_default(), r.sign, i64::from(first), r.minor);
        if let Some(product) = r.product_id {
            let key = (product.0, r.campaign_id.0, month, r.currency, r.view_through);
            merge(products.entry(key).or_default(), r.sign, 0, r.minor);
        }
    }
    let differs = |e: &Earned| e.orders != 0 || e.last_orders != 0 || e.minor != [0; 5];
    let campaigns: Vec<_> = campaigns.into_iter().filter(|(_, e)| differs(e)).collect();
    changed(tx, campaigns.iter().map(|((campaign, ..), _)| *campaign)).await?;
    for chunk in campaigns.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(concat!(
                "INSERT INTO rollup_credit (campaign_id, day, variant_id, channel, currency, view_through, orders, last_orders, first_minor, ",
                "last_minor, linear_minor, time_decay_minor, position_minor) "
            ));
            q.push_values(chunk, |mut row, ((campaign, day, variant, channel, currency, view), e)| {
                row.push_bind(*campaign).push_bind(*day).push_bind(*variant).push_bind(*channel).push_bind(*currency).push_bind(*view);
                row.push_bind(e.orders).push_bind(e.last_orders);
                for m in e.minor {
                    row.push_bind(m);
                }
            });
            q.push(
                " ON CONFLICT (campaign_id, day, variant_id, channel, currency, view_through) DO UPDATE SET \
                 orders = rollup_credit.orders + excluded.orders, last_orders = rollup_credit.last_orders + excluded.last_orders, \
                 first_minor = rollup_credit.first_minor + excluded.first_minor, last_minor = rollup_credit.last_minor + excluded.last_minor, \
                 linear_minor = rollup_credit.linear_minor + excluded.linear_minor, \
                 time_decay_minor = rollup_credit.time_decay_minor + excluded.time_decay_minor, \
                 position_minor = rollup_credit.position_minor + excluded.position_minor",
            );
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    let products: Vec<_> = products.into_iter().filter(|(_, e)| differs(e)).collect();
    for chunk in products.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(concat!(
                "INSERT INTO rollup_product_credit (product_id, campaign_id, month, currency, view_through, last_orders, first_minor, ",
                "last_minor, linear_minor, time_decay_minor, position_minor) "
            ));
            q.push_values(chunk, |mut row, ((product, campaign, month, currency, view), e)| {
                row.push_bind(*product).push_bind(*campaign).push_bind(*month).push_bind(*currency).push_bind(*view);
                row.push_bind(e.last_orders);
                for m in e.minor {
                    row.push_bind(m);
                }
            });
            q.push(
                " ON CONFLICT (product_id, campaign_id, month, currency, view_through) DO UPDATE SET \
                 last_orders = rollup_product_credit.last_orders + excluded.last_orders, \
                 first_minor = rollup_product_credit.first_minor + excluded.first_minor, \
                 last_minor = rollup_product_credit.last_minor + excluded.last_minor, \
                 linear_minor = rollup_product_credit.linear_minor + excluded.linear_minor, \
                 time_decay_minor = rollup_product_credit.time_decay_minor + excluded.time_decay_minor, \
                 position_minor = rollup_product_credit.position_minor + excluded.position_minor",
            );
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}
