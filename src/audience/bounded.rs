//! Counts that stop in time: what a page asks while somebody edits a rule. The database gives up, not only the page.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::Semaphore;

use crate::platform::clock::Timestamp;
use crate::platform::db::Db;

use super::compile::{Compiled, Resolved};
use super::resolve::resolve;
use super::rule::{Bucket, Rule};
use super::service::{AudienceError, Overlap};
use super::sql::Bind;
use super::store;

/// Questions of this kind that run at once, so that typing never keeps jobs and pages from the database.
static ASKING: Semaphore = Semaphore::const_new(3);
/// SQLite looks at the clock after so many of its instructions: well under a millisecond.
const STEPS: i32 = 4_000;
/// An estimate looks at one person in 50.
const SHARE: i64 = 50;

/// What a limited count found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Exactly(i64),
    /// Estimated from a stable random 2 % of all people.
    About(i64),
    /// Not even the estimate came in time.
    TooLong,
}

/// How many people a rule holds for at a moment, answered within twice `limit`.
pub async fn count_within(db: &Db, rule: &Rule, as_of: Timestamp, limit: Duration) -> Result<Counted, AudienceError> {
    let resolved = resolve(db, rule).await?;
    if let Some(found) = numbers::<1>(db, store::count_text(&resolved.compile(db.dialect(), as_of)), limit).await? {
        return Ok(Counted::Exactly(found[0]));
    }
    let part = Rule::Bucket(Bucket { from: 0, to: super::rule::BUCKETS / SHARE });
    let some = Resolved(Rule::All { of: vec![part, resolved.0] }).compile(db.dialect(), as_of);
    Ok(numbers::<1>(db, store::count_text(&some), limit).await?.map_or(Counted::TooLong, |found| Counted::About(found[0] * SHARE)))
}

/// As [`super::overlap`]; `None` where it took longer than `limit`.
pub async fn overlap_within(
    db: &Db,
    first: &Rule,
    second: &Rule,
    as_of: Timestamp,
    limit: Duration,
) -> Result<Option<Overlap>, AudienceError> {
    let first = resolve(db, first).await?.compile(db.dialect(), as_of);
    let second = resolve(db, second).await?.compile(db.dialect(), as_of);
    let found = numbers::<3>(db, store::overlap_text(&first, &second), limit).await?;
    Ok(found.map(|[first_only, second_only, both]| Overlap { first_only, second_only, both }))
}

/// The first row of a question with `N` whole numbers; `None` where the database did not answer in time.
async fn numbers<const N: usize>(db: &Db, question: Compiled, limit: Duration) -> sqlx::Result<Option<[i64; N]>> {
    let Ok(Ok(turn)) = tokio::time::timeout(limit, ASKING.acquire()).await else { return Ok(None) };
    let db = db.clone();
    // A task of its own: a reader who leaves must not leave a connection behind whose clock has run out.
    let asked = tokio::spawn(async move { ask::<N>(&db, question, limit).await });
    let answer = asked.await.unwrap_or_else(|e| Err(sqlx::Error::Io(std::io::Error::other(e))));
    drop(turn);
    answer
}

macro_rules! bound {
    ($question:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($question.condition)).persistent(false);
        for bind in $question.binds {
            query = match bind {
                Bind::Int(v) => query.bind(v),
                Bind::Real(v) => query.bind(v),
                Bind::Text(v) => query.bind(v),
            };
        }
        query
    }};
}

macro_rules! figures {
    ($row:expr) => {{
        let mut out = [0; N];
        for (at, figure) in out.iter_mut().enumerate() {
            *figure = $row.try_get::<i64, _>(at)?;
        }
        Ok(Some(out))
    }};
}

async fn ask<const N: usize>(db: &Db, question: Compiled, limit: Duration) -> sqlx::Result<Option<[i64; N]>> {
    match db {
        Db::Sqlite(sqlite) => {
            let mut c = sqlite.readers.acquire().await?;
            let until = Instant::now() + limit;
            c.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < until);
            let row = bound!(question).fetch_one(&mut *c).await;
            c.lock_handle().await?.remove_progress_handler();
            match row {
                Ok(row) => figures!(row),
                // SQLITE_INTERRUPT
                Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("9") => Ok(None),
                Err(e) => Err(e),
            }
        }
        Db::Postgres(pool) => {
            let mut tx = pool.begin().await?;
            let timeout = format!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
            sqlx::query(AssertSqlSafe(timeout)).execute(&mut *tx).await?;
            match bound!(question).fetch_one(&mut *tx).await {
                Ok(row) => figures!(row),
                // query_canceled
                Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("57014") => Ok(None),
                Err(e) => Err(e),
            }
        }
    }
}
