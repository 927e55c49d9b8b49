//! What a campaign's sums must be, told from its touches and their credit.

use chrono_tz::Tz;
use sqlx::AssertSqlSafe;

use super::day_of;
use super::write::{CreditDelta, ProductKey, TouchKey};
use crate::attribution::period::{Periods, Unit};
use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::{CampaignId, OrderId, ProductId, VariantId};
use crate::touches::deltas::Counts;

const SPAN: &str = "SELECT MIN(due_at), MAX(due_at) FROM touch WHERE campaign_id = $1";

macro_rules! count {
    ($what:literal, $name:literal) => {
        concat!("SUM(CASE WHEN ", $what, " THEN 1 ELSE 0 END) AS ", $name)
    };
}
/// What is counted of a touch `t`; the triggers of migration 0040 say the same.
const COUNTED: &str = concat!(
    count!("t.arm = 'treated'", "planned"),
    ", ",
    count!("t.arm = 'ghost' AND t.state = 'held'", "held"),
    ", ",
    count!("t.arm = 'treated' AND t.state IN ('skipped', 'expired', 'cancelled')", "skipped"),
    ", ",
    count!("t.arm = 'treated' AND t.state = 'failed'", "failed"),
    ", ",
    count!("t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain')", "sent"),
    ", ",
    count!("t.arm = 'treated' AND t.open_at IS NOT NULL", "opened"),
    ", ",
    count!("t.arm = 'treated' AND t.viewable_at IS NOT NULL", "viewable"),
    ", ",
    count!("t.arm = 'treated' AND COALESCE(t.open_at, t.viewable_at, t.click_at) IS NOT NULL", "seen"),
    ", ",
    count!("t.arm = 'treated' AND t.click_at IS NOT NULL", "clicked"),
    ", COUNT(s.bounced) AS bounced, COUNT(s.unsubscribed) AS unsubscribed, COUNT(s.complained) AS complained, ",
    count!("t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain') AND s.bounced IS NOT NULL", "returned")
);

#[derive(sqlx::FromRow)]
struct TouchRow {
    day: i64,
    variant_id: i64,
    channel: String,
    #[sqlx(flatten)]
    counts: Counts,
}

#[derive(sqlx::FromRow)]
struct ProductRow {
    product_id: i64,
    /// Or a day.
    month: i64,
    sent: i64,
    opened: i64,
    viewable: i64,
    clicked: i64,
}

/// What a campaign's touches came to.
#[derive(Default)]
pub(super) struct OfTouches {
    pub days: Vec<(TouchKey, Counts)>,
    pub products: Vec<(ProductKey, Counts)>,
    pub product_days: Vec<(ProductKey, Counts)>,
}

