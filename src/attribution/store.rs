//! SQL of `credit`, and the questions that credit and lift ask of orders, touches, events and assignments. Reports: `report_store`.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::rollup;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, OrderId, PersonId, ProductId, TouchId, VariantId};
use crate::{on, read};

/// An order as credit sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct OrderRow {
    pub id: OrderId,
    pub person_id: Option<PersonId>,
    pub placed_at: Timestamp,
    pub currency: String,
    pub net_minor: i64,
    /// Kept out of every figure: not plausible, or only claimed by a page (whose key anybody can read) and not confirmed by the server.
    pub flagged: bool,
}

/// A touch that a human reacted to.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct TouchRow {
    pub id: TouchId,
    pub person_id: PersonId,
    pub campaign_id: CampaignId,
    pub variant_id: Option<VariantId>,
    pub product_id: Option<ProductId>,
    pub channel: String,
    pub at: Timestamp,
    pub window_us: i64,
    pub click_at: Option<Timestamp>,
    pub open_at: Option<Timestamp>,
    pub viewable_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct CreditRow {
    pub order_id: OrderId,
    pub view_through: bool,
    pub position: i64,
    pub touch_id: TouchId,
    pub campaign_id: CampaignId,
    pub variant_id: Option<VariantId>,
    pub product_id: Option<ProductId>,
    pub channel: String,
    pub first_minor: i64,
    pub last_minor: i64,
    pub linear_minor: i64,
    pub time_decay_minor: i64,
    pub position_minor: i64,
    pub earned_at: Timestamp,
    /// The order's, as they were when this was given.
    pub placed_at: Timestamp,
    pub currency: String,
}

macro_rules! credit_columns {
    () => {
        "order_id, view_through, position, touch_id, campaign_id, variant_id, product_id, channel, first_minor, last_minor, linear_minor, \
         time_decay_minor, position_minor, earned_at, placed_at, currency"
    };
}

macro_rules! orders {
    ($rest:literal) => {
        concat!(
            "SELECT id, person_id, placed_at, currency, total_minor - refunded_minor AS net_minor, (flag IS NOT NULL OR source = 'page') AS flagged FROM shop_order ",
            $rest
        )
    };
}
// A plus before a column: no index by it, so that the one by time is taken (and only what is new is read).
const CHANGED: &str = orders!("WHERE updated_at >= $1 AND +id > $2 ORDER BY +id LIMIT $3");
const EVER: &str = orders!("WHERE id > $1 ORDER BY id LIMIT $2");
const SIGNALLED: &str = "SELECT DISTINCT +person_id FROM touch WHERE stamped_at >= $1 AND +person_id > $2 ORDER BY 1 LIMIT $3";

/// The questions by which a pass finds what is new, and the index that each must take: for the test that they do.
pub const NEWS_SQL: [(&str, &str); 2] = [(CHANGED, "shop_order_updated"), (SIGNALLED, "touch_stamped")];

/// Which orders to look at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// Written or adjusted since.
    Changed(Timestamp),
    Ever,
}

pub(super) async fn orders(db: &Db, since: Since, after: OrderId, limit: i64) -> sqlx::Result<Vec<OrderRow>> {
    match since {
        Since::Changed(at) => {
            read!(*db, |c| sqlx::query_as::<_, OrderRow>(CHANGED).bind(at).bind(after).bind(limit).fetch_all(c).await)
        }
        Since::Ever => read!(*db, |c| sqlx::query_as::<_, OrderRow>(EVER).bind(after).bind(limit).fetch_all(c).await),
    }
}

/// People on whose touches a human signal became known since, in order of id.
pub(super) async fn signalled(db: &Db, since: Timestamp, after: PersonId, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar::<_, PersonId>(SIGNALLED).bind(since).bind(after).bind(limit).fetch_all(c).await)
}

