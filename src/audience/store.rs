//! SQL of `segment`, `segment_snapshot` and `segment_member`, and the questions asked of `person` by a compiled rule.

use sqlx::AssertSqlSafe;
use sqlx::types::Json;

use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{PersonId, SegmentId, SnapshotId};
use crate::{on, read};

use super::compile::Compiled;
use super::sql::Bind;

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct SegmentRow {
    pub id: SegmentId,
    pub key: String,
    pub name: String,
    pub rule: Json<serde_json::Value>,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct SnapshotRow {
    pub id: SnapshotId,
    pub segment_id: SegmentId,
    pub rule_version: i64,
    pub taken_at: Timestamp,
    pub status: String,
    pub size: i64,
    pub cursor_person_id: PersonId,
}

macro_rules! segment_columns {
    ($rest:literal) => {
        concat!("SELECT id, key, name, rule, version, created_at, updated_at FROM segment ", $rest)
    };
}
macro_rules! snapshot_columns {
    ($rest:literal) => {
        concat!("SELECT id, segment_id, rule_version, taken_at, status, size, cursor_person_id FROM segment_snapshot ", $rest)
    };
}

const BY_ID: &str = segment_columns!("WHERE id = $1");
const BY_KEY: &str = segment_columns!("WHERE key = $1");
const PAGE: &str = segment_columns!("WHERE id > $1 ORDER BY id LIMIT $2");
const INSERT: &str = "INSERT INTO segment (key, name, rule, version, created_at, updated_at) VALUES ($1, $2, $3, 1, $4, $4) RETURNING id";
const UPDATE: &str = "UPDATE segment SET name = $2, rule = $3, version = version + $4, updated_at = $5 WHERE id = $1";
const DELETE_MEMBERS: &str = "DELETE FROM segment_member WHERE snapshot_id IN (SELECT id FROM segment_snapshot WHERE segment_id = $1)";
const DELETE_SNAPSHOTS: &str = "DELETE FROM segment_snapshot WHERE segment_id = $1";
const DELETE: &str = "DELETE FROM segment WHERE id = $1";

pub(super) async fn by_id(db: &Db, id: SegmentId) -> sqlx::Result<Option<SegmentRow>> {
    read!(*db, |c| sqlx::query_as::<_, SegmentRow>(BY_ID).bind(id).fetch_optional(c).await)
}
pub(super) async fn by_key(db: &Db, key: &str) -> sqlx::Result<Option<SegmentRow>> {
    read!(*db, |c| sqlx::query_as::<_, SegmentRow>(BY_KEY).bind(key).fetch_optional(c).await)
}
pub(super) async fn page(db: &Db, after: SegmentId, limit: i64) -> sqlx::Result<Vec<SegmentRow>> {
    read!(*db, |c| sqlx::query_as::<_, SegmentRow>(PAGE).bind(after).bind(limit).fetch_all(c).await)
}
const LAST_PERSON: &str = "SELECT COALESCE(MAX(id), 0) FROM person";
/// The highest id of a person.
pub(super) async fn last_person(db: &Db) -> sqlx::Result<PersonId> {
    read!(*db, |c| sqlx::query_scalar(LAST_PERSON).fetch_one(c).await)
}
/// Names by id.
pub(super) async fn names_of(db: &Db, ids: &[SegmentId]) -> sqlx::Result<std::collections::HashMap<SegmentId, String>> {
    let rows: Vec<(SegmentId, String)> = read!(*db, |c| {
        let mut q = sqlx::QueryBuilder::new("SELECT id, name FROM segment WHERE id IN (");
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        q.push(")");
        q.build_query_as::<(SegmentId, String)>().persistent(false).fetch_all(c).await
    })?;
    Ok(rows.into_iter().collect())
}
pub(super) async fn insert(tx: &mut Tx, key: &str, name: &str, rule: &serde_json::Value, now: Timestamp) -> sqlx::Result<SegmentId> {
    on!(tx, |c| sqlx::query_scalar::<_, SegmentId>(INSERT).bind(key).bind(name).bind(Json(rule)).bind(now).fetch_one(&mut *c).await)
}
pub(super) async fn update(
    tx: &mut Tx,
    id: SegmentId,
    name: &str,
    rule: &serde_json::Value,
    step: i64,
    now: Timestamp,
) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(UPDATE).bind(id).bind(name).bind(Json(rule)).bind(step).bind(now).execute(&mut *c).await.map(|_| ()))
}
/// Removes what is left of a segment whose members were dropped before (a few rows at most).
pub(super) async fn delete(tx: &mut Tx, id: SegmentId) -> sqlx::Result<bool> {
    on!(tx, |c| {
        sqlx::query(DELETE_MEMBERS).bind(id).execute(&mut *c).await?;
        sqlx::query(DELETE_SNAPSHOTS).bind(id).execute(&mut *c).await?;
        sqlx::query(DELETE).bind(id).execute(&mut *c).await.map(|r| r.rows_affected() == 1)
    })
}

