//! SQL of `event` and `event_message`.

use std::collections::HashSet;

use serde::Serialize;
use uuid::Uuid;

use super::model::{Event, NewEvent};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::{EventId, PersonId};
use crate::{on, read};

/// Rows as one JSON parameter.
pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> sqlx::Result<String> {
    serde_json::to_string(rows).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

pub(super) fn pick(dialect: Dialect, sqlite: &'static str, postgres: &'static str) -> &'static str {
    match dialect {
        Dialect::Sqlite => sqlite,
        Dialect::Postgres => postgres,
    }
}

#[derive(Serialize)]
struct Row<'a> {
    id: uuid::fmt::Simple,
    person_id: i64,
    kind: &'a str,
    name: &'a str,
    product_id: Option<i64>,
    occurred_at: i64,
    received_at: i64,
    properties: &'a serde_json::Map<String, serde_json::Value>,
}

const INSERT_SQLITE: &str = "INSERT INTO event (id, person_id, kind, name, product_id, occurred_at, received_at, properties)
     SELECT unhex(value ->> 'id'), value ->> 'person_id', value ->> 'kind', value ->> 'name', value ->> 'product_id',
       value ->> 'occurred_at', value ->> 'received_at', value -> 'properties'
     FROM json_each($1) WHERE true ON CONFLICT (id) DO NOTHING";
const INSERT_POSTGRES: &str = "INSERT INTO event (id, person_id, kind, name, product_id, occurred_at, received_at, properties)
     SELECT id, person_id, kind, name, product_id, occurred_at, received_at, properties
     FROM json_to_recordset($1::json) AS d(id uuid, person_id bigint, kind text, name text, product_id bigint, occurred_at bigint,
       received_at bigint, properties jsonb) ON CONFLICT (id) DO NOTHING";

/// Stores facts; those whose id is there already are left out. Returns how many were new.
pub async fn insert_many(tx: &mut Tx, events: &[NewEvent]) -> sqlx::Result<u64> {
    let mut inserted = 0;
    for part in events.chunks(1000) {
        let rows: Vec<Row> = part
            .iter()
            .map(|e| Row {
                id: e.id.0.simple(),
                person_id: e.person_id.0,
                kind: e.kind,
                name: &e.name,
                product_id: e.product_id.map(|p| p.0),
                occurred_at: e.occurred_at.0,
                received_at: e.received_at.0,
                properties: &e.properties,
            })
            .collect();
        let sql = pick(tx.dialect(), INSERT_SQLITE, INSERT_POSTGRES);
        let rows = json(&rows)?;
        inserted += on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|r| r.rows_affected()))?;
    }
    Ok(inserted)
}

const KEYS_SQLITE: &str = "INSERT INTO event_message (message_key, received_at) SELECT unhex(value), $2 FROM json_each($1) WHERE true
     ON CONFLICT (message_key) DO NOTHING RETURNING message_key";
const KEYS_POSTGRES: &str =
    "INSERT INTO event_message (message_key, received_at) SELECT value::uuid, $2 FROM json_array_elements_text($1::json)
     ON CONFLICT (message_key) DO NOTHING RETURNING message_key";

/// Takes message keys; returns those that nobody had taken. Sorted, so that two writers wait for each other in one order.
pub(super) async fn take_keys(tx: &mut Tx, keys: &[Uuid], now: Timestamp) -> sqlx::Result<HashSet<Uuid>> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut taken = HashSet::with_capacity(sorted.len());
    for part in sorted.chunks(2000) {
        let sql = pick(tx.dialect(), KEYS_SQLITE, KEYS_POSTGRES);
        let rows = json(&part.iter().map(|k| k.simple()).collect::<Vec<_>>())?;
        let fresh: Vec<Uuid> = on!(tx, |c| sqlx::query_scalar(sql).bind(rows.as_str()).bind(now).fetch_all(&mut *c).await)?;
        taken.extend(fresh);
    }
    Ok(taken)
}

const DROP_KEYS: &str = "DELETE FROM event_message WHERE message_key IN
     (SELECT message_key FROM event_message WHERE received_at < $1 ORDER BY received_at LIMIT $2)";

pub(super) async fn drop_keys(tx: &mut Tx, before: Timestamp, limit: i64) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(DROP_KEYS).bind(before).bind(limit).execute(&mut *c).await.map(|r| r.rows_affected()))
}

const TIMELINE: &str = "SELECT * FROM event WHERE person_id = $1 AND (occurred_at < $2 OR (occurred_at = $2 AND id < $3))
     ORDER BY occurred_at DESC, id DESC LIMIT $4";
const COUNT: &str = "SELECT COUNT(*) FROM event";

/// A person's events, newest first. For the next page pass the last one's time and id; for the first `None`.
pub async fn timeline(db: &Db, person: PersonId, before: Option<(Timestamp, EventId)>, limit: i64) -> sqlx::Result<Vec<Event>> {
    let (at, id) = before.unwrap_or((Timestamp(i64::MAX), EventId(Uuid::nil())));
    read!(*db, |c| sqlx::query_as::<_, Event>(TIMELINE).bind(person).bind(at).bind(id).bind(limit).fetch_all(c).await)
}

pub async fn count(db: &Db) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(COUNT).fetch_one(c).await)
}

const MOVE: &str = "UPDATE event SET person_id = $2 WHERE person_id = $1";
const BLANK: &str = "UPDATE event SET properties = '{}' WHERE person_id = $1";

/// A merged profile's events become the survivor's.
pub(super) async fn move_person(tx: &mut Tx, from: PersonId, into: PersonId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(MOVE).bind(from).bind(into).execute(&mut *c).await.map(|_| ()))
}

/// An erased person's events keep what happened and when, and nothing else.
pub(super) async fn blank_person(tx: &mut Tx, person: PersonId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(BLANK).bind(person).execute(&mut *c).await.map(|_| ()))
}
