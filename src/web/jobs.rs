//! Jobs: what ran, what is late, what failed? The schedule in words, the last and the next run, and a button that runs one now.

use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::download;
use super::page::Shell;
use super::route::{Need, Route};
use super::table::{PAGE_ROWS, Pager, after_number, kept};
use super::words;
use crate::account::Permission;
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::queue::schedule::{JobPlan, next_fire};
use crate::platform::queue::{self, JobRun, NewRun, RunFilter};
use crate::platform::{Db, Platform, ids};

pub(super) fn routes() -> Vec<Route> {
    let see = Need::May(Permission::See);
    vec![
        Route::get("/jobs", see, list),
        Route::get("/jobs/part/running", see, running),
        Route::get("/jobs/runs", see, runs),
        Route::get("/jobs/runs/download", see, runs_file),
        Route::get("/jobs/{name}", see, one),
        Route::post("/jobs/{name}/run", Need::May(Permission::Plan), "job.run", run_now),
    ]
}

/// A job as its row shows it.
#[derive(Serialize)]
struct JobRow {
    name: String,
    about: String,
    schedule: String,
    last: Option<RunRow>,
    next: Option<Timestamp>,
    late: bool,
}

/// A run as pages show it.
#[derive(Serialize)]
pub(super) struct RunRow {
    pub id: String,
    pub job: String,
    pub status: String,
    pub tone: &'static str,
    pub scheduled_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub duration_us: Option<i64>,
    pub done: i64,
    pub total: i64,
    pub attempts: i64,
    pub retry_at: Option<Timestamp>,
    pub error: Option<String>,
    pub result: Vec<(String, String)>,
}

/// `queued` and due for longer than this is late: no worker takes it.
const LATE_US: i64 = 5 * 60 * 1_000_000;

fn row(run: JobRun, now: Timestamp, may_see_errors: bool) -> RunRow {
    let tone = match run.status.as_str() {
        "done" => "good",
        "failed" => "bad",
        "running" => "info",
        _ if run.attempts > 0 => "warn",
        _ => "",
    };
    let end = run.finished_at.or_else(|| (run.status == "running").then_some(now));
    RunRow {
        id: run.id.to_string(),
        tone,
        duration_us: run.started_at.zip(end).map(|(a, b)| b.since(a)),
        retry_at: (run.status == "queued" && run.attempts > 0).then_some(run.next_attempt_at),
        // An error may quote what it choked on.
        error: run.error.filter(|_| may_see_errors),
        result: run.result.map(|r| figures(&r.0)).unwrap_or_default(),
        job: run.job,
        status: run.status,
        scheduled_at: run.scheduled_at,
        started_at: run.started_at,
        done: run.progress_done,
        total: run.progress_total,
        attempts: run.attempts,
    }
}

/// The plain figures of a result; what is nested stays in the log.
fn figures(result: &Value) -> Vec<(String, String)> {
    let Some(map) = result.as_object() else { return Vec::new() };
    map.iter()
        .filter_map(|(key, value)| {
            let text = match value {
                Value::Number(n) => n.as_i64().map_or_else(|| n.to_string(), super::format::count),
                Value::Bool(b) => b.to_string(),
                _ => return None,
            };
            Some((key.replace('_', " "), text))
        })
        .take(12)
        .collect()
}

#[derive(Serialize)]
struct JobsView {
    jobs: Vec<JobRow>,
    running: Vec<RunRow>,
    failed: Vec<RunRow>,
    late: usize,
}

/// What runs now; also for Home.
pub(super) async fn running_now(shell: &Shell, db: &Db) -> ApiResult<Vec<RunRow>> {
    let filter = RunFilter { status: Some("running"), ..RunFilter::default() };
    rows(shell, db, &filter, 20).await
}

/// What failed for good in the last day; also for Home.
pub(super) async fn failed_lately(shell: &Shell, db: &Db) -> ApiResult<Vec<RunRow>> {
    let filter = RunFilter { status: Some("failed"), since: Some(shell.reader().now.plus_days(-1)), ..RunFilter::default() };
    rows(shell, db, &filter, 20).await
}

