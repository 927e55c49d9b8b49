//! Refunds and cancellations.

use super::{AdjustmentKind, NewAdjustment, Pieces, Source};
use crate::events::store::{json, pick};
use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Dialect, Tx};
use crate::platform::ids::OrderId;

/// What became of an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjusted {
    /// Taken off the order; the amount may be smaller than asked for where less was left.
    Applied { order: OrderId, amount_minor: i64 },
    /// This reference was there already.
    Duplicate,
    /// The order is not known yet: it waits.
    Waiting,
    /// It makes no sense, and why.
    Refused(&'static str),
}

#[derive(sqlx::FromRow)]
struct Standing {
    id: OrderId,
    currency: String,
    total_minor: i64,
    refunded_minor: i64,
    status: String,
    source: String,
}

const STANDING: &str = "SELECT id, currency, total_minor, refunded_minor, status, source FROM shop_order WHERE order_ref = $1";
const STANDING_LOCKED: &str =
    "SELECT id, currency, total_minor, refunded_minor, status, source FROM shop_order WHERE order_ref = $1 FOR UPDATE";
const INSERT: &str = "INSERT INTO order_adjustment (ref, order_ref, order_id, kind, at, asked_minor, amount_minor, lines)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (ref) DO NOTHING";
const TAKE_OFF: &str = "UPDATE shop_order SET refunded_minor = refunded_minor + $2, status = $3, updated_at = $4 WHERE id = $1";
const LINES: &str = "SELECT line_no, sku, quantity, cancelled_quantity FROM order_line WHERE order_id = $1 ORDER BY line_no";
const CANCEL_LINE: &str = "UPDATE order_line SET cancelled_quantity = $3 WHERE order_id = $1 AND line_no = $2";
const CANCEL_LINES: &str = "UPDATE order_line SET cancelled_quantity = quantity WHERE order_id = $1 AND quantity > 0";

/// What is taken off, and the order's state afterwards. Pure: the arithmetic of refunds.
fn settle(kind: AdjustmentKind, asked: Option<i64>, total: i64, refunded: i64, status: &str) -> (i64, &'static str) {
    let left = (total - refunded).max(0);
    let amount = match kind {
        AdjustmentKind::Cancel => left,
        AdjustmentKind::Refund => asked.unwrap_or(left).clamp(0, left),
    };
    let status = if kind == AdjustmentKind::Cancel || status == "cancelled" {
        "cancelled"
    } else if amount + refunded >= total {
        "refunded"
    } else {
        "partially_refunded"
    };
    (amount, status)
}

/// Takes money off an order: once per reference, never more than is left. Comes it before its order, it waits for it.
pub async fn adjust(tx: &mut Tx, new: &NewAdjustment, now: Timestamp) -> sqlx::Result<Adjusted> {
    if new.amount_minor.is_some_and(|a| a <= 0) {
        return Ok(Adjusted::Refused("a refund needs an amount above zero"));
    }
    let sql = match tx.dialect() {
        Dialect::Sqlite => STANDING,
        Dialect::Postgres => STANDING_LOCKED,
    };
    let standing: Option<Standing> =
        on!(tx, |c| sqlx::query_as::<_, Standing>(sql).bind(new.order_ref.as_str()).fetch_optional(&mut *c).await)?;
    let Some(order) = standing else {
        if new.source == Source::Page {
            return Ok(Adjusted::Refused("a page cannot give back money on an order that is not known"));
        }
        return Ok(if insert(tx, new, None, 0).await? { Adjusted::Waiting } else { Adjusted::Duplicate });
    };
    if new.source == Source::Page && order.source != Source::Page.name() {
        return Ok(Adjusted::Refused("a page cannot give back money on an order that the server recorded"));
    }
    if new.currency.is_some_and(|c| c.code() != order.currency) {
        return Ok(Adjusted::Refused("the refund's currency is not the order's"));
    }
    let (amount, status) = settle(new.kind, new.amount_minor, order.total_minor, order.refunded_minor, &order.status);
    if !insert(tx, new, Some(order.id), amount).await? {
        return Ok(Adjusted::Duplicate);
    }
    take_off(tx, order.id, amount, status, now).await?;
    let everything = new.kind == AdjustmentKind::Cancel || (new.amount_minor.is_none() && new.lines.is_empty());
    cancel_lines(tx, order.id, &new.lines, everything).await?;
    Ok(Adjusted::Applied { order: order.id, amount_minor: amount })
}

