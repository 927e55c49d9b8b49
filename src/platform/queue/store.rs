//! SQL of `job_run`.

use serde_json::Value;
use sqlx::types::Json;

use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::JobRunId;
use crate::{on, read};

/// A run as the Jobs page shows it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct JobRun {
    pub id: JobRunId,
    pub job: String,
    pub status: String,
    pub scheduled_at: Timestamp,
    pub next_attempt_at: Timestamp,
    pub attempts: i64,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub progress_done: i64,
    pub progress_total: i64,
    pub result: Option<Json<Value>>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Claimed {
    pub job: String,
    pub args: Json<Value>,
    pub scheduled_at: Timestamp,
    pub attempts: i64,
    pub max_attempts: i64,
}

const LAST_CRON: &str = "SELECT MAX(scheduled_at) FROM job_run WHERE job = $1 AND unique_key >= 'cron:' AND unique_key < 'cron;'";
const DUE: &str = "SELECT id, queue FROM job_run
     WHERE status = 'queued' AND next_attempt_at <= $1 AND (dispatched_until IS NULL OR dispatched_until <= $1)
     ORDER BY next_attempt_at, id LIMIT 100";
const MARK_DISPATCHED: &str = "UPDATE job_run SET dispatched_until = $2 WHERE id = $1 AND status = 'queued'";
const CLAIM: &str = "UPDATE job_run SET status = 'running', attempts = attempts + 1, lease_until = $2, lease_owner = $3, started_at = $4,
         progress_done = 0, progress_total = 0
     WHERE id = $1 AND status = 'queued' AND next_attempt_at <= $4
     RETURNING job, args, scheduled_at, attempts, max_attempts";
const HEARTBEAT: &str = "UPDATE job_run SET lease_until = $3, progress_done = $4, progress_total = $5
     WHERE id = $1 AND lease_owner = $2 AND status = 'running'";
const FINISH: &str =
    "UPDATE job_run SET status = $3, finished_at = $4, result = $5, error = $6, next_attempt_at = $7, dispatched_until = NULL,
         lease_until = NULL, lease_owner = NULL, progress_done = $8, progress_total = $9
     WHERE id = $1 AND lease_owner = $2 AND status = 'running'";
const RECOVER: &str = "UPDATE job_run SET status = CASE WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END,
         error = 'the worker stopped without an answer', next_attempt_at = $1, dispatched_until = NULL, lease_until = NULL, lease_owner = NULL
     WHERE status = 'running' AND lease_until < $1";
const ABANDONED: &str = "SELECT COUNT(*) FROM job_run WHERE status = 'running' AND lease_until < $1";
const OPEN: &str = "SELECT COUNT(*) FROM job_run WHERE status = 'running' OR (status = 'queued' AND next_attempt_at <= $1)";
const LIST: &str =
    "SELECT id, job, status, scheduled_at, next_attempt_at, attempts, started_at, finished_at, progress_done, progress_total,
         result, error FROM job_run ORDER BY id DESC LIMIT $1";
const FORGET: &str = "DELETE FROM job_run WHERE status IN ('done', 'failed') AND finished_at < $1";

pub(super) async fn last_cron(db: &Db, job: &str) -> sqlx::Result<Option<Timestamp>> {
    read!(*db, |c| sqlx::query_scalar::<_, Option<Timestamp>>(LAST_CRON).bind(job).fetch_one(c).await)
}

pub(super) async fn due(db: &Db, now: Timestamp) -> sqlx::Result<Vec<(JobRunId, String)>> {
    read!(*db, |c| sqlx::query_as::<_, (JobRunId, String)>(DUE).bind(now).fetch_all(c).await)
}

