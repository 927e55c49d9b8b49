//! Recording orders, one by one or thousands at a time.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::adjust::apply_waiting;
use super::{NewOrder, Order, Source, Totals};
use crate::events::store::{json, pick};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{OrderId, PersonId};
use crate::{on, read};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub id: OrderId,
    /// False where an order of that reference was there already and stays as it was.
    pub new: bool,
}

const KNOWN_SQLITE: &str = "SELECT order_ref, id, source FROM shop_order WHERE order_ref IN (SELECT value FROM json_each($1))";
const KNOWN_POSTGRES: &str =
    "SELECT order_ref, id, source FROM shop_order WHERE order_ref IN (SELECT value FROM json_array_elements_text($1::json))";
const INSERT_SQLITE: &str =
    "INSERT INTO shop_order (order_ref, person_id, placed_at, currency, total_minor, refunded_minor, status, flag, source, updated_at)
     SELECT value ->> 'order_ref', value ->> 'person_id', value ->> 'placed_at', value ->> 'currency', value ->> 'total_minor', 0, 'placed',
       value ->> 'flag', value ->> 'source', value ->> 'updated_at'
     FROM json_each($1) WHERE true ON CONFLICT (order_ref) DO NOTHING RETURNING order_ref, id, source";
const INSERT_POSTGRES: &str =
    "INSERT INTO shop_order (order_ref, person_id, placed_at, currency, total_minor, refunded_minor, status, flag, source, updated_at)
     SELECT order_ref, person_id, placed_at, currency, total_minor, 0, 'placed', flag, source, updated_at
     FROM json_to_recordset($1::json) AS d(order_ref text, person_id bigint, placed_at bigint, currency text, total_minor bigint, flag text,
       source text, updated_at bigint) ON CONFLICT (order_ref) DO NOTHING RETURNING order_ref, id, source";
const LINES_SQLITE: &str =
    "INSERT INTO order_line (order_id, line_no, product_id, sku, title, quantity, cancelled_quantity, unit_price_minor, flag)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, 0, value ->> 6, value ->> 7 FROM json_each($1)";
const LINES_POSTGRES: &str =
    "INSERT INTO order_line (order_id, line_no, product_id, sku, title, quantity, cancelled_quantity, unit_price_minor, flag)
     SELECT order_id, line_no, product_id, sku, title, quantity, 0, unit_price_minor, flag
     FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])
       AS d(order_id, line_no, product_id, sku, title, quantity, unit_price_minor, flag)";
const REPLACE: &str = "UPDATE shop_order SET person_id = COALESCE($2, person_id), placed_at = $3, currency = $4, total_minor = $5,
       refunded_minor = CASE WHEN refunded_minor > $5 THEN CASE WHEN $5 > 0 THEN $5 ELSE 0 END ELSE refunded_minor END,
       flag = $6, source = $7, updated_at = $8 WHERE id = $1";
const DROP_LINES: &str = "DELETE FROM order_line WHERE order_id = $1";

#[derive(Serialize)]
struct Row<'a> {
    order_ref: &'a str,
    person_id: Option<i64>,
    placed_at: i64,
    currency: &'a str,
    total_minor: i64,
    flag: Option<&'a str>,
    source: &'a str,
    updated_at: i64,
}

fn row(order: &NewOrder, now: Timestamp) -> Row<'_> {
    Row {
        order_ref: &order.order_ref,
        person_id: order.person_id.map(|p| p.0),
        placed_at: order.placed_at.0,
        currency: order.currency.code(),
        total_minor: order.total_minor,
        flag: order.flag.as_deref().or_else(|| order.impossible()),
        source: order.source.name(),
        updated_at: now.0,
    }
}

/// An order line as a JSON array: shorter and quicker to read than an object, and there are many.
type LineRow<'a> = (i64, i64, Option<i64>, &'a str, &'a str, i64, i64, Option<&'a str>);

async fn insert_lines(tx: &mut Tx, orders: &[(OrderId, &NewOrder)]) -> sqlx::Result<()> {
    let rows: Vec<LineRow> = orders
        .iter()
        .flat_map(|(id, order)| {
            (1..).zip(&order.lines).map(|(n, l)| {
                let flag = l.flag.as_deref().or_else(|| l.impossible());
                (id.0, n, l.product_id.map(|p| p.0), l.sku.as_str(), l.title.as_str(), l.quantity, l.unit_price_minor, flag)
            })
        })
        .collect();
    // The one bulk load here that is large enough for arrays to pay on Postgres.
    for part in rows.chunks(2000) {
        match &mut *tx {
            Tx::Sqlite { tx, .. } => {
                sqlx::query(LINES_SQLITE).bind(json(part)?).execute(&mut **tx).await?;
            }
            Tx::Postgres(tx) => {
                sqlx::query(LINES_POSTGRES)
                    .bind(part.iter().map(|r| r.0).collect::<Vec<i64>>())
                    .bind(part.iter().map(|r| r.1).collect::<Vec<i64>>())
                    .bind(part.iter().map(|r| r.2).collect::<Vec<Option<i64>>>())
                    .bind(part.iter().map(|r| r.3).collect::<Vec<&str>>())
                    .bind(part.iter().map(|r| r.4).collect::<Vec<&str>>())
                    .bind(part.iter().map(|r| r.5).collect::<Vec<i64>>())
                    .bind(part.iter().map(|r| r.6).collect::<Vec<i64>>())
                    .bind(part.iter().map(|r| r.7).collect::<Vec<Option<&str>>>())
                    .execute(&mut **tx)
                    .await?;
            }
        }
    }
    Ok(())
}