const ASTRAY: &str = orders!(
    "WHERE id IN (SELECT x.order_id FROM touch t JOIN credit x ON x.touch_id = t.id JOIN shop_order o ON o.id = x.order_id
     WHERE t.stamped_at >= $1 AND (t.person_id IS NULL OR o.person_id IS NULL OR t.person_id <> o.person_id)) ORDER BY id"
);

/// Orders with credit for a touch that, since then, became somebody else's or nobody's.
pub(super) async fn orders_astray(db: &Db, since: Timestamp) -> sqlx::Result<Vec<OrderRow>> {
    read!(*db, |c| sqlx::query_as::<_, OrderRow>(ASTRAY).bind(since).fetch_all(c).await)
}

pub(super) async fn orders_of(db: &Db, people: &[PersonId]) -> sqlx::Result<Vec<OrderRow>> {
    if people.is_empty() {
        return Ok(Vec::new());
    }
    read!(*db, |c| {
        let mut q = QueryBuilder::new(orders!("WHERE person_id IN ("));
        let mut list = q.separated(", ");
        for person in people {
            list.push_bind(*person);
        }
        q.push(") ORDER BY id");
        q.build_query_as::<OrderRow>().persistent(false).fetch_all(c).await
    })
}

/// The touches of these people that a human reacted to. Ghosts never count.
pub(super) async fn touches_of(db: &Db, people: &[PersonId]) -> sqlx::Result<HashMap<PersonId, Vec<TouchRow>>> {
    let mut found: HashMap<PersonId, Vec<TouchRow>> = HashMap::new();
    if people.is_empty() {
        return Ok(found);
    }
    let rows = read!(*db, |c| {
        let mut q = QueryBuilder::new(
            "SELECT t.id, t.person_id, t.campaign_id, t.variant_id, t.product_id, t.channel, COALESCE(t.contact_at, t.sent_at, t.due_at) AS at, \
             c.window_us, t.click_at, t.open_at, t.viewable_at FROM touch t JOIN campaign c ON c.id = t.campaign_id WHERE t.arm = 'treated' \
             AND (t.click_at IS NOT NULL OR t.open_at IS NOT NULL OR t.viewable_at IS NOT NULL) AND t.person_id IN (",
        );
        let mut list = q.separated(", ");
        for person in people {
            list.push_bind(*person);
        }
        q.push(")");
        q.build_query_as::<TouchRow>().persistent(false).fetch_all(c).await
    })?;
    for row in rows {
        found.entry(row.person_id).or_default().push(row);
    }
    Ok(found)
}

pub(super) async fn credit_of(db: &Db, orders: &[OrderId]) -> sqlx::Result<HashMap<OrderId, Vec<CreditRow>>> {
    let mut found: HashMap<OrderId, Vec<CreditRow>> = HashMap::new();
    if orders.is_empty() {
        return Ok(found);
    }
    let rows = read!(*db, |c| {
        let mut q = QueryBuilder::new(concat!("SELECT ", credit_columns!(), " FROM credit WHERE order_id IN ("));
        let mut list = q.separated(", ");
        for order in orders {
            list.push_bind(*order);
        }
        q.push(") ORDER BY order_id, view_through, position");
        q.build_query_as::<CreditRow>().persistent(false).fetch_all(c).await
    })?;
    for row in rows {
        found.entry(row.order_id).or_default().push(row);
    }
    Ok(found)
}

