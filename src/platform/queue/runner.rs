//! The runner: turns cron patterns into rows, hands due rows to the carrier, executes them with a lease, a timeout and back-off.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::carrier::Carrier;
use super::store::{self, Claimed, Ending};
use super::{JobContext, JobSpec, NewRun, Progress, enqueue, schedule};
use crate::platform::Platform;
use crate::platform::clock::{DAY_US, SECOND_US, Timestamp};
use crate::platform::ids::{JobRunId, uuid_v4};

/// A ticket that was not picked up within this time is sent again.
const REDISPATCH_US: i64 = 60 * SECOND_US;
/// Finished runs are kept this long.
const KEEP_RUNS_US: i64 = 30 * DAY_US;
const BACKOFF_BASE_US: i64 = 2 * SECOND_US;
const BACKOFF_MAX_US: i64 = 900 * SECOND_US;
/// Longest error text kept.
const MAX_ERROR_CHARS: usize = 2_000;

/// How a runner works.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// How often the table is looked at.
    pub tick: Duration,
    /// How often workers ask for tickets that another process laid down (they hear of their own process's at once).
    pub poll: Duration,
    /// Whether this runner fires cron patterns (several may: rows are unique).
    pub cron: bool,
    /// Whether due runs are handed out all the time; otherwise only by [`Runner::run_until_idle`] (where the clock jumps in between).
    pub background: bool,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { tick: Duration::from_millis(500), poll: Duration::from_millis(500), cron: true, background: true }
    }
}

/// A running set of workers and the loop that feeds them.
pub struct Runner {
    shared: Arc<Shared>,
    carrier: Carrier,
    options: RunnerOptions,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What workers share.
pub(super) struct Shared {
    platform: Platform,
    jobs: HashMap<&'static str, JobSpec>,
    limits: HashMap<String, Arc<Semaphore>>,
    pub(super) owner: String,
    finished: Notify,
    stop: CancellationToken,
    lease_us: i64,
}

impl Runner {
    /// Starts workers for every queue that `jobs/*.toml` name, and (with `options.cron`) the loop that fires schedules.
    pub async fn start(platform: Platform, jobs: Vec<JobSpec>, options: RunnerOptions) -> anyhow::Result<Self> {
        let by_name: HashMap<&'static str, JobSpec> = jobs.iter().map(|j| (j.name, *j)).collect();
        for job in &jobs {
            anyhow::ensure!(schedule::plan(job.name).is_some(), "job {} has no jobs/{}.toml", job.name, job.name);
        }
        let carrier = Carrier::open(&platform.db).await?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            lease_us: i64::try_from(platform.config.work.lease_s).unwrap_or(30) * SECOND_US,
            jobs: by_name,
            limits: schedule::plans().iter().map(|(n, p)| (n.clone(), Arc::new(Semaphore::new(p.concurrency.max(1))))).collect(),
            // Unique per process start: apalis refuses a name it has seen.
            owner: format!("{}-{}", std::process::id(), uuid_v4().simple()),
            finished: Notify::new(),
            stop: stop.clone(),
            platform,
        });
        let mut runner = Self { shared, carrier, options, stop, tasks: Vec::new() };
        runner.start_workers();
        if runner.options.background {
            runner.start_feeding();
        }
        Ok(runner)
    }

    fn start_workers(&mut self) {
        let queues: BTreeSet<&str> = schedule::plans().values().map(|p| p.queue.as_str()).collect();
        for queue in queues {
            let work = self.carrier.clone().work(
                queue.to_owned(),
                self.shared.platform.config.work.concurrency,
                self.options.poll,
                self.shared.clone(),
                self.stop.clone(),
            );
            self.tasks.push(tokio::spawn(work));
        }
    }

    fn start_feeding(&mut self) {
        let (shared, carrier, options, stop) = (self.shared.clone(), self.carrier.clone(), self.options.clone(), self.stop.clone());
        self.tasks.push(tokio::spawn(async move {
            let mut beats: u64 = 0;
            while !stop.is_cancelled() {
                if let Err(error) = feed(&shared, &carrier, options.cron).await {
                    tracing::warn!(%error, "the job table could not be read; trying again");
                }
                if beats.is_multiple_of(600) {
                    sweep(&shared, &carrier).await;
                }
                beats += 1;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = shared.finished.notified() => {}
                    () = tokio::time::sleep(options.tick) => {}
                }
            }
        }));
    }

    /// Runs everything that is due now (by the Clock), and what that makes due, and returns when nothing is.
    pub async fn run_until_idle(&self) -> anyhow::Result<()> {
        let mut fired_at = None;
        loop {
            // Schedules fire by the clock alone, which mostly stands still here.
            let now = self.shared.platform.now();
            let fire = self.options.cron && fired_at.replace(now) != Some(now);
            feed(&self.shared, &self.carrier, fire).await?;
            if store::open(&self.shared.platform.db, self.shared.platform.now()).await? == 0 {
                return Ok(());
            }
            // Whatever ends here says so; the rest is for other processes' runs.
            let _ = tokio::time::timeout(Duration::from_millis(200), self.shared.finished.notified()).await;
        }
    }

    /// Asks running jobs to stop, and waits for them (at most `patience`).
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("some jobs did not end in time; their leases will run out and they will be run again");
        }
    }
}