async fn insert(tx: &mut Tx, new: &NewAdjustment, order: Option<OrderId>, amount: i64) -> sqlx::Result<bool> {
    on!(tx, |c| {
        sqlx::query(INSERT)
            .bind(new.reference.as_str())
            .bind(new.order_ref.as_str())
            .bind(order)
            .bind(new.kind.name())
            .bind(new.at)
            .bind(new.amount_minor)
            .bind(amount)
            .bind(sqlx::types::Json(&new.lines))
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected() == 1)
    })
}

async fn take_off(tx: &mut Tx, order: OrderId, amount: i64, status: &str, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(TAKE_OFF).bind(order).bind(amount).bind(status).bind(now).execute(&mut *c).await.map(|_| ()))
}

async fn cancel_lines(tx: &mut Tx, order: OrderId, pieces: &[(String, i64)], everything: bool) -> sqlx::Result<()> {
    if everything {
        return on!(tx, |c| sqlx::query(CANCEL_LINES).bind(order).execute(&mut *c).await.map(|_| ()));
    }
    if pieces.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<(i64, String, i64, i64)> = on!(tx, |c| sqlx::query_as(LINES).bind(order).fetch_all(&mut *c).await)?;
    for (sku, wanted) in pieces {
        let mut wanted = (*wanted).max(0);
        for (line_no, _, quantity, cancelled) in lines.iter_mut().filter(|l| l.1 == *sku) {
            let take = wanted.min((*quantity - *cancelled).max(0));
            if take > 0 {
                wanted -= take;
                *cancelled += take;
                on!(&mut *tx, |c| {
                    sqlx::query(CANCEL_LINE).bind(order).bind(*line_no).bind(*cancelled).execute(&mut *c).await.map(|_| ())
                })?;
            }
        }
    }
    Ok(())
}

const WAITING_SQLITE: &str = "SELECT a.ref, o.id, a.kind, a.asked_minor, a.lines FROM order_adjustment a
     JOIN shop_order o ON o.order_ref = a.order_ref
     WHERE a.order_id IS NULL AND a.order_ref IN (SELECT value FROM json_each($1)) ORDER BY a.at, a.ref";
const WAITING_POSTGRES: &str = "SELECT a.ref, o.id, a.kind, a.asked_minor, a.lines FROM order_adjustment a
     JOIN shop_order o ON o.order_ref = a.order_ref
     WHERE a.order_id IS NULL AND a.order_ref IN (SELECT value FROM json_array_elements_text($1::json)) ORDER BY a.at, a.ref";
const BY_ID: &str = "SELECT id, currency, total_minor, refunded_minor, status, source FROM shop_order WHERE id = $1";
const SETTLE: &str = "UPDATE order_adjustment SET order_id = $2, amount_minor = $3 WHERE ref = $1";

/// Applies what waited for these orders, which are new.
pub(super) async fn apply_waiting(tx: &mut Tx, refs: &[&str], now: Timestamp) -> sqlx::Result<()> {
    if refs.is_empty() {
        return Ok(());
    }
    let sql = pick(tx.dialect(), WAITING_SQLITE, WAITING_POSTGRES);
    let wanted = json(refs)?;
    let waiting: Vec<(String, OrderId, String, Option<i64>, Pieces)> =
        on!(tx, |c| sqlx::query_as(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
    for (reference, id, kind, asked, pieces) in waiting {
        let kind = if kind == AdjustmentKind::Cancel.name() { AdjustmentKind::Cancel } else { AdjustmentKind::Refund };
        let order: Standing = on!(&mut *tx, |c| sqlx::query_as::<_, Standing>(BY_ID).bind(id).fetch_one(&mut *c).await)?;
        let (amount, status) = settle(kind, asked, order.total_minor, order.refunded_minor, &order.status);
        on!(&mut *tx, |c| sqlx::query(SETTLE).bind(reference.as_str()).bind(id).bind(amount).execute(&mut *c).await.map(|_| ()))?;
        take_off(tx, id, amount, status, now).await?;
        let everything = kind == AdjustmentKind::Cancel || (asked.is_none() && pieces.0.is_empty());
        cancel_lines(tx, id, &pieces.0, everything).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_total_and_never_less_than_nothing(
            total in -10_000_i64..100_000,
            steps in proptest::collection::vec((any::<bool>(), proptest::option::of(1_i64..60_000)), 0..12),
        ) {
            let (mut refunded, mut status) = (0, "placed");
            for (cancel, asked) in steps {
                let kind = if cancel { AdjustmentKind::Cancel } else { AdjustmentKind::Refund };
                let (amount, next) = settle(kind, asked, total, refunded, status);
                prop_assert!(amount >= 0);
                refunded += amount;
                prop_assert!(refunded <= total.max(0));
                prop_assert!(kind == AdjustmentKind::Refund || refunded == total.max(0));
                prop_assert!(status != "cancelled" || next == "cancelled");
                status = next;
            }
        }
    }
}
