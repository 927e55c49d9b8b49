//! SQL of `import_file` and `import_chunk`.

use serde_json::Value;
use sqlx::types::Json;

use super::desk::{ImportFile, Status};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{ImportId, JobRunId};
use crate::{on, read};

const COLUMNS: &str = "id, kind, name, bytes, status, options, report, error, run_id, created_by, created_at, updated_at";
const INSERT: &str = "INSERT INTO import_file (kind, name, bytes, status, options, created_by, created_at, updated_at)
     VALUES ($1, $2, 0, 'uploading', $3, $4, $5, $5) RETURNING id";
const APPEND: &str = "INSERT INTO import_chunk (file_id, part, seq, bytes) VALUES ($1, $2, $3, $4)";
const CHUNK: &str = "SELECT bytes FROM import_chunk WHERE file_id = $1 AND part = $2 AND seq = $3";
const DROP_PART: &str = "DELETE FROM import_chunk WHERE file_id = $1 AND part = $2 AND seq >= $3 AND seq < $4";
const PARTS: &str = "SELECT COALESCE(MAX(seq) + 1, 0) FROM import_chunk WHERE file_id = $1 AND part = $2";
const UPLOADED: &str = "UPDATE import_file SET status = 'uploaded', bytes = $2, updated_at = $3 WHERE id = $1 AND status = 'uploading'";
const START: &str = "UPDATE import_file SET status = 'queued', options = $2, error = NULL, updated_at = $3
     WHERE id = $1 AND status IN ('uploaded', 'failed')";
const RUNNING: &str =
    "UPDATE import_file SET status = 'running', run_id = $2, updated_at = $3 WHERE id = $1 AND status IN ('queued', 'running', 'failed')";
const FINISH: &str = "UPDATE import_file SET status = $2, report = $3, error = $4, updated_at = $5 WHERE id = $1";
const DELETE: &str = "DELETE FROM import_file WHERE id = $1";
const STALE: &str = "SELECT id FROM import_file WHERE status = $1 AND updated_at < $2 ORDER BY updated_at LIMIT 100";

fn columns(rest: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM import_file {rest}"))
}

pub(super) async fn insert(tx: &mut Tx, kind: &str, name: &str, by: &str, now: Timestamp) -> sqlx::Result<ImportId> {
    let empty = Json(Value::Object(serde_json::Map::new()));
    on!(tx, |c| sqlx::query_scalar::<_, ImportId>(INSERT).bind(kind).bind(name).bind(&empty).bind(by).bind(now).fetch_one(&mut *c).await)
}

pub(super) async fn append(tx: &mut Tx, id: ImportId, part: &str, seq: i64, bytes: &[u8]) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(APPEND).bind(id).bind(part).bind(seq).bind(bytes).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn uploaded(tx: &mut Tx, id: ImportId, bytes: i64, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(UPLOADED).bind(id).bind(bytes).bind(now).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn get(db: &Db, id: ImportId) -> sqlx::Result<Option<ImportFile>> {
    read!(*db, |c| sqlx::query_as::<_, ImportFile>(columns("WHERE id = $1")).bind(id).fetch_optional(c).await)
}

pub(super) async fn page(db: &Db, before: ImportId, limit: i64) -> sqlx::Result<Vec<ImportFile>> {
    read!(*db, |c| {
        let query = sqlx::query_as::<_, ImportFile>(columns("WHERE id < $1 AND status <> 'uploading' ORDER BY id DESC LIMIT $2"));
        query.bind(before).bind(limit).fetch_all(c).await
    })
}

pub(super) async fn chunk(db: &Db, id: ImportId, part: &str, seq: i64) -> sqlx::Result<Option<Vec<u8>>> {
    read!(*db, |c| sqlx::query_scalar::<_, Vec<u8>>(CHUNK).bind(id).bind(part).bind(seq).fetch_optional(c).await)
}

/// How many pieces a part has.
pub(super) async fn pieces(db: &Db, id: ImportId, part: &str) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(PARTS).bind(id).bind(part).fetch_one(c).await)
}

pub(super) async fn drop_pieces(tx: &mut Tx, id: ImportId, part: &str, from: i64, to: i64) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(DROP_PART).bind(id).bind(part).bind(from).bind(to).execute(&mut *c).await.map(|_| ()))
}

/// False where it is in another state by now.
pub(super) async fn start(tx: &mut Tx, id: ImportId, options: &Value, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(START).bind(id).bind(Json(options)).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

pub(super) async fn running(tx: &mut Tx, id: ImportId, run: JobRunId, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(RUNNING).bind(id).bind(run).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

pub(super) async fn finish(
    tx: &mut Tx,
    id: ImportId,
    status: Status,
    report: Option<&Value>,
    error: Option<&str>,
    now: Timestamp,
) -> sqlx::Result<()> {
    let report = report.map(Json);
    on!(tx, |c| {
        let query = sqlx::query(FINISH).bind(id).bind(status.name()).bind(report).bind(error).bind(now);
        query.execute(&mut *c).await.map(|_| ())
    })
}

pub(super) async fn delete(tx: &mut Tx, id: ImportId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(id).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn stale(db: &Db, status: Status, before: Timestamp) -> sqlx::Result<Vec<ImportId>> {
    read!(*db, |c| sqlx::query_scalar::<_, ImportId>(STALE).bind(status.name()).bind(before).fetch_all(c).await)
}
