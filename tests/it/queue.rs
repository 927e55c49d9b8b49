//! The queue on both engines: run once, retry with back-off, take over what a dead worker held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use marquee::platform::Platform;
use marquee::platform::clock::DAY_US;
use marquee::platform::queue::{self, JobContext, JobSpec, NewRun, Runner, RunnerOptions};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::START;

/// A job file that exists; the function behind it is the test's own.
const JOB: &str = "delivery.dispatch";

fn options() -> RunnerOptions {
    RunnerOptions { tick: Duration::from_millis(20), poll: Duration::from_millis(20), cron: false, ..RunnerOptions::default() }
}

async fn enqueue(platform: &Platform, key: &str, args: Value) -> bool {
    let mut tx = platform.db.begin().await.expect("begin");
    let run = NewRun { job: JOB, unique_key: key.into(), args, at: platform.now() };
    let fresh = queue::enqueue(&mut tx, run, platform.now()).await.expect("enqueue");
    tx.commit().await.expect("commit");
    fresh
}

fn echo(_: Platform, context: JobContext) -> BoxFuture<'static, anyhow::Result<Value>> {
    Box::pin(async move {
        context.progress.total(1);
        context.progress.add(1);
        Ok(json!({ "echo": context.args["n"] }))
    })
}

both_engines!(an_occasion_runs_once, |shop| {
    assert!(enqueue(&shop.platform, "a", json!({ "n": 7 })).await);
    assert!(!enqueue(&shop.platform, "a", json!({ "n": 8 })).await);
    let runner = Runner::start(shop.platform.clone(), vec![JobSpec { name: JOB, run: echo }], options()).await.expect("starts");
    runner.run_until_idle().await.expect("idle");
    runner.stop(Duration::from_secs(5)).await;
    let runs = queue::list_runs(&shop.platform.db, 10).await.expect("runs");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].status, "done", "{runs:?}");
    assert_eq!(runs[0].result.as_ref().map(|r| r.0.clone()), Some(json!({ "echo": 7 })));
    assert_eq!((runs[0].progress_done, runs[0].progress_total), (1, 1));
});

static FAILURES: AtomicUsize = AtomicUsize::new(0);

fn fail_or_panic(_: Platform, context: JobContext) -> BoxFuture<'static, anyhow::Result<Value>> {
    Box::pin(async move {
        FAILURES.fetch_add(1, Ordering::SeqCst);
        assert!(context.attempt != 2, "attempt 2 panics");
        anyhow::bail!("no luck")
    })
}

both_engines!(failures_back_off_and_end, |shop| {
    enqueue(&shop.platform, "f", json!({})).await;
    let runner = Runner::start(shop.platform.clone(), vec![JobSpec { name: JOB, run: fail_or_panic }], options()).await.expect("starts");
    let retries = queue::plans()[JOB].retries;
    for attempt in 1..=retries + 1 {
        runner.run_until_idle().await.expect("idle");
        let run = queue::list_runs(&shop.platform.db, 1).await.expect("runs").remove(0);
        assert_eq!(run.attempts, attempt, "one attempt per due time");
        assert!(run.error.is_some());
        if attempt <= retries {
            assert!(run.next_attempt_at > shop.platform.now(), "it waits");
            shop.platform.clock.advance_to(run.next_attempt_at);
        } else {
            assert_eq!(run.status, "failed");
        }
    }
    runner.stop(Duration::from_secs(5)).await;
    assert!(FAILURES.load(Ordering::SeqCst) > 0);
});

both_engines!(the_run_of_a_dead_worker_is_taken_over, |shop| {
    enqueue(&shop.platform, "d", json!({ "n": 1 })).await;
    // What a killed worker leaves behind: running, with a lease that ends.
    let mut tx = shop.platform.db.begin().await.expect("begin");
    let until = START.plus_secs(30);
    marquee::on!(&mut tx, |c| sqlx::query("UPDATE job_run SET status = 'running', attempts = 1, lease_owner = 'dead', lease_until = $1")
        .bind(until)
        .execute(&mut *c)
        .await
        .map(|_| ()))
    .expect("update");
    tx.commit().await.expect("commit");
    let runner = Runner::start(shop.platform.clone(), vec![JobSpec { name: JOB, run: echo }], options()).await.expect("starts");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(queue::list_runs(&shop.platform.db, 1).await.expect("runs")[0].status, "running", "its lease still holds");
    shop.platform.clock.advance_to(until.plus_secs(1));
    runner.run_until_idle().await.expect("idle");
    runner.stop(Duration::from_secs(5)).await;
    let run = queue::list_runs(&shop.platform.db, 1).await.expect("runs").remove(0);
    assert_eq!((run.status.as_str(), run.attempts), ("done", 2));
});

both_engines!(two_runners_share_a_schedule_and_fire_it_once, |shop| {
    let spec = || vec![JobSpec { name: JOB, run: echo }];
    let cron = RunnerOptions { cron: true, ..options() };
    let one = Runner::start(shop.platform.clone(), spec(), cron.clone()).await.expect("starts");
    let two = Runner::start(shop.platform.clone(), spec(), cron).await.expect("starts");
    for day in 0..3 {
        shop.platform.clock.advance_to(START.plus_us(day * DAY_US));
        one.run_until_idle().await.expect("idle");
        two.run_until_idle().await.expect("idle");
    }
    one.stop(Duration::from_secs(5)).await;
    two.stop(Duration::from_secs(5)).await;
    let runs = queue::list_runs(&shop.platform.db, 100).await.expect("runs");
    assert_eq!(runs.len(), 3, "the latest occurrence of each day, once: {runs:?}");
    assert!(runs.iter().all(|r| r.status == "done" && r.attempts == 1));
});
