//! Jobs. The table `job_run` is the truth: what is due (by our own clock), attempts, back-off, progress, result. apalis carries the ids of
//! due rows to workers; only this folder names it.
//!
//! A job is small, idempotent, and carries ids, not data. A service enqueues inside its own transaction with [`enqueue`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;

use super::Platform;
use super::clock::Timestamp;
use super::db::Tx;
use super::ids::JobRunId;
use crate::on;

/// What a slice offers to the queue: a name (`slice.verb`) and the function that does it.
#[derive(Clone, Copy)]
pub struct JobSpec {
    pub name: &'static str,
    pub run: JobFn,
}

pub type JobFn = fn(Platform, JobContext) -> BoxFuture<'static, anyhow::Result<Value>>;

/// Makes a [`JobSpec`] from an `async fn(Platform, JobContext) -> anyhow::Result<Value>`.
#[macro_export]
macro_rules! job {
    ($name:literal, $f:path) => {
        $crate::platform::queue::JobSpec { name: $name, run: |platform, context| Box::pin($f(platform, context)) }
    };
}

/// What a running job knows of itself.
#[derive(Clone)]
pub struct JobContext {
    pub run_id: JobRunId,
    pub args: Value,
    /// When it was meant to run: "now" for everything that should not depend on how late the worker came.
    pub scheduled_at: Timestamp,
    /// 1 for the first attempt.
    pub attempt: i64,
    pub progress: Progress,
    /// Cancelled when the process is asked to stop or the timeout has passed; long loops look at it between pieces.
    pub stop: CancellationToken,
}

/// Counts that the runner writes to `job_run` while the job goes on.
#[derive(Clone, Default)]
pub struct Progress {
    done: Arc<AtomicI64>,
    total: Arc<AtomicI64>,
}

impl Progress {
    pub fn total(&self, n: i64) {
        self.total.store(n, Ordering::Relaxed);
    }
    pub fn add(&self, n: i64) {
        self.done.fetch_add(n, Ordering::Relaxed);
    }
    pub fn snapshot(&self) -> (i64, i64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// A run to be enqueued.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    pub job: &'a str,
    /// Two runs of one job with the same key are one run (`cron:2026-11-24T03:00:00Z`, `run_17:shard_3`).
    pub unique_key: String,
    pub args: Value,
    pub at: Timestamp,
}

const ENQUEUE: &str = "INSERT INTO job_run (job, queue, unique_key, args, status, scheduled_at, next_attempt_at, max_attempts, created_at)
     VALUES ($1, $2, $3, $4, 'queued', $5, $5, $6, $7) ON CONFLICT (job, unique_key) DO NOTHING";

/// Enqueues inside the caller's transaction. Returns false where that run was there already.
pub async fn enqueue(tx: &mut Tx, run: NewRun<'_>, now: Timestamp) -> anyhow::Result<bool> {
    let plan = schedule::plan(run.job).ok_or_else(|| anyhow::anyhow!("no jobs/{}.toml: every job needs one", run.job))?;
    let inserted = on!(tx, |c| {
        sqlx::query(ENQUEUE)
            .bind(run.job)
            .bind(plan.queue.as_str())
            .bind(run.unique_key)
            .bind(Json(run.args))
            .bind(run.at)
            .bind(plan.retries + 1)
            .bind(now)
            .execute(&mut *c)
            .await
            .map(|r| r.rows_affected())
    })?;
    Ok(inserted == 1)
}

mod carrier;
mod runner;
pub mod schedule;
mod store;

pub use runner::{Runner, RunnerOptions, plans};
pub use store::{JobRun, RunFilter, list as list_runs, runs};