/// One look at the table: fire schedules, take back what crashed workers held, hand out what is due.
async fn feed(shared: &Shared, carrier: &Carrier, cron: bool) -> anyhow::Result<()> {
    let now = shared.platform.now();
    let db = &shared.platform.db;
    if cron {
        fire_schedules(shared, now).await?;
    }
    if store::abandoned(db, now).await? > 0 {
        let mut tx = db.begin().await?;
        let recovered = store::recover(&mut tx, now).await?;
        tx.commit().await?;
        tracing::warn!(recovered, "runs of a stopped worker were taken back");
    }
    let due: Vec<_> = store::due(db, now).await?;
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    for (id, _) in &due {
        store::mark_dispatched(&mut tx, *id, now.plus_us(REDISPATCH_US)).await?;
    }
    tx.commit().await?;
    for (id, queue) in due {
        carrier.push(&queue, id).await?;
    }
    Ok(())
}

/// Inserts the latest occurrence of each schedule that lies between its last run and now. What was missed meanwhile is not repeated:
/// every job catches up by itself.
async fn fire_schedules(shared: &Shared, now: Timestamp) -> anyhow::Result<()> {
    for (name, plan) in schedule::plans() {
        let (Some(cron), true) = (&plan.cron, shared.jobs.contains_key(name.as_str())) else { continue };
        let last = store::last_cron(&shared.platform.db, name).await?;
        // A schedule that never ran starts with its latest occurrence, so that a fresh shop is not empty until tomorrow.
        let from = last.unwrap_or(now.plus_us(-32 * DAY_US));
        let Some(at) = latest_fire(cron, plan.time_zone, from, now) else { continue };
        let mut tx = shared.platform.db.begin().await?;
        let unique_key = format!("cron:{:020}", at.micros());
        enqueue(&mut tx, NewRun { job: name, unique_key, args: json!({}), at }, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// The latest time in (after, until] at which the pattern fires.
fn latest_fire(cron: &str, zone: chrono_tz::Tz, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
    // Look back in growing steps, so that a minutely pattern after a month's gap costs a few steps and not 40,000.
    for back_us in [90 * SECOND_US, 2 * 3600 * SECOND_US, 2 * DAY_US, 32 * DAY_US] {
        let mut probe = after.max(until.plus_us(-back_us));
        let mut found = None;
        while let Ok(next) = schedule::next_fire(cron, zone, probe) {
            if next > until {
                break;
            }
            found = Some(next);
            probe = next;
        }
        if found.is_some() || until.plus_us(-back_us) <= after {
            return found;
        }
    }
    None
}

async fn sweep(shared: &Shared, carrier: &Carrier) {
    let outcome: anyhow::Result<()> = async {
        carrier.sweep().await?;
        let mut tx = shared.platform.db.begin().await?;
        store::forget(&mut tx, shared.platform.now().plus_us(-KEEP_RUNS_US)).await?;
        tx.commit().await?;
        Ok(())
    }
    .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, "old job runs could not be dropped");
    }
}

impl Shared {
    /// Executes one run, if it is still to be done and this worker gets it.
    pub(super) async fn execute(self: &Arc<Self>, id: JobRunId) {
        if let Err(error) = self.try_execute(id).await {
            tracing::error!(run = %id, %error, "a job run could not be recorded");
        }
        self.finished.notify_waiters();
        self.finished.notify_one();
    }

    async fn try_execute(self: &Arc<Self>, id: JobRunId) -> anyhow::Result<()> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let now = self.platform.now();
        let mut tx = self.platform.db.begin().await?;
        let claimed = store::claim(&mut tx, id, now.plus_us(self.lease_us), &self.owner, now).await?;
        tx.commit().await?;
        let Some(run) = claimed else { return Ok(()) };
        let progress = Progress::default();
        let begun = tokio::time::Instant::now();
        let outcome = self.run_leased(id, &run, &progress).await;
        metrics::histogram!("marquee_job_seconds", "job" => run.job.clone()).record(begun.elapsed().as_secs_f64());
        let ending = self.ending(&run, outcome, &progress);
        let failed = ending.error.clone();
        let mut tx = self.platform.db.begin().await?;
        let ours = store::finish(&mut tx, id, &self.owner, ending).await?;
        tx.commit().await?;
        if let Some(error) = failed {
            tracing::warn!(job = run.job, run = %id, attempt = run.attempts, %error, "job failed");
        }
        if !ours {
            tracing::warn!(job = run.job, run = %id, "the lease was lost while the job ran");
        }
        Ok(())
    }

    /// Runs the job's function beside a heartbeat that extends the lease and writes progress.
    async fn run_leased(self: &Arc<Self>, id: JobRunId, run: &Claimed, progress: &Progress) -> anyhow::Result<serde_json::Value> {
        let spec = self.jobs.get(run.job.as_str()).copied();
        let Some(spec) = spec else { anyhow::bail!("no code for job {}: is this an older version of the program?", run.job) };
        let timeout = schedule::plan(&run.job).map_or(Duration::from_secs(600), |p| Duration::from_secs(p.timeout_s));
        let limit = self.limits.get(&run.job).cloned();
        let stop = self.stop.child_token();
        let context = JobContext {
            run_id: id,
            args: run.args.0.clone(),
            scheduled_at: run.scheduled_at,
            attempt: run.attempts,
            progress: progress.clone(),
            stop: stop.clone(),
        };
        let platform = self.platform.clone();
        let mut work = tokio::spawn(async move {
            // The permit bounds how many runs of this job go on at once here; the heartbeat goes on while we wait for it.
            let _permit = match limit {
                Some(limit) => Some(limit.acquire_owned().await?),
                None => None,
            };
            (spec.run)(platform, context).await
        });
        let started = tokio::time::Instant::now();
        let beat = Duration::from_micros((self.lease_us / 4).unsigned_abs());
        loop {
            tokio::select! {
                done = &mut work => {
                    return done.unwrap_or_else(|e| Err(anyhow::anyhow!("the job panicked: {e}")));
                }
                () = tokio::time::sleep(beat) => {
                    let until = self.platform.now().plus_us(self.lease_us);
                    let mut tx = self.platform.db.begin().await?;
                    let ours = store::heartbeat(&mut tx, id, &self.owner, until, progress.snapshot()).await?;
                    tx.commit().await?;
                    if !ours || started.elapsed() > timeout {
                        stop.cancel();
                        // Grace for a clean end between two pieces of work.
                        let grace = tokio::time::timeout(Duration::from_secs(5), &mut work).await;
                        work.abort();
                        return match grace {
                            Ok(done) => done.unwrap_or_else(|e| Err(anyhow::anyhow!("the job panicked: {e}"))),
                            Err(_) if ours => Err(anyhow::anyhow!("ran longer than its {} s", timeout.as_secs())),
                            Err(_) => Err(anyhow::anyhow!("the lease was lost")),
                        };
                    }
                }
            }
        }
    }

    fn ending(&self, run: &Claimed, outcome: anyhow::Result<serde_json::Value>, progress: &Progress) -> Ending {
        let now = self.platform.now();
        let progress = progress.snapshot();
        match outcome {
            Ok(result) => {
                Ending { status: "done", finished_at: Some(now), result: Some(result), error: None, next_attempt_at: now, progress }
            }
            Err(error) => {
                let error = format!("{error:#}").chars().take(MAX_ERROR_CHARS).collect();
                let last = run.attempts >= run.max_attempts;
                Ending {
                    status: if last { "failed" } else { "queued" },
                    finished_at: last.then_some(now),
                    result: None,
                    error: Some(error),
                    next_attempt_at: now.plus_us(backoff_us(run.attempts)),
                    progress,
                }
            }
        }
    }
}