/// Replaces the credit of these orders, and corrects the rollup by the difference.
pub(super) async fn replace(tx: &mut Tx, orders: &[OrderId], rows: &[CreditRow], now: Timestamp) -> sqlx::Result<()> {
    let zone = rollup::lock(tx).await?;
    let mut old: Vec<CreditRow> = on!(&mut *tx, |c| {
        let mut q = QueryBuilder::new("DELETE FROM credit WHERE order_id IN (");
        let mut list = q.separated(", ");
        for order in orders {
            list.push_bind(*order);
        }
        q.push(concat!(") RETURNING ", credit_columns!()));
        q.build_query_as::<CreditRow>().persistent(false).fetch_all(&mut *c).await
    })?;
    for chunk in rows.chunks(500) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(concat!("INSERT INTO credit (", credit_columns!(), ", computed_at) "));
            q.push_values(chunk, |mut row, r| {
                row.push_bind(r.order_id)
                    .push_bind(r.view_through)
                    .push_bind(r.position)
                    .push_bind(r.touch_id)
                    .push_bind(r.campaign_id)
                    .push_bind(r.variant_id)
                    .push_bind(r.product_id)
                    .push_bind(r.channel.as_str())
                    .push_bind(r.first_minor)
                    .push_bind(r.last_minor)
                    .push_bind(r.linear_minor)
                    .push_bind(r.time_decay_minor)
                    .push_bind(r.position_minor)
                    .push_bind(r.earned_at)
                    .push_bind(r.placed_at)
                    .push_bind(r.currency.as_str())
                    .push_bind(now);
            });
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    let Some(zone) = zone else { return Ok(()) };
    old.sort_by_key(|r| (r.order_id, r.view_through, r.position));
    let differences: Vec<_> = old.iter().map(|r| r.delta(-1)).chain(rows.iter().map(|r| r.delta(1))).collect();
    rollup::credit_changed(tx, &differences, zone).await
}

impl CreditRow {
    fn delta(&self, sign: i64) -> rollup::CreditDelta<'_> {
        rollup::CreditDelta {
            sign,
            order_id: self.order_id,
            placed_at: self.placed_at,
            currency: &self.currency,
            view_through: self.view_through,
            campaign_id: self.campaign_id,
            variant_id: self.variant_id,
            product_id: self.product_id,
            channel: &self.channel,
            minor: [self.first_minor, self.last_minor, self.linear_minor, self.time_decay_minor, self.position_minor],
        }
    }
}

/// One person of an experiment.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct SubjectRow {
    pub person_id: PersonId,
    pub first_due: Timestamp,
    pub last_due: Timestamp,
    /// Both the same, but for people who were merged across arms.
    pub lowest: String,
    pub highest: String,
    pub runs: i64,
}

/// Everybody who passed the checks of a campaign: sent to (or tried), or held back by the holdout. People left alone by all marketing are
/// not in a campaign's experiment: they differ by more than this campaign.
macro_rules! subjects {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM touch t WHERE t.campaign_id = $1 AND t.person_id IS NOT NULL AND t.due_at <= $2
               AND ((t.arm = 'ghost' AND t.state = 'held')
                 OR (t.arm = 'treated' AND (t.state IN ('sent', 'served', 'uncertain', 'failed') OR t.attempts > 0)))
               AND NOT EXISTS (SELECT 1 FROM holdout_assignment h
                    WHERE h.scope = 'global' AND h.scope_id = 0 AND h.person_id = t.person_id AND h.arm = 'ghost')
             GROUP BY t.person_id"
        )
    };
}
const SUBJECTS: &str = subjects!(
    "t.person_id, MIN(t.due_at) AS first_due, MAX(t.due_at) AS last_due, MIN(t.arm) AS lowest, MAX(t.arm) AS highest, COUNT(*) AS runs"
);
const GLOBAL_SUBJECTS: &str =
    "SELECT person_id, assigned_at AS first_due, assigned_at AS last_due, arm AS lowest, arm AS highest, CAST(1 AS BIGINT) AS runs
     FROM holdout_assignment WHERE scope = 'global' AND scope_id = 0 AND assigned_at <= $1";

pub(super) async fn subjects(db: &Db, campaign: Option<CampaignId>, as_of: Timestamp) -> sqlx::Result<Vec<SubjectRow>> {
    match campaign {
        Some(id) => read!(*db, |c| sqlx::query_as::<_, SubjectRow>(SUBJECTS).bind(id).bind(as_of).fetch_all(c).await),
        None => read!(*db, |c| sqlx::query_as::<_, SubjectRow>(GLOBAL_SUBJECTS).bind(as_of).fetch_all(c).await),
    }
}

