//! `marquee jobs`: what runs when, what ran, and running one now.

use clap::Subcommand;
use serde_json::Value;

use crate::app;
use crate::platform::Platform;
use crate::platform::queue::{self, NewRun, Runner, RunnerOptions};

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// The schedule.
    List,
    /// The newest runs.
    Runs {
        #[arg(long, default_value_t = 30)]
        limit: i64,
    },
    /// Run a job now, and everything that it makes due.
    Run {
        job: String,
        /// Arguments as a JSON object.
        #[arg(long, default_value = "{}")]
        args: String,
    },
}

pub async fn run(command: JobsCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        JobsCommand::List => {
            for (name, plan) in queue::plans() {
                println!("{name:<24} {:<16} {:<10} {}", plan.cron.as_deref().unwrap_or("on demand"), plan.time_zone.name(), plan.about);
            }
        }
        JobsCommand::Runs { limit } => {
            for run in queue::list_runs(&platform.db, limit.clamp(1, 1000)).await? {
                let error = run.error.as_deref().unwrap_or_default();
                println!(
                    "{:<10} {:<24} {:<8} {} attempt {} {}/{} {error}",
                    run.id.to_string(),
                    run.job,
                    run.status,
                    run.scheduled_at,
                    run.attempts,
                    run.progress_done,
                    run.progress_total
                );
            }
        }
        JobsCommand::Run { job, args } => {
            let args: Value = serde_json::from_str(&args).map_err(|e| anyhow::anyhow!("--args is not JSON: {e}"))?;
            let now = platform.now();
            let mut tx = platform.db.begin().await?;
            let unique_key = format!("now:{}", crate::platform::ids::uuid_v7(now));
            queue::enqueue(&mut tx, NewRun { job: &job, unique_key, args, at: now }, now).await?;
            tx.commit().await?;
            let runner = Runner::start(platform.clone(), app::jobs(), RunnerOptions { cron: false, ..RunnerOptions::default() }).await?;
            runner.run_until_idle().await?;
            runner.stop(std::time::Duration::from_secs(5)).await;
            let done = queue::list_runs(&platform.db, 200).await?.into_iter().find(|r| r.job == job);
            if let Some(run) = done {
                match run.result {
                    Some(result) => println!("{}", result.0),
                    None => anyhow::bail!("{}: {}", run.status, run.error.unwrap_or_default()),
                }
            }
        }
    }
    Ok(())
}