type Known = HashMap<String, (OrderId, String)>;

async fn known(tx: &mut Tx, refs: &[&str]) -> sqlx::Result<Known> {
    let sql = pick(tx.dialect(), KNOWN_SQLITE, KNOWN_POSTGRES);
    let wanted = json(refs)?;
    let rows: Vec<(String, OrderId, String)> = on!(tx, |c| sqlx::query_as(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
    Ok(rows.into_iter().map(|(order_ref, id, source)| (order_ref, (id, source))).collect())
}

/// Records orders with their lines. An order that is there already stays as it was, except that what a page claimed gives way to what the
/// server says. Answers in the order given; of a reference given twice the first counts. About 200 orders in a transaction keep it short.
pub async fn bulk_record(tx: &mut Tx, orders: &[NewOrder], now: Timestamp) -> sqlx::Result<Vec<Recorded>> {
    let mut ids: HashMap<&str, (OrderId, bool)> = HashMap::with_capacity(orders.len());
    for part in orders.chunks(1000) {
        let mut seen = HashSet::new();
        let fresh: Vec<&NewOrder> = part.iter().filter(|o| !ids.contains_key(o.order_ref.as_str()) && seen.insert(&o.order_ref)).collect();
        let rows = json(&fresh.iter().map(|o| row(o, now)).collect::<Vec<_>>())?;
        let sql = pick(tx.dialect(), INSERT_SQLITE, INSERT_POSTGRES);
        let inserted: Vec<(String, OrderId, String)> = on!(tx, |c| sqlx::query_as(sql).bind(rows.as_str()).fetch_all(&mut *c).await)?;
        let inserted: HashMap<String, OrderId> = inserted.into_iter().map(|(order_ref, id, _)| (order_ref, id)).collect();
        let there: Vec<&str> = fresh.iter().map(|o| o.order_ref.as_str()).filter(|r| !inserted.contains_key(*r)).collect();
        let there = if there.is_empty() { Known::new() } else { known(tx, &there).await? };
        let mut with_lines = Vec::with_capacity(fresh.len());
        for order in fresh {
            if let Some(id) = inserted.get(&order.order_ref) {
                with_lines.push((*id, order));
                ids.insert(&order.order_ref, (*id, true));
            } else if let Some((id, source)) = there.get(&order.order_ref) {
                if source == Source::Page.name() && order.source != Source::Page {
                    replace(tx, *id, order, now).await?;
                    with_lines.push((*id, order));
                }
                ids.insert(&order.order_ref, (*id, false));
            }
        }
        insert_lines(tx, &with_lines).await?;
        let new: Vec<&str> = inserted.keys().map(String::as_str).collect();
        apply_waiting(tx, &new, now).await?;
    }
    let mut first = HashSet::new();
    orders
        .iter()
        .map(|o| {
            let (id, new) = ids.get(o.order_ref.as_str()).ok_or(sqlx::Error::RowNotFound)?;
            Ok(Recorded { id: *id, new: *new && first.insert(*id) })
        })
        .collect()
}

pub async fn record(tx: &mut Tx, order: &NewOrder, now: Timestamp) -> sqlx::Result<Recorded> {
    bulk_record(tx, std::slice::from_ref(order), now).await?.pop().ok_or(sqlx::Error::RowNotFound)
}

/// `Order Updated`: records the order, or replaces its total and lines. What was refunded stays, up to the new total. A page changes only
/// what a page claimed.
pub async fn update(tx: &mut Tx, order: &NewOrder, now: Timestamp) -> sqlx::Result<Recorded> {
    let there = known(tx, &[order.order_ref.as_str()]).await?.remove(&order.order_ref);
    match there {
        None => record(tx, order, now).await,
        Some((id, source)) => {
            if order.source != Source::Page || source == Source::Page.name() {
                replace(tx, id, order, now).await?;
                insert_lines(tx, &[(id, order)]).await?;
            }
            Ok(Recorded { id, new: false })
        }
    }
}

async fn replace(tx: &mut Tx, id: OrderId, order: &NewOrder, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(DROP_LINES).bind(id).execute(&mut *c).await?;
        sqlx::query(REPLACE)
            .bind(id)
            .bind(order.person_id)
            .bind(order.placed_at)
            .bind(order.currency.code())
            .bind(order.total_minor)
            .bind(order.flag.as_deref().or_else(|| order.impossible()))
            .bind(order.source.name())
            .bind(now)
            .execute(&mut *c)
            .await
            .map(|_| ())
    })
}

