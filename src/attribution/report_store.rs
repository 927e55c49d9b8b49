//! SQL of the reports over credit: totals, groups, journeys and how long they took. One statement per figure.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};

use super::by::{By, Within};
use super::model::Model;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect};
use crate::read;

/// Orders are put together by quarters of an hour, of which every zone's midnight is a boundary.
pub(super) const QUARTER_US: i64 = 900_000_000;
/// Which credit a figure is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Orders placed from here …
    pub from: Timestamp,
    /// … to before here.
    pub to: Timestamp,
    pub view_through: bool,
    pub within: Within,
}

/// What orders in a span are worth, per currency.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct TotalRow {
    pub currency: String,
    pub orders: i64,
    pub net_minor: i64,
}
const TOTALS: &str = "SELECT currency, COUNT(*) AS orders, CAST(SUM(total_minor - refunded_minor) AS BIGINT) AS net_minor FROM shop_order
     WHERE flag IS NULL AND source <> 'page' AND placed_at >= $1 AND placed_at < $2 GROUP BY currency ORDER BY currency";

pub(super) async fn totals(db: &Db, from: Timestamp, to: Timestamp) -> sqlx::Result<Vec<TotalRow>> {
    read!(*db, |c| sqlx::query_as::<_, TotalRow>(TOTALS).bind(from).bind(to).fetch_all(c).await)
}

/// The orders that count, with their credit: `o` and `c`.
const CREDITED: &str = "FROM shop_order o JOIN credit c ON c.order_id = o.id AND c.view_through = $1
     WHERE o.flag IS NULL AND o.source <> 'page' AND o.placed_at >= $2 AND o.placed_at < $3";

pub(super) const fn amount_column(model: Model) -> &'static str {
    match model {
        Model::First => "first_minor",
        Model::Last => "last_minor",
        // The models that learn share out the same sum, by other weights.
        Model::Linear | Model::Markov | Model::Shapley | Model::ShapleyRate => "linear_minor",
        Model::TimeDecay => "time_decay_minor",
        Model::Position => "position_minor",
    }
}

/// Stored credit of one key and currency: orders on whose path it is, and what it earned by each model asked for.
#[derive(Clone, Debug)]
pub(super) struct GroupRow {
    pub key: String,
    pub currency: String,
    pub orders: i64,
    pub amounts_minor: Vec<i64>,
}

/// Stored credit in a span, grouped. With one model, only orders that gave it something count.
pub(super) async fn grouped(db: &Db, by: By, models: &[Model], scope: Scope) -> sqlx::Result<Vec<GroupRow>> {
    use std::fmt::Write as _;
    let mut sql = format!("SELECT {} AS key, o.currency, COUNT(DISTINCT o.id)", scope.within.key(by, "o.placed_at"));
    for model in models {
        let _ = write!(sql, ", CAST(SUM(c.{}) AS BIGINT)", amount_column(*model));
    }
    let _ = write!(sql, " {CREDITED}");
    if let [one] = models {
        let _ = write!(sql, " AND c.{} <> 0", amount_column(*one));
    }
    sql.push_str(" GROUP BY 1, o.currency");
    read!(*db, |c| {
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(scope.view_through).bind(scope.from).bind(scope.to).fetch_all(c).await?;
        rows.iter()
            .map(|r| {
                let amounts_minor = (0..models.len()).map(|i| r.try_get(3 + i)).collect::<sqlx::Result<Vec<i64>>>()?;
                Ok(GroupRow { key: r.try_get(0)?, currency: r.try_get(1)?, orders: r.try_get(2)?, amounts_minor })
            })
            .collect()
    })
}

const WITH_PATH: &str =
    "SELECT o.currency, COUNT(*) FROM shop_order o WHERE o.flag IS NULL AND o.source <> 'page' AND o.placed_at >= $2 AND o.placed_at < $3
     AND EXISTS (SELECT 1 FROM credit c WHERE c.order_id = o.id AND c.view_through = $1) GROUP BY o.currency";

/// Orders in a span that have a path, per currency.
pub(super) async fn credited_orders(db: &Db, scope: Scope) -> sqlx::Result<HashMap<String, i64>> {
    read!(*db, |c| {
        sqlx::query_as::<_, (String, i64)>(WITH_PATH).bind(scope.view_through).bind(scope.from).bind(scope.to).fetch_all(c).await
    })
    .map(|rows| rows.into_iter().collect())
}

/// Keys of a path in order, with `>` between them.
fn joined(dialect: Dialect, key: &str, order: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("group_concat({key}, '>' ORDER BY {order})"),
        Dialect::Postgres => format!("string_agg({key}, '>' ORDER BY {order})"),
    }
}

/// Orders that came by one path, in one currency.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct WayRow {
    pub path: String,
    pub currency: String,
    pub orders: i64,
    pub net_minor: i64,
}

/// Distinct paths of the orders in a span.
pub(super) async fn ways(db: &Db, by: By, scope: Scope) -> sqlx::Result<Vec<WayRow>> {
    let path = joined(db.dialect(), &scope.within.key(by, "o.placed_at"), "c.position");
    let sql = format!(
        "SELECT path, currency, COUNT(*) AS orders, CAST(SUM(net) AS BIGINT) AS net_minor FROM (
            SELECT o.id, MAX(o.currency) AS currency, MAX(o.total_minor - o.refunded_minor) AS net, {path} AS path {CREDITED} GROUP BY o.id
         ) p GROUP BY path, currency ORDER BY path, currency"
    );
    read!(*db, |c| {
        sqlx::query_as::<_, WayRow>(AssertSqlSafe(sql)).bind(scope.view_through).bind(scope.from).bind(scope.to).fetch_all(c).await
    })
}

/// Whole hours from the first (or last) contact of a path to the order, and how many orders took that long.
pub(super) async fn hours_to_order(db: &Db, scope: Scope, currency: &str, from_first: bool) -> sqlx::Result<Vec<(i64, i64)>> {
    let contact = if from_first { "MIN(c.earned_at)" } else { "MAX(c.earned_at)" };
    let sql = format!(
        "SELECT hours, COUNT(*) FROM (SELECT o.id, (MAX(o.placed_at) - {contact}) / 3600000000 AS hours {CREDITED} AND o.currency = $4 GROUP BY o.id) t
         GROUP BY hours ORDER BY hours"
    );
    read!(*db, |c| {
        sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql))
            .bind(scope.view_through)
            .bind(scope.from)
            .bind(scope.to)
            .bind(currency)
            .fetch_all(c)
            .await
    })
}

/// Names for ids.
pub(super) async fn names(db: &Db, sql: &'static str, ids: &[i64]) -> sqlx::Result<HashMap<i64, String>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(5_000) {
        let rows = read!(*db, |c| {
            let mut q = QueryBuilder::new(sql);
            q.push(" (");
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<(i64, String)>().persistent(false).fetch_all(c).await
        })?;
        found.extend(rows);
    }
    Ok(found)
}
