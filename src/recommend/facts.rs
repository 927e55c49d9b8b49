//! SQL that reads what people did with products: order lines and product events, and who there is. Reads only: `events` and
//! `people` own these tables.

use sqlx::types::Json;

use super::history::{DAY_US, Kind};
use crate::platform::ids::PersonId;
use crate::platform::{Db, Timestamp};
use crate::read;

/// `(person, product, kind, at)`.
pub type Fact = (i64, i64, Kind, i64);

/// Product events that say something about liking, by their names in the Segment e-commerce spec.
const VIEWS: &str = "('Product Viewed', 'Product Clicked')";
const CARTS: &str = "('Product Added', 'Product Added to Wishlist', 'Product Reviewed', 'Product Shared')";

#[derive(sqlx::FromRow)]
struct FactRow {
    person_id: i64,
    product_id: i64,
    at: i64,
    strength: i64,
}
impl FactRow {
    fn fact(self) -> Fact {
        let kind = match self.strength {
            0 => Kind::View,
            1 => Kind::Cart,
            _ => Kind::Purchase,
        };
        (self.person_id, self.product_id, kind, self.at)
    }
}

// What only a page claims (source 'page', by a key that anybody can read) teaches nothing until the server confirms it.
const LINES: &str = "SELECT o.person_id AS person_id, l.product_id AS product_id, o.placed_at AS at, CAST(2 AS BIGINT) AS strength
     FROM shop_order o JOIN order_line l ON l.order_id = o.id
     WHERE o.person_id IS NOT NULL AND l.product_id IS NOT NULL AND l.quantity > l.cancelled_quantity AND o.flag IS NULL AND o.source <> 'page' AND o.placed_at < $1";

fn events_sql() -> String {
    format!(
        "SELECT person_id, product_id, occurred_at AS at, CAST(CASE WHEN name IN {CARTS} THEN 1 ELSE 0 END AS BIGINT) AS strength
         FROM event WHERE product_id IS NOT NULL AND occurred_at < $1 AND (name IN {VIEWS} OR name IN {CARTS})"
    )
}

/// Everything that everybody did before `as_of`.
pub(super) async fn all(db: &Db, as_of: Timestamp) -> sqlx::Result<Vec<Fact>> {
    let lines: Vec<FactRow> = read!(*db, |c| sqlx::query_as(LINES).bind(as_of).fetch_all(c).await)?;
    let events: Vec<FactRow> = read!(*db, |c| sqlx::query_as(sqlx::AssertSqlSafe(events_sql())).bind(as_of).fetch_all(c).await)?;
    Ok(lines.into_iter().chain(events).map(FactRow::fact).collect())
}

/// How many facts there are from `from` to `to`.
pub(super) async fn count_between(db: &Db, from: Timestamp, to: Timestamp) -> sqlx::Result<i64> {
    let lines = format!("SELECT COUNT(*) FROM ({LINES}) AS f WHERE f.at >= $2");
    let events = format!("SELECT COUNT(*) FROM ({}) AS f WHERE f.at >= $2", events_sql());
    let mut sum = 0;
    for sql in [lines, events] {
        sum += read!(*db, |c| sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql.as_str())).bind(to).bind(from).fetch_one(c).await)?;
    }
    Ok(sum)
}

/// Events older than this when they are received are followed by the next picks for everybody only.
const LATEST: i64 = DAY_US;
const NEWS: &str = "SELECT DISTINCT n.person_id FROM (
       SELECT person_id FROM event WHERE occurred_at >= $2 AND received_at >= $1 AND product_id IS NOT NULL
       UNION SELECT person_id FROM shop_order WHERE updated_at >= $1 AND person_id IS NOT NULL) AS n
     JOIN person p ON p.id = n.person_id WHERE p.erased_at IS NULL AND p.merged_into IS NULL ORDER BY n.person_id";

/// People about whom something was received since then, ascending.
pub(super) async fn people_with_news(db: &Db, since: Timestamp) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar(NEWS).bind(since).bind(since.plus_us(-LATEST)).fetch_all(c).await)
}

/// What these people did before `as_of`.
pub(super) async fn of(db: &Db, people: &[PersonId], as_of: Timestamp) -> sqlx::Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for (sql, column) in [(LINES.to_owned(), "o.person_id"), (events_sql(), "person_id")] {
        for part in people.chunks(2_000) {
            facts.extend(of_part::<FactRow>(db, &sql, column, part, as_of).await?.into_iter().map(FactRow::fact));
        }
    }
    Ok(facts)
}

async fn of_part<R>(db: &Db, sql: &str, column: &str, people: &[PersonId], bound: Timestamp) -> sqlx::Result<Vec<R>>
where
    R: Send + Unpin + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
{
    let ids: Vec<i64> = people.iter().map(|p| p.0).collect();
    match db {
        Db::Sqlite(s) => {
            let sql = format!("{sql} AND {column} IN (SELECT value FROM json_each($2))");
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(bound).bind(Json(ids)).fetch_all(&s.readers).await
        }
        Db::Postgres(p) => {
            let sql = format!("{sql} AND {column} = ANY ($2)");
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(bound).bind(ids).fetch_all(p).await
        }
    }
}

const PEOPLE: &str = "SELECT id FROM person WHERE id > $1 AND id <= $2 AND erased_at IS NULL AND merged_into IS NULL ORDER BY id LIMIT $3";
const PEOPLE_RANGE: &str = "SELECT COALESCE(MAX(id), 0), COUNT(*) FROM person WHERE erased_at IS NULL AND merged_into IS NULL";

/// People by id after `after`, up to `to`.
pub(super) async fn people(db: &Db, after: i64, to: i64, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar(PEOPLE).bind(after).bind(to).bind(limit).fetch_all(c).await)
}

/// Largest id and number of people.
pub(super) async fn people_range(db: &Db) -> sqlx::Result<(i64, i64)> {
    read!(*db, |c| sqlx::query_as(PEOPLE_RANGE).fetch_one(c).await)
}