// A foreign key guards this; asked first, because members go in pieces before the segment itself does.
const CAMPAIGNS: &str = "SELECT name FROM campaign WHERE segment_id = $1 ORDER BY id LIMIT 5";

/// Names of campaigns that use a segment.
pub(super) async fn campaigns(db: &Db, id: SegmentId) -> sqlx::Result<Vec<String>> {
    read!(*db, |c| sqlx::query_scalar::<_, String>(CAMPAIGNS).bind(id).fetch_all(c).await)
}

const SNAPSHOT: &str = snapshot_columns!("WHERE id = $1");
const BUILDING: &str =
    snapshot_columns!("WHERE segment_id = $1 AND rule_version = $2 AND taken_at = $3 AND status = 'building' ORDER BY id LIMIT 1");
const LATEST: &str = snapshot_columns!("WHERE segment_id = $1 AND status = 'complete' ORDER BY taken_at DESC, id DESC LIMIT 1");
const COMPLETE: &str = snapshot_columns!("WHERE segment_id = $1 AND status = 'complete' ORDER BY taken_at DESC, id DESC");
const ALL_OF: &str = snapshot_columns!("WHERE segment_id = $1 ORDER BY id");
const SIZES: &str = "SELECT taken_at, size FROM segment_snapshot WHERE segment_id = $1 AND status IN ('complete', 'expired') ORDER BY taken_at DESC LIMIT $2";
const START: &str = "INSERT INTO segment_snapshot (segment_id, rule_version, taken_at, status, size, created_at)
     VALUES ($1, $2, $3, 'building', 0, $4) RETURNING id";
const ADVANCE: &str =
    "UPDATE segment_snapshot SET size = size + $2, cursor_person_id = $3 WHERE id = $1 AND status = 'building' AND cursor_person_id = $4";
const FINISH: &str = "UPDATE segment_snapshot SET status = 'complete', finished_at = $2 WHERE id = $1 AND status = 'building'";
const EXPIRE: &str = "UPDATE segment_snapshot SET status = 'expired' WHERE id = $1";
const MEMBERS: &str = "SELECT person_id FROM segment_member WHERE snapshot_id = $1 AND person_id > $2 ORDER BY person_id LIMIT $3";
const DROP_SOME: &str = "DELETE FROM segment_member WHERE snapshot_id = $1 AND person_id <=
     (SELECT MAX(person_id) FROM (SELECT person_id FROM segment_member WHERE snapshot_id = $1 ORDER BY person_id LIMIT $2) piece)";

