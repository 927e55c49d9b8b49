//! `marquee serve` and `marquee work`.

use std::time::Duration;

use clap::Args;

use crate::app::{self, Services};
use crate::platform::db::Db;
use crate::platform::queue::{Runner, RunnerOptions};
use crate::platform::{Clock, Config, Platform};

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on, for instance 0.0.0.0:8321.
    #[arg(long)]
    bind: Option<String>,
    /// Where the world reaches this server (the base of links in mails).
    #[arg(long)]
    public_url: Option<String>,
    /// Only answer HTTP, even on SQLite.
    #[arg(long)]
    no_work: bool,
}

#[derive(Debug, Args)]
pub struct WorkArgs {
    /// End when nothing is due any more.
    #[arg(long)]
    until_idle: bool,
}

pub async fn serve(args: ServeArgs, mut config: Config, clock: Clock) -> anyhow::Result<()> {
    if let Some(bind) = args.bind {
        config.server.bind = bind;
    }
    if let Some(url) = args.public_url {
        config.server.public_url = url;
    }
    let patience = Duration::from_secs(config.server.shutdown_s);
    let platform = Platform::open(config, clock).await?;
    let services = Services::start(platform.clone()).await?;
    let server = app::serve(&services).await?;
    let works = !args.no_work && matches!(platform.db, Db::Sqlite(_));
    let runner = if works { Some(Runner::start(platform.clone(), app::jobs(), RunnerOptions::default()).await?) } else { None };
    tracing::info!(url = server.url, works, "Marquee is up; API reference at {}/docs/", server.url);
    if let Some(link) = services.ui.accounts.set_up_link().await? {
        // On stdout, not in the log: whoever reads it becomes the admin.
        println!("Nobody can sign in yet. Make yourself the first admin (the link works once, for a day):\n{link}");
    }
    app::stop_signal().await;
    tracing::info!("stopping");
    services.ui.streams.close();
    server.handle.stop(true).await;
    services.finish(patience).await;
    if let Some(runner) = runner {
        runner.stop(patience).await;
    }
    platform.db.close().await;
    Ok(())
}

pub async fn work(args: WorkArgs, platform: Platform) -> anyhow::Result<()> {
    let patience = Duration::from_secs(platform.config.server.shutdown_s);
    let runner = Runner::start(platform.clone(), app::jobs(), RunnerOptions::default()).await?;
    tracing::info!("working jobs");
    if args.until_idle {
        tokio::select! {
            done = runner.run_until_idle() => done?,
            () = app::stop_signal() => {}
        }
    } else {
        app::stop_signal().await;
    }
    tracing::info!("stopping");
    runner.stop(patience).await;
    platform.db.close().await;
    Ok(())
}