async fn rows(shell: &Shell, db: &Db, filter: &RunFilter<'_>, limit: i64) -> ApiResult<Vec<RunRow>> {
    let (now, open) = (shell.reader().now, shell.may(Permission::Plan));
    Ok(queue::runs(db, filter, limit).await?.into_iter().map(|r| row(r, now, open)).collect())
}

fn schedule(shell: &Shell, plan: &JobPlan) -> String {
    match &plan.cron {
        Some(cron) => words::cron(cron, plan.time_zone, shell.locale()),
        None => shell.say("jobs.on_demand"),
    }
}

fn next(plan: &JobPlan, now: Timestamp) -> Option<Timestamp> {
    plan.cron.as_deref().and_then(|cron| next_fire(cron, plan.time_zone, now).ok())
}

async fn list(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let (now, open) = (shell.reader().now, shell.may(Permission::Plan));
    let mut jobs = Vec::new();
    for (name, plan) in queue::plans() {
        let filter = RunFilter { job: Some(name), ..RunFilter::default() };
        let last = queue::runs(&platform.db, &filter, 1).await?.pop();
        let late = last.as_ref().is_some_and(|r| r.status == "queued" && now.since(r.next_attempt_at) > LATE_US);
        jobs.push(JobRow {
            name: name.clone(),
            about: about(&shell, name, plan),
            schedule: schedule(&shell, plan),
            last: last.map(|r| row(r, now, open)),
            next: next(plan, now),
            late,
        });
    }
    let view = JobsView {
        late: jobs.iter().filter(|j| j.late).count(),
        jobs,
        running: running_now(&shell, &platform.db).await?,
        failed: failed_lately(&shell, &platform.db).await?,
    };
    shell.render("jobs/list.html", shell.say("jobs.title"), &view)
}

/// What a job does: in the viewer's language where there are words, else as its file says.
fn about(shell: &Shell, name: &str, plan: &JobPlan) -> String {
    let key = format!("job.about.{}", name.replace('.', "_"));
    if super::i18n::has(&key) { shell.say(&key) } else { plan.about.clone() }
}

#[derive(Serialize)]
struct RunningView {
    running: Vec<RunRow>,
}

async fn running(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let running = running_now(&shell, &platform.db).await?;
    shell.fragment("jobs/running.html", &RunningView { running }, false)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunsQuery {
    job: String,
    status: String,
    after: Option<String>,
}

#[derive(Serialize)]
struct RunsView {
    rows: Vec<RunRow>,
    pager: Pager,
    job: String,
    status: String,
    jobs: Vec<super::table::Choice>,
    statuses: Vec<super::table::Choice>,
    download: String,
}

impl RunsQuery {
    fn filter(&self) -> ApiResult<RunFilter<'_>> {
        let status = STATUSES.into_iter().find(|s| *s == self.status);
        let job = (!self.job.is_empty()).then_some(self.job.as_str());
        Ok(RunFilter { job, status, before: after_number(self.after.as_deref())?, since: None })
    }
    fn kept(&self) -> String {
        kept(&[("job", &self.job), ("status", &self.status)])
    }
}

const STATUSES: [&str; 4] = ["queued", "running", "done", "failed"];

async fn runs(shell: Shell, platform: Data<Platform>, query: Query<RunsQuery>) -> ApiResult {
    use super::table::Choice;
    let query = query.into_inner();
    let mut found = queue::runs(&platform.db, &query.filter()?, PAGE_ROWS + 1).await?;
    let download = format!("/jobs/runs/download?{}", query.kept());
    let pager = Pager::cut(&mut found, query.after.as_deref(), query.kept(), |r| r.id.0.to_string());
    let (now, open) = (shell.reader().now, shell.may(Permission::Plan));
    let rows = found.into_iter().map(|r| row(r, now, open)).collect();
    let any = || Choice::new("", shell.say("jobs.any"));
    let jobs = std::iter::once(any()).chain(queue::plans().keys().map(|n| Choice::new(n.clone(), n.clone()))).collect();
    let statuses =
        std::iter::once(any()).chain(STATUSES.into_iter().map(|s| Choice::new(s, shell.say(&format!("run.status.{s}"))))).collect();
    let view = RunsView { rows, pager, job: query.job, status: query.status, jobs, statuses, download };
    shell.render("jobs/runs.html", shell.say("jobs.runs"), &view)
}