pub(super) async fn snapshot(db: &Db, id: SnapshotId) -> sqlx::Result<Option<SnapshotRow>> {
    read!(*db, |c| sqlx::query_as::<_, SnapshotRow>(SNAPSHOT).bind(id).fetch_optional(c).await)
}
pub(super) async fn latest(db: &Db, segment: SegmentId) -> sqlx::Result<Option<SnapshotRow>> {
    read!(*db, |c| sqlx::query_as::<_, SnapshotRow>(LATEST).bind(segment).fetch_optional(c).await)
}
pub(super) async fn complete(db: &Db, segment: SegmentId) -> sqlx::Result<Vec<SnapshotRow>> {
    read!(*db, |c| sqlx::query_as::<_, SnapshotRow>(COMPLETE).bind(segment).fetch_all(c).await)
}
pub(super) async fn all_of(db: &Db, segment: SegmentId) -> sqlx::Result<Vec<SnapshotRow>> {
    read!(*db, |c| sqlx::query_as::<_, SnapshotRow>(ALL_OF).bind(segment).fetch_all(c).await)
}
pub(super) async fn sizes(db: &Db, segment: SegmentId, limit: i64) -> sqlx::Result<Vec<(Timestamp, i64)>> {
    read!(*db, |c| sqlx::query_as::<_, (Timestamp, i64)>(SIZES).bind(segment).bind(limit).fetch_all(c).await)
}
/// Starts a snapshot, or finds the unfinished one of the same rule and moment.
pub(super) async fn start(tx: &mut Tx, segment: SegmentId, version: i64, as_of: Timestamp, now: Timestamp) -> sqlx::Result<SnapshotRow> {
    on!(tx, |c| {
        let found = sqlx::query_as::<_, SnapshotRow>(BUILDING).bind(segment).bind(version).bind(as_of).fetch_optional(&mut *c).await?;
        if let Some(row) = found {
            return Ok(row);
        }
        let id = sqlx::query_scalar::<_, SnapshotId>(START).bind(segment).bind(version).bind(as_of).bind(now).fetch_one(&mut *c).await?;
        sqlx::query_as::<_, SnapshotRow>(SNAPSHOT).bind(id).fetch_one(&mut *c).await
    })
}
const AMONG_SQLITE: &str = "SELECT COUNT(*) FROM segment_member WHERE snapshot_id = $1 AND person_id IN (SELECT value FROM json_each($2))";
const AMONG_POSTGRES: &str = "SELECT COUNT(*) FROM segment_member WHERE snapshot_id = $1 AND person_id = ANY($2)";

/// How many of these people are in a snapshot: one look into the key for each.
pub(super) async fn members_among(db: &Db, snapshot: SnapshotId, people: &[i64]) -> sqlx::Result<i64> {
    match db {
        Db::Sqlite(s) => sqlx::query_scalar(AMONG_SQLITE).bind(snapshot).bind(Json(people)).fetch_one(&s.readers).await,
        Db::Postgres(p) => sqlx::query_scalar(AMONG_POSTGRES).bind(snapshot).bind(people).fetch_one(p).await,
    }
}
const FORGET: &str = "DELETE FROM segment_member WHERE person_id = $1 AND snapshot_id IN (SELECT id FROM segment_snapshot)";

/// Takes erased people out of every snapshot: being in one tells what they did. The sizes stay.
pub async fn forget_people(tx: &mut Tx, people: &[PersonId]) -> sqlx::Result<()> {
    for person in people {
        on!(&mut *tx, |c| sqlx::query(FORGET).bind(*person).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

/// Adds members and moves the cursor, in one transaction. False where somebody else has moved it since.
pub(super) async fn add(tx: &mut Tx, id: SnapshotId, from: PersonId, people: &[PersonId], to: PersonId) -> sqlx::Result<bool> {
    let ids: Vec<i64> = people.iter().map(|p| p.0).collect();
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let moved = on!(&mut *tx, |c| {
        sqlx::query(ADVANCE).bind(id).bind(count).bind(to).bind(from).execute(&mut *c).await.map(|r| r.rows_affected() == 1)
    })?;
    if !moved || ids.is_empty() {
        return Ok(moved);
    }
    match tx {
        Tx::Sqlite { tx, .. } => {
            const INSERT: &str = "INSERT INTO segment_member (snapshot_id, person_id) SELECT $1, value FROM json_each($2)";
            sqlx::query(INSERT).bind(id).bind(Json(ids)).execute(&mut **tx).await?;
        }
        Tx::Postgres(tx) => {
            const INSERT: &str = "INSERT INTO segment_member (snapshot_id, person_id) SELECT $1, UNNEST($2::BIGINT[])";
            sqlx::query(INSERT).bind(id).bind(ids).execute(&mut **tx).await?;
        }
    }
    Ok(true)
}
pub(super) async fn finish(tx: &mut Tx, id: SnapshotId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(FINISH).bind(id).bind(now).execute(&mut *c).await.map(|_| ()))
}
pub(super) async fn expire(tx: &mut Tx, id: SnapshotId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(EXPIRE).bind(id).execute(&mut *c).await.map(|_| ()))
}
pub(super) async fn members(db: &Db, id: SnapshotId, after: PersonId, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar::<_, PersonId>(MEMBERS).bind(id).bind(after).bind(limit).fetch_all(c).await)
}
pub(super) async fn drop_some(tx: &mut Tx, id: SnapshotId, limit: i64) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(DROP_SOME).bind(id).bind(limit).execute(&mut *c).await.map(|r| r.rows_affected()))
}