const OF_PERSON: &str = "SELECT * FROM shop_order WHERE person_id = $1 ORDER BY placed_at DESC, id DESC LIMIT $2";
const TOTALS: &str = "SELECT currency, COUNT(*) AS orders, CAST(SUM(total_minor) AS BIGINT) AS total_minor,
       CAST(SUM(refunded_minor) AS BIGINT) AS refunded_minor
     FROM shop_order WHERE flag IS NULL AND source <> 'page' AND placed_at >= $1 AND placed_at < $2 GROUP BY currency ORDER BY currency";

/// A person's orders, newest first.
pub async fn of_person(db: &Db, person: PersonId, limit: i64) -> sqlx::Result<Vec<Order>> {
    read!(*db, |c| sqlx::query_as::<_, Order>(OF_PERSON).bind(person).bind(limit).fetch_all(c).await)
}

const BY_IDS_SQLITE: &str = "SELECT * FROM shop_order WHERE id IN (SELECT value FROM json_each($1))";
const BY_IDS_POSTGRES: &str = "SELECT * FROM shop_order WHERE id = ANY($1)";

/// Those of the orders that exist; some thousand at a time.
pub async fn by_ids(db: &Db, ids: &[OrderId]) -> sqlx::Result<Vec<Order>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    match db {
        Db::Sqlite(s) => sqlx::query_as(BY_IDS_SQLITE).bind(sqlx::types::Json(ids)).fetch_all(&s.readers).await,
        Db::Postgres(p) => sqlx::query_as(BY_IDS_POSTGRES).bind(ids).fetch_all(p).await,
    }
}

const PAGE_PERSON: &str = "SELECT * FROM shop_order WHERE person_id = $1 AND (placed_at < $2 OR (placed_at = $2 AND id < $3))
     ORDER BY placed_at DESC, id DESC LIMIT $4";
const WORTH: &str = "SELECT currency, COUNT(*) AS orders, CAST(SUM(total_minor) AS BIGINT) AS total_minor,
       CAST(SUM(refunded_minor) AS BIGINT) AS refunded_minor
     FROM shop_order WHERE person_id = $1 AND flag IS NULL AND status <> 'cancelled' GROUP BY currency ORDER BY currency";

/// A person's orders placed before an instant (of the same instant: with lower ids), newest first.
pub async fn page_of_person(db: &Db, person: PersonId, before: (Timestamp, OrderId), limit: i64) -> sqlx::Result<Vec<Order>> {
    read!(*db, |c| sqlx::query_as::<_, Order>(PAGE_PERSON).bind(person).bind(before.0).bind(before.1).bind(limit).fetch_all(c).await)
}

/// What a person bought so far, by currency: plausible orders that were not cancelled.
pub async fn worth_of(db: &Db, person: PersonId) -> sqlx::Result<Vec<Totals>> {
    read!(*db, |c| sqlx::query_as::<_, Totals>(WORTH).bind(person).fetch_all(c).await)
}

#[derive(sqlx::FromRow)]
struct NamedLine {
    order_id: OrderId,
    title: String,
    quantity: i64,
}

/// Title and quantity of each line of these orders.
pub async fn lines_of(db: &Db, orders: &[OrderId]) -> sqlx::Result<HashMap<OrderId, Vec<(String, i64)>>> {
    let mut found: HashMap<OrderId, Vec<(String, i64)>> = HashMap::new();
    if orders.is_empty() {
        return Ok(found);
    }
    let rows: Vec<NamedLine> = read!(*db, |c| {
        let mut q = sqlx::QueryBuilder::new("SELECT order_id, title, quantity FROM order_line WHERE order_id IN (");
        let mut ids = q.separated(", ");
        for id in orders {
            ids.push_bind(*id);
        }
        q.push(") ORDER BY order_id, line_no");
        q.build_query_as::<NamedLine>().persistent(false).fetch_all(c).await
    })?;
    for row in rows {
        found.entry(row.order_id).or_default().push((row.title, row.quantity));
    }
    Ok(found)
}

/// Sums by currency of the plausible orders that a server or an import vouches for, placed in `from..to`.
pub async fn totals(db: &Db, from: Timestamp, to: Timestamp) -> sqlx::Result<Vec<Totals>> {
    read!(*db, |c| sqlx::query_as::<_, Totals>(TOTALS).bind(from).bind(to).fetch_all(c).await)
}

const MOVE: &str = "UPDATE shop_order SET person_id = $2, updated_at = $3 WHERE person_id = $1";
const FORGET: &str = "UPDATE shop_order SET person_id = NULL, updated_at = $2 WHERE person_id = $1";

pub(in crate::events) async fn move_person(tx: &mut Tx, from: PersonId, into: PersonId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(MOVE).bind(from).bind(into).bind(now).execute(&mut *c).await.map(|_| ()))
}

/// The money stays, and nobody's name on it.
pub(in crate::events) async fn forget_person(tx: &mut Tx, person: PersonId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(FORGET).bind(person).bind(now).execute(&mut *c).await.map(|_| ()))
}