/// When each subject's window ends, and how far its past reaches back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub as_of: Timestamp,
    /// One end for all, or this long after each one's start.
    pub end: Result<Timestamp, i64>,
    pub past_us: i64,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct SumRow {
    pub person_id: PersonId,
    pub unit: String,
    pub y: i64,
    pub x: i64,
}

macro_rules! sums {
    ($subjects:expr, $y:literal, $x:literal, $facts:literal) => {
        concat!(
            "SELECT a.person_id, f.unit, CAST(",
            $y,
            " AS BIGINT) AS y, CAST(",
            $x,
            " AS BIGINT) AS x FROM (",
            $subjects,
            ") a JOIN (SELECT person_id, ",
            $facts,
            ") f ON f.person_id = a.person_id
             WHERE f.at >= a.first_due - $3 AND f.at <= $2 AND f.at < CASE WHEN $4 > 0 THEN $4 ELSE a.first_due + $5 END
             GROUP BY a.person_id, f.unit"
        )
    };
}
macro_rules! orders_sum {
    ($subjects:expr) => {
        sums!(
            $subjects,
            "COALESCE(SUM(CASE WHEN f.at >= a.first_due THEN f.net END), 0)",
            "COALESCE(SUM(CASE WHEN f.at < a.first_due THEN f.net END), 0)",
            "placed_at AS at, currency AS unit, total_minor - refunded_minor AS net FROM shop_order WHERE flag IS NULL AND source <> 'page'"
        )
    };
}
macro_rules! days_sum {
    ($subjects:expr) => {
        sums!(
            $subjects,
            "COUNT(DISTINCT CASE WHEN f.at >= a.first_due THEN f.at / 86400000000 END)",
            "COUNT(DISTINCT CASE WHEN f.at < a.first_due THEN f.at / 86400000000 END)",
            "occurred_at AS at, 'days' AS unit FROM event WHERE kind <> 'group'"
        )
    };
}
macro_rules! shares_sum {
    ($subjects:expr) => {
        sums!(
            $subjects,
            "COUNT(CASE WHEN f.at >= a.first_due THEN 1 END)",
            "COUNT(CASE WHEN f.at < a.first_due THEN 1 END)",
            "occurred_at AS at, 'shares' AS unit FROM event WHERE name LIKE '%Shared'"
        )
    };
}
macro_rules! campaign_subjects {
    () => {
        subjects!("t.person_id, MIN(t.due_at) AS first_due")
    };
}
macro_rules! global_subjects {
    () => {
        // $1 is no campaign here, and must still be used.
        "SELECT person_id, assigned_at AS first_due FROM holdout_assignment WHERE scope = 'global' AND scope_id = $1 AND assigned_at <= $2"
    };
}

/// What is summed per subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Net revenue, per currency.
    Revenue,
    /// Days with any event.
    Days,
    /// Events named “… Shared”.
    Shares,
}

/// Sums per subject that has any.
pub(super) async fn sums(db: &Db, campaign: Option<CampaignId>, measure: Measure, span: Span) -> sqlx::Result<Vec<SumRow>> {
    let sql = match (campaign, measure) {
        (Some(_), Measure::Revenue) => orders_sum!(campaign_subjects!()),
        (Some(_), Measure::Days) => days_sum!(campaign_subjects!()),
        (Some(_), Measure::Shares) => shares_sum!(campaign_subjects!()),
        (None, Measure::Revenue) => orders_sum!(global_subjects!()),
        (None, Measure::Days) => days_sum!(global_subjects!()),
        (None, Measure::Shares) => shares_sum!(global_subjects!()),
    };
    let (end, length) = match span.end {
        Ok(end) => (end.0, 0),
        Err(length) => (0, length),
    };
    let id = campaign.map_or(0, |c| c.0);
    read!(*db, |c| {
        sqlx::query_as::<_, SumRow>(sql).bind(id).bind(span.as_of).bind(span.past_us).bind(end).bind(length).fetch_all(c).await
    })
}