/// `since`: the first day that products are kept by day of.
pub(super) async fn of_touches(tx: &mut Tx, id: CampaignId, zone: Tz, since: i64) -> sqlx::Result<OfTouches> {
    let (from, to): (Option<Timestamp>, Option<Timestamp>) = on!(&mut *tx, |c| sqlx::query_as(SPAN).bind(id).fetch_one(&mut *c).await)?;
    let (Some(from), Some(to)) = (from, to) else { return Ok(OfTouches::default()) };
    let day = Periods::over(from, to.plus_us(1), Unit::Day, zone).sql_first_days("t.due_at");
    let month = Periods::over(from, to.plus_us(1), Unit::Month, zone).sql_first_days("t.due_at");
    let days = format!(
        "SELECT CAST({day} AS BIGINT) AS day, COALESCE(t.variant_id, 0) AS variant_id, t.channel, {COUNTED} FROM touch t
         LEFT JOIN (SELECT g.touch_id, MAX(CASE WHEN g.kind = 'bounce' THEN 1 END) AS bounced,
                MAX(CASE WHEN g.kind = 'unsubscribe' THEN 1 END) AS unsubscribed, MAX(CASE WHEN g.kind = 'complaint' THEN 1 END) AS complained
             FROM touch_signal g JOIN touch u ON u.id = g.touch_id
             WHERE u.campaign_id = $1 AND g.kind IN ('bounce', 'unsubscribe', 'complaint') GROUP BY g.touch_id) s ON s.touch_id = t.id
         WHERE t.campaign_id = $1 GROUP BY 1, 2, 3"
    );
    let of_products = |span: &str, from: Timestamp| {
        format!(
            "SELECT t.product_id, CAST({span} AS BIGINT) AS month, {}, {}, {}, {}
             FROM touch t WHERE t.campaign_id = $1 AND t.product_id IS NOT NULL AND t.state IN ('sent', 'served', 'uncertain') AND t.due_at >= {}
             GROUP BY 1, 2",
            count!("t.arm = 'treated'", "sent"),
            count!("t.arm = 'treated' AND t.open_at IS NOT NULL", "opened"),
            count!("t.arm = 'treated' AND t.viewable_at IS NOT NULL", "viewable"),
            count!("t.arm = 'treated' AND t.click_at IS NOT NULL", "clicked"),
            from.0
        )
    };
    let products = of_products(&month, from);
    let product_days = of_products(&day, Timestamp::from_date(day_of(since), zone));
    let days: Vec<TouchRow> = on!(&mut *tx, |c| sqlx::query_as(AssertSqlSafe(days)).persistent(false).bind(id).fetch_all(&mut *c).await)?;
    let products: Vec<ProductRow> =
        on!(&mut *tx, |c| sqlx::query_as(AssertSqlSafe(products)).persistent(false).bind(id).fetch_all(&mut *c).await)?;
    let product_days: Vec<ProductRow> =
        on!(&mut *tx, |c| sqlx::query_as(AssertSqlSafe(product_days)).persistent(false).bind(id).fetch_all(&mut *c).await)?;
    let counts = |r: &ProductRow| Counts { sent: r.sent, opened: r.opened, viewable: r.viewable, clicked: r.clicked, ..Counts::default() };
    let by_product = |rows: Vec<ProductRow>| rows.iter().map(|r| ((r.product_id, id.0, r.month), counts(r))).collect();
    Ok(OfTouches {
        days: days.into_iter().filter(|r| !r.counts.is_zero()).map(|r| ((id.0, r.day, r.variant_id, r.channel), r.counts)).collect(),
        products: by_product(products),
        product_days: by_product(product_days),
    })
}

/// A row of a campaign's credit.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct CreditFact {
    order_id: OrderId,
    placed_at: Timestamp,
    currency: String,
    view_through: bool,
    variant_id: Option<VariantId>,
    product_id: Option<ProductId>,
    channel: String,
    first_minor: i64,
    last_minor: i64,
    linear_minor: i64,
    time_decay_minor: i64,
    position_minor: i64,
}

const CREDIT: &str =
    "SELECT order_id, placed_at, currency, view_through, variant_id, product_id, channel, first_minor, last_minor, linear_minor,
        time_decay_minor, position_minor FROM credit WHERE campaign_id = $1 ORDER BY order_id, view_through, position";

pub(super) async fn of_credit(tx: &mut Tx, id: CampaignId) -> sqlx::Result<Vec<CreditFact>> {
    on!(tx, |c| sqlx::query_as(CREDIT).bind(id).fetch_all(&mut *c).await)
}

impl CreditFact {
    /// As something that came to the sums.
    pub(super) fn put_in(&self, campaign_id: CampaignId) -> CreditDelta<'_> {
        CreditDelta {
            sign: 1,
            order_id: self.order_id,
            placed_at: self.placed_at,
            currency: &self.currency,
            view_through: self.view_through,
            campaign_id,
            variant_id: self.variant_id,
            product_id: self.product_id,
            channel: &self.channel,
            minor: [self.first_minor, self.last_minor, self.linear_minor, self.time_decay_minor, self.position_minor],
        }
    }
}