pub(super) async fn mark_dispatched(tx: &mut Tx, id: JobRunId, until: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(MARK_DISPATCHED).bind(id).bind(until).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn claim(tx: &mut Tx, id: JobRunId, until: Timestamp, owner: &str, now: Timestamp) -> sqlx::Result<Option<Claimed>> {
    on!(tx, |c| sqlx::query_as::<_, Claimed>(CLAIM).bind(id).bind(until).bind(owner).bind(now).fetch_optional(&mut *c).await)
}

/// False where the lease was lost: somebody else has the run now.
pub(super) async fn heartbeat(tx: &mut Tx, id: JobRunId, owner: &str, until: Timestamp, progress: (i64, i64)) -> sqlx::Result<bool> {
    on!(tx, |c| {
        sqlx::query(HEARTBEAT)
            .bind(id)
            .bind(owner)
            .bind(until)
            .bind(progress.0)
            .bind(progress.1)
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected() == 1)
    })
}

pub(super) struct Ending {
    pub status: &'static str,
    pub finished_at: Option<Timestamp>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub next_attempt_at: Timestamp,
    pub progress: (i64, i64),
}

pub(super) async fn finish(tx: &mut Tx, id: JobRunId, owner: &str, end: Ending) -> sqlx::Result<bool> {
    on!(tx, |c| {
        sqlx::query(FINISH)
            .bind(id)
            .bind(owner)
            .bind(end.status)
            .bind(end.finished_at)
            .bind(end.result.map(Json))
            .bind(end.error)
            .bind(end.next_attempt_at)
            .bind(end.progress.0)
            .bind(end.progress.1)
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected() == 1)
    })
}

/// How many runs a stopped worker left behind. Asked before [`recover`], so that an idle shop is not written to.
pub(super) async fn abandoned(db: &Db, now: Timestamp) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(ABANDONED).bind(now).fetch_one(c).await)
}

pub(super) async fn recover(tx: &mut Tx, now: Timestamp) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(RECOVER).bind(now).execute(&mut *c).await.map(|r| r.rows_affected()))
}

pub(super) async fn open(db: &Db, now: Timestamp) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(OPEN).bind(now).fetch_one(c).await)
}

pub(super) async fn forget(tx: &mut Tx, before: Timestamp) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(FORGET).bind(before).execute(&mut *c).await.map(|r| r.rows_affected()))
}

/// Which runs; all of it together. Newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunFilter<'a> {
    pub job: Option<&'a str>,
    /// `queued`, `running`, `done` or `failed`.
    pub status: Option<&'a str>,
    /// Older than this id.
    pub before: Option<i64>,
    /// Scheduled at or after.
    pub since: Option<Timestamp>,
}

/// A page of runs, by an index for each filter.
pub async fn runs(db: &Db, filter: &RunFilter<'_>, limit: i64) -> sqlx::Result<Vec<JobRun>> {
    let mut sql = String::from(
        "SELECT id, job, status, scheduled_at, next_attempt_at, attempts, started_at, finished_at, progress_done, progress_total,
         result, error FROM job_run WHERE id < $1 AND scheduled_at >= $2",
    );
    let words: Vec<&str> = [filter.job, filter.status].into_iter().flatten().collect();
    let mut at = 4;
    for (column, word) in [("job", filter.job), ("status", filter.status)] {
        if word.is_some() {
            sql.push_str(&format!(" AND {column} = ${at}"));
            at += 1;
        }
    }
    sql.push_str(" ORDER BY id DESC LIMIT $3");
    read!(*db, |c| {
        let mut query = sqlx::query_as::<_, JobRun>(sqlx::AssertSqlSafe(sql.clone()))
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(filter.since.unwrap_or(Timestamp::MIN))
            .bind(limit);
        for word in &words {
            query = query.bind(*word);
        }
        query.fetch_all(c).await
    })
}

/// The newest runs first.
pub async fn list(db: &Db, limit: i64) -> sqlx::Result<Vec<JobRun>> {
    read!(*db, |c| sqlx::query_as::<_, JobRun>(LIST).bind(limit).fetch_all(c).await)
}
