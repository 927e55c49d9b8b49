//! SQL of `webhook`, `webhook_outbox` and `webhook_attempt`.

use sqlx::types::Json;

use super::model::{Attempt, EventKind, Webhook};
use crate::platform::clock::Timestamp;
use crate::platform::ids::{OrderId, PersonId, TouchId};
use crate::platform::{Db, Tx};
use crate::{on, read};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    url: String,
    kinds: String,
    active: bool,
    failures: i64,
    failing_since: Option<Timestamp>,
    next_attempt_at: Timestamp,
    created_at: Timestamp,
}

impl From<Row> for Webhook {
    fn from(r: Row) -> Self {
        Self {
            id: r.id,
            name: r.name,
            url: r.url,
            // A kind that this version does not know is not told.
            kinds: r.kinds.split_whitespace().filter_map(|k| k.parse().ok()).collect(),
            active: r.active,
            failures: r.failures,
            failing_since: r.failing_since,
            next_attempt_at: r.next_attempt_at,
            created_at: r.created_at,
        }
    }
}

fn kinds_text(kinds: &[EventKind]) -> String {
    let mut text = String::from(" ");
    for kind in kinds {
        text.push_str(kind.as_str());
        text.push(' ');
    }
    text
}

macro_rules! columns {
    ($rest:literal) => {
        concat!("SELECT id, name, url, kinds, active, failures, failing_since, next_attempt_at, created_at FROM webhook ", $rest)
    };
}
const ALL: &str = columns!("ORDER BY id LIMIT 100");
const BY_ID: &str = columns!("WHERE id = $1");
const DUE: &str = columns!(
    "w WHERE active AND next_attempt_at <= $1 AND EXISTS (SELECT 1 FROM webhook_outbox o WHERE o.webhook_id = w.id) ORDER BY next_attempt_at, id"
);
const SECRET: &str = "SELECT secret FROM webhook WHERE id = $1";
const COUNT: &str = "SELECT COUNT(*) FROM webhook";
const INSERT: &str = "INSERT INTO webhook (name, url, secret, kinds, active, failures, next_attempt_at, created_at)
     VALUES ($1, $2, $3, $4, TRUE, 0, $5, $5) RETURNING id";
const SET_SECRET: &str = "UPDATE webhook SET secret = $2 WHERE id = $1";
const UPDATE: &str = "UPDATE webhook SET name = $2, url = $3, kinds = $4 WHERE id = $1";
const SET_ACTIVE: &str = "UPDATE webhook SET active = $2, failures = 0, failing_since = NULL, next_attempt_at = $3 WHERE id = $1";