static RUN_HEAD: [&str; 10] = ["id", "job", "state", "scheduled_at", "started_at", "finished_at", "attempts", "done", "total", "error"];

/// All runs that are asked for, newest first.
async fn runs_file(shell: Shell, platform: Data<Platform>, query: Query<RunsQuery>) -> ApiResult {
    let query = query.into_inner();
    query.filter()?;
    let (platform, open) = (platform.into_inner(), shell.may(Permission::Plan));
    let query = std::rc::Rc::new(RunsQuery { after: None, ..query });
    Ok(download::pieces("runs.csv", &RUN_HEAD, None, move |before: Option<i64>| {
        let (platform, query) = (platform.clone(), query.clone());
        async move {
            let filter = RunFilter { before, ..query.filter().unwrap_or_default() };
            let found = queue::runs(&platform.db, &filter, download::PIECE).await?;
            let more = found.last().filter(|_| found.len() == download::PIECE as usize).map(|r| Some(r.id.0));
            let time = |t: Option<Timestamp>| t.map(|t| t.to_string()).unwrap_or_default();
            let rows = found.iter().map(|r| {
                vec![
                    r.id.to_string(),
                    r.job.clone(),
                    r.status.clone(),
                    r.scheduled_at.to_string(),
                    time(r.started_at),
                    time(r.finished_at),
                    r.attempts.to_string(),
                    r.progress_done.to_string(),
                    r.progress_total.to_string(),
                    // An error may quote what it choked on.
                    r.error.clone().filter(|_| open).unwrap_or_default(),
                ]
            });
            Ok((rows.collect(), more))
        }
    }))
}

#[derive(Serialize)]
struct JobView {
    name: String,
    about: String,
    schedule: String,
    next: Vec<Timestamp>,
    queue: String,
    timeout_us: i64,
    retries: i64,
    rows: Vec<RunRow>,
}

fn known(name: &str) -> ApiResult<&'static JobPlan> {
    queue::plans().get(name).ok_or_else(|| ApiError::not_found("job"))
}

async fn one(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    let plan = known(&name)?;
    let mut at = shell.reader().now;
    let mut upcoming = Vec::new();
    while let Some(t) = next(plan, at).filter(|_| upcoming.len() < 5) {
        upcoming.push(t);
        at = t;
    }
    let filter = RunFilter { job: Some(&name), ..RunFilter::default() };
    let view = JobView {
        about: about(&shell, &name, plan),
        schedule: schedule(&shell, plan),
        next: upcoming,
        queue: plan.queue.clone(),
        timeout_us: i64::try_from(plan.timeout_s).unwrap_or(0).saturating_mul(1_000_000),
        retries: plan.retries,
        rows: rows(&shell, &platform.db, &filter, 20).await?,
        name: name.clone(),
    };
    shell.render("jobs/one.html", name, &view)
}

async fn run_now(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    known(&name)?;
    let now = platform.now();
    let run = NewRun { job: &name, unique_key: format!("now:{}", ids::uuid_v7(now)), args: json!({}), at: now };
    let mut tx = platform.db.begin().await?;
    queue::enqueue(&mut tx, run, now).await.map_err(ApiError::internal)?;
    tx.commit().await?;
    shell.note(name.clone(), "");
    Ok(shell.redirect_saying(&format!("/jobs/{name}"), "good", shell.say_with("jobs.enqueued", &[("job", name)])))
}
