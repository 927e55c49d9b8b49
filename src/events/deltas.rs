//! What changed in events, as signed counts by person and quarter of an hour that triggers write down (migration 0065); whoever adds visits up
//! takes them from here.

use sqlx::AssertSqlSafe;

use crate::on;
use crate::platform::db::{Dialect, Tx};
use crate::platform::ids::PersonId;

/// A difference: so many events more (or less) than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Delta {
    pub person_id: PersonId,
    /// When they happened, in quarters of an hour since 1970.
    pub quarter: i64,
    pub events: i64,
}

// The rows that this transaction deletes are the rows that it gets, so that each difference is taken once.
const TAKE: &str =
    "DELETE FROM event_delta WHERE id IN (SELECT id FROM event_delta ORDER BY id LIMIT $1) RETURNING person_id, quarter, events";

/// Takes up to `limit` differences, the oldest first; they are gone once the transaction commits.
pub async fn take(tx: &mut Tx, limit: i64) -> sqlx::Result<Vec<Delta>> {
    on!(tx, |c| sqlx::query_as::<_, Delta>(TAKE).bind(limit).fetch_all(&mut *c).await)
}

const WAITING: &str = "SELECT person_id, quarter, events FROM event_delta ORDER BY id LIMIT $1";

/// What waits, at most `limit`, and stays.
pub async fn waiting(tx: &mut Tx, limit: i64) -> sqlx::Result<Vec<Delta>> {
    on!(tx, |c| sqlx::query_as::<_, Delta>(WAITING).bind(limit).fetch_all(&mut *c).await)
}

const NEWEST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'event_delta'";

/// SQLite: the number of the newest difference that this transaction sees; later ones have higher numbers. On Postgres numbers do not follow
/// commits: 0.
pub async fn newest(tx: &mut Tx) -> sqlx::Result<i64> {
    match tx.dialect() {
        Dialect::Sqlite => Ok(on!(tx, |c| sqlx::query_scalar(NEWEST).fetch_optional(&mut *c).await)?.unwrap_or(0)),
        Dialect::Postgres => Ok(0),
    }
}

const PAGE: &str = "SELECT id, person_id FROM event_delta WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";

/// Numbers of differences between two, and whose they are.
pub async fn page(tx: &mut Tx, after: i64, through: i64, limit: i64) -> sqlx::Result<Vec<(i64, i64)>> {
    on!(tx, |c| sqlx::query_as(PAGE).bind(after).bind(through).bind(limit).fetch_all(&mut *c).await)
}

/// Drops differences by their numbers: whoever calls this has what they say in their sums already.
pub async fn remove(tx: &mut Tx, ids: &[i64]) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("DELETE FROM event_delta WHERE id IN ({list})");
    on!(tx, |c| sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *c).await.map(|_| ()))
}

const DROP: &str = "DELETE FROM event_delta WHERE person_id >= $1 AND person_id < $2";

/// Drops what waits of these people: whoever calls this adds all their events up in the same transaction.
pub async fn forget(tx: &mut Tx, people: std::ops::Range<i64>) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(DROP).bind(people.start).bind(people.end).execute(&mut *c).await.map(|_| ()))
}