pub(super) async fn all(db: &Db) -> sqlx::Result<Vec<Webhook>> {
    Ok(read!(*db, |c| sqlx::query_as::<_, Row>(ALL).fetch_all(c).await)?.into_iter().map(Webhook::from).collect())
}
pub(super) async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<Webhook>> {
    Ok(read!(*db, |c| sqlx::query_as::<_, Row>(BY_ID).bind(id).fetch_optional(c).await)?.map(Webhook::from))
}
/// Those that something waits for, and whose time has come.
pub(super) async fn due(db: &Db, now: Timestamp) -> sqlx::Result<Vec<Webhook>> {
    Ok(read!(*db, |c| sqlx::query_as::<_, Row>(DUE).bind(now).fetch_all(c).await)?.into_iter().map(Webhook::from).collect())
}
pub(super) async fn secret(db: &Db, id: i64) -> sqlx::Result<Option<Vec<u8>>> {
    read!(*db, |c| sqlx::query_scalar(SECRET).bind(id).fetch_optional(c).await)
}
pub(super) async fn count(tx: &mut Tx) -> sqlx::Result<i64> {
    on!(tx, |c| sqlx::query_scalar(COUNT).fetch_one(&mut *c).await)
}
/// Its secret is set right after, sealed for the id that it got.
pub(super) async fn insert(tx: &mut Tx, name: &str, url: &str, kinds: &[EventKind], now: Timestamp) -> sqlx::Result<i64> {
    let empty: &[u8] = &[];
    on!(tx, |c| sqlx::query_scalar(INSERT).bind(name).bind(url).bind(empty).bind(kinds_text(kinds)).bind(now).fetch_one(&mut *c).await)
}
pub(super) async fn set_secret(tx: &mut Tx, id: i64, sealed: &[u8]) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_SECRET).bind(id).bind(sealed).execute(&mut *c).await.map(|_| ()))
}
pub(super) async fn update(tx: &mut Tx, id: i64, name: &str, url: &str, kinds: &[EventKind]) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(id)
        .bind(name)
        .bind(url)
        .bind(kinds_text(kinds))
        .execute(&mut *c)
        .await
        .map(|r| r.rows_affected() == 1))
}
pub(super) async fn set_active(tx: &mut Tx, id: i64, active: bool, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(SET_ACTIVE).bind(id).bind(active).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

const FORGET: [&str; 3] = [
    "DELETE FROM webhook_outbox WHERE webhook_id = $1",
    "DELETE FROM webhook_attempt WHERE webhook_id = $1",
    "DELETE FROM webhook WHERE id = $1",
];
pub(super) async fn remove(tx: &mut Tx, id: i64) -> sqlx::Result<()> {
    for sql in FORGET {
        on!(&mut *tx, |c| sqlx::query(sql).bind(id).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const CLAIM: &str = "UPDATE webhook SET next_attempt_at = $3 WHERE id = $1 AND active AND next_attempt_at <= $2";
/// Takes the right to deliver until `until`; false where somebody else has it.
pub(super) async fn claim(tx: &mut Tx, id: i64, now: Timestamp, until: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(CLAIM).bind(id).bind(now).bind(until).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

/// Something that waits to be told.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Waiting {
    pub id: i64,
    pub kind: String,
    pub at: Timestamp,
    pub touch_id: Option<TouchId>,
    pub order_id: Option<OrderId>,
    pub person_id: Option<PersonId>,
    pub detail: Option<String>,
}

const NEXT: &str =
    "SELECT id, kind, at, touch_id, order_id, person_id, detail FROM webhook_outbox WHERE webhook_id = $1 ORDER BY id LIMIT $2";
const WAITING: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM webhook_outbox WHERE webhook_id = $1 LIMIT 10000) few";
const DONE_SQLITE: &str = "DELETE FROM webhook_outbox WHERE id IN (SELECT value FROM json_each($1))";
const DONE_POSTGRES: &str = "DELETE FROM webhook_outbox WHERE id = ANY($1)";
const OLD: &str = "DELETE FROM webhook_outbox WHERE webhook_id = $1 AND id IN
     (SELECT id FROM webhook_outbox WHERE webhook_id = $1 AND at < $2 ORDER BY id LIMIT 5000)";

pub(super) async fn next(db: &Db, webhook: i64, limit: i64) -> sqlx::Result<Vec<Waiting>> {
    read!(*db, |c| sqlx::query_as(NEXT).bind(webhook).bind(limit).fetch_all(c).await)
}
pub(super) async fn waiting(db: &Db, webhook: i64) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar(WAITING).bind(webhook).fetch_one(c).await)
}
pub(super) async fn done(tx: &mut Tx, ids: &[i64]) -> sqlx::Result<()> {
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(DONE_SQLITE).bind(Json(ids)).execute(&mut **tx).await.map(|_| ()),
        Tx::Postgres(tx) => sqlx::query(DONE_POSTGRES).bind(ids).execute(&mut **tx).await.map(|_| ()),
    }
}
/// Drops what is too old to be news. Returns how many rows.
pub(super) async fn drop_old(tx: &mut Tx, webhook: i64, before: Timestamp) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(OLD).bind(webhook).bind(before).execute(&mut *c).await.map(|r| r.rows_affected()))
}

const FORGET_PERSON: &str = "DELETE FROM webhook_outbox WHERE person_id = $1";

/// Of erased people nothing is told any more. The outbox is short: what was told is gone from it.
pub async fn forget_people(tx: &mut Tx, people: &[PersonId]) -> sqlx::Result<()> {
    for person in people {
        on!(&mut *tx, |c| sqlx::query(FORGET_PERSON).bind(*person).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const GOOD: &str = "UPDATE webhook SET failures = 0, failing_since = NULL, next_attempt_at = $2 WHERE id = $1";
const BAD: &str =
    "UPDATE webhook SET failures = failures + 1, failing_since = COALESCE(failing_since, $2), next_attempt_at = $3 WHERE id = $1";
pub(super) async fn succeeded(tx: &mut Tx, id: i64, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(GOOD).bind(id).bind(now).execute(&mut *c).await.map(|_| ()))
}
pub(super) async fn failed(tx: &mut Tx, id: i64, now: Timestamp, again: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(BAD).bind(id).bind(now).bind(again).execute(&mut *c).await.map(|_| ()))
}

const NOTE: &str =
    "INSERT INTO webhook_attempt (webhook_id, at, events, ok, status, took_us, error) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
const PRUNE: &str = "DELETE FROM webhook_attempt WHERE webhook_id = $1 AND id < $2 - 500";
const ATTEMPTS: &str = "SELECT id, at, events, ok, status, took_us, error FROM webhook_attempt WHERE webhook_id = $1 AND id < $2
     ORDER BY id DESC LIMIT $3";

pub(super) async fn note(tx: &mut Tx, webhook: i64, a: &Attempt) -> sqlx::Result<()> {
    let id: i64 = on!(&mut *tx, |c| sqlx::query_scalar(NOTE)
        .bind(webhook)
        .bind(a.at)
        .bind(a.events)
        .bind(a.ok)
        .bind(a.status)
        .bind(a.took_us)
        .bind(a.error.as_deref())
        .fetch_one(&mut *c)
        .await)?;
    on!(tx, |c| sqlx::query(PRUNE).bind(webhook).bind(id).execute(&mut *c).await.map(|_| ()))
}
pub(super) async fn attempts(db: &Db, webhook: i64, before: i64, limit: i64) -> sqlx::Result<Vec<Attempt>> {
    read!(*db, |c| sqlx::query_as(ATTEMPTS).bind(webhook).bind(before).bind(limit).fetch_all(c).await)
}