/// 2 s, 4 s, 8 s … at most 15 minutes.
fn backoff_us(attempt: i64) -> i64 {
    BACKOFF_BASE_US.saturating_mul(1 << attempt.clamp(1, 20).saturating_sub(1)).min(BACKOFF_MAX_US)
}

/// Names and plans of all jobs, for the Jobs page and `marquee jobs`.
pub fn plans() -> &'static BTreeMap<String, schedule::JobPlan> {
    schedule::plans()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_missed_occurrence_fires() {
        let t = |s: &str| Timestamp::parse(s).expect("time");
        let utc = chrono_tz::UTC;
        assert_eq!(latest_fire("0 3 * * *", utc, t("2026-01-01"), t("2026-01-10T02:00:00Z")), Some(t("2026-01-09T03:00:00Z")));
        assert_eq!(latest_fire("* * * * *", utc, t("2026-01-01"), t("2026-01-10T02:00:30Z")), Some(t("2026-01-10T02:00:00Z")));
        assert_eq!(latest_fire("0 3 * * *", utc, t("2026-01-09T03:00:00Z"), t("2026-01-10T02:00:00Z")), None);
        assert_eq!(latest_fire("0 3 1 * *", utc, t("2026-01-02"), t("2026-02-20")), Some(t("2026-02-01T03:00:00Z")));
    }

    #[test]
    fn backoff_doubles_and_ends() {
        assert_eq!(backoff_us(1), 2 * SECOND_US);
        assert_eq!(backoff_us(3), 8 * SECOND_US);
        assert_eq!(backoff_us(60), BACKOFF_MAX_US);
    }
}