/// Binds a compiled rule's values, then runs `$fetch`. A macro, because the query's type differs per engine.
macro_rules! ask {
    ($db:expr, $out:ty, $text:expr, $binds:expr) => {{
        let text: String = $text;
        read!(*$db, |c| {
            let mut query = sqlx::query_as::<_, $out>(AssertSqlSafe(text));
            for bind in $binds {
                query = match bind {
                    Bind::Int(v) => query.bind(*v),
                    Bind::Real(v) => query.bind(*v),
                    Bind::Text(v) => query.bind(v.as_str()),
                };
            }
            query.fetch_all(c).await
        })
    }};
}

/// Matching people with ids above `after`, in order.
pub(super) async fn matching(db: &Db, rule: &Compiled, after: PersonId, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    let text = format!("SELECT p.id FROM person p WHERE p.id > {} AND {} ORDER BY p.id LIMIT {limit}", after.0, rule.condition);
    let rows: Vec<(PersonId,)> = ask!(db, (PersonId,), text, &rule.binds)?;
    Ok(rows.into_iter().map(|r| r.0).collect())
}

/// The question how many living people match.
pub(super) fn count_text(rule: &Compiled) -> Compiled {
    Compiled { condition: format!("SELECT COUNT(*) FROM person p WHERE {}", rule.condition), binds: rule.binds.clone() }
}

/// How many living people match.
pub(super) async fn count(db: &Db, rule: &Compiled) -> sqlx::Result<i64> {
    let question = count_text(rule);
    let rows: Vec<(i64,)> = ask!(db, (i64,), question.condition, &question.binds)?;
    Ok(rows.first().map_or(0, |r| r.0))
}

/// The question which of two rules hold for how many people: first only, second only, both.
pub(super) fn overlap_text(first: &Compiled, second: &Compiled) -> Compiled {
    let binds: Vec<Bind> = first.binds.iter().chain(&second.binds).cloned().collect();
    let moved = shift(&second.condition, first.binds.len());
    let text = format!(
        "SELECT COUNT(CASE WHEN a AND NOT b THEN 1 END), COUNT(CASE WHEN b AND NOT a THEN 1 END), COUNT(CASE WHEN a AND b THEN 1 END)
         FROM (SELECT ({}) AS a, ({moved}) AS b FROM person p) q",
        first.condition
    );
    Compiled { condition: text, binds }
}

/// Which of two rules hold for how many people: (first only, second only, both).
pub(super) async fn overlap(db: &Db, first: &Compiled, second: &Compiled) -> sqlx::Result<(i64, i64, i64)> {
    let question = overlap_text(first, second);
    let rows: Vec<(i64, i64, i64)> = ask!(db, (i64, i64, i64), question.condition, &question.binds)?;
    Ok(rows.first().copied().unwrap_or_default())
}

/// `$1` becomes `$1+by`. A condition holds no `$` but those of its binds: texts are bound, and regular expressions end in `$'`.
fn shift(condition: &str, by: usize) -> String {
    let mut out = String::with_capacity(condition.len() + 16);
    let mut rest = condition;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Ok(n) = rest[..digits].parse::<usize>() {
            out.push_str(&(n + by).to_string());
            rest = &rest[digits..];
        }
    }
    out.push_str(rest);
    out
}

/// A stable random sample of matching people.
pub(super) async fn sample(db: &Db, rule: &Compiled, limit: i64) -> sqlx::Result<Vec<SampleRow>> {
    // A multiplicative hash of the id: the same people for the same rule, yet not only the oldest.
    let text = format!(
        "SELECT p.id, p.external_id, p.email, p.first_name, p.last_name, p.country, p.last_seen_at FROM person p WHERE {}
         ORDER BY (p.id * 7919) % 10007, p.id LIMIT {limit}",
        rule.condition
    );
    ask!(db, SampleRow, text, &rule.binds)
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct SampleRow {
    pub id: PersonId,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub country: Option<String>,
    pub last_seen_at: Timestamp,
}

#[cfg(test)]
mod tests {
    #[test]
    fn binds_move_and_regular_expressions_stay() {
        assert_eq!(super::shift("a = $1 AND t ~ 'x$' AND b = $12", 3), "a = $4 AND t ~ 'x$' AND b = $15");
    }
}
