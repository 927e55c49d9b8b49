//! `marquee campaign`: make, look at and steer campaigns.

use std::path::PathBuf;

use clap::Subcommand;

use crate::app;
use crate::campaign::{self, Action, Campaign, NewCampaign};
use crate::platform::Platform;
use crate::platform::ids::CampaignId;
use crate::platform::queue::{Runner, RunnerOptions};

#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Make a draft from a JSON file (`-` reads standard input): {"name": …, "plan": {…}}.
    Create {
        file: PathBuf,
        /// Schedule it at once.
        #[arg(long)]
        schedule: bool,
    },
    /// All campaigns.
    List,
    /// One campaign, its progress and its variants.
    Show { campaign: String },
    /// Let it run by its schedule.
    Schedule { campaign: String },
    /// Stop sending; what is planned waits.
    Pause { campaign: String },
    /// Go on after a pause.
    Resume { campaign: String },
    /// End it; what is planned is cancelled.
    Cancel { campaign: String },
    /// Who would get what, and who not and why. Writes nothing.
    DryRun {
        campaign: String,
        /// How many people to name.
        #[arg(long, default_value_t = 10)]
        people: usize,
        /// The whole report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a draft once, now: plan it and send it before this command ends.
    SendNow { campaign: String },
}

pub async fn run(command: CampaignCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        CampaignCommand::Create { file, schedule } => create(platform, &file, schedule).await,
        CampaignCommand::List => list(platform).await,
        CampaignCommand::Show { campaign } => show(platform, &campaign).await,
        CampaignCommand::Schedule { campaign } => act(platform, &campaign, Action::Schedule).await,
        CampaignCommand::Pause { campaign } => act(platform, &campaign, Action::Pause).await,
        CampaignCommand::Resume { campaign } => act(platform, &campaign, Action::Resume).await,
        CampaignCommand::Cancel { campaign } => act(platform, &campaign, Action::Cancel).await,
        CampaignCommand::DryRun { campaign, people, json } => dry_run(platform, &campaign, people, json).await,
        CampaignCommand::SendNow { campaign } => send_now(platform, &campaign).await,
    }
}

async fn create(platform: &Platform, file: &std::path::Path, schedule: bool) -> anyhow::Result<()> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?
    };
    let new: NewCampaign = serde_json::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    let made = campaign::create(&platform.db, new, platform.now()).await?;
    println!("{}", line(&made));
    if schedule { act(platform, &made.key, Action::Schedule).await } else { Ok(()) }
}

fn line(c: &Campaign) -> String {
    let next = c.next_run_at.map(|at| format!("next run {at}")).unwrap_or_default();
    format!("{:<8} {:<24} {:<10} {:<7} {} {next}", c.id.to_string(), c.key, c.status.as_str(), c.plan.channel.as_str(), c.name)
}

async fn list(platform: &Platform) -> anyhow::Result<()> {
    let mut after = CampaignId(0);
    loop {
        let page = campaign::list(&platform.db, after, 200).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for c in &page {
            println!("{}", line(c));
        }
    }
}

async fn show(platform: &Platform, key: &str) -> anyhow::Result<()> {
    let found = campaign::find(&platform.db, key).await?;
    println!("{}", line(&found));
    println!("{}", serde_json::to_string_pretty(&found.plan)?);
    let progress = campaign::progress(&platform.db, found.id).await?;
    for row in &progress.states {
        println!("{:<8} {:<10} {:>8} {}", row.arm.as_str(), row.state.as_str(), row.touches, row.reason.as_deref().unwrap_or_default());
    }
    for v in &progress.variants {
        println!("variant {:<12} sent {:>7} held {:>6} opened {:>6} clicked {:>6}", v.name, v.sent, v.held, v.opened, v.clicked);
    }
    Ok(())
}

async fn act(platform: &Platform, key: &str, action: Action) -> anyhow::Result<()> {
    let found = campaign::find(&platform.db, key).await?;
    println!("{}", line(&campaign::transition(platform, found.id, action).await?));
    Ok(())
}

async fn dry_run(platform: &Platform, key: &str, people: usize, json: bool) -> anyhow::Result<()> {
    let found = campaign::find(&platform.db, key).await?;
    let report = campaign::dry_run(platform, found.id, people).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("run at {}: {} people, {} treated, {} held out", report.run_at, report.audience, report.treated, report.held_out);
    for (reason, n) in &report.skipped {
        println!("  {n:>8} left out: {reason}");
    }
    for (variant, n) in &report.variants {
        println!("  {n:>8} get variant {variant}");
    }
    for p in &report.products {
        println!("  {:>8} see {} {}", p.people, p.sku, p.title);
    }
    if let Some(d) = report.detectable {
        let money = d.effect_minor_per_person.map(|e| format!(", {e:.0} minor units per person")).unwrap_or_default();
        println!("  detectable lift: {:.3} standard deviations{money}", d.effect_sd);
    }
    for p in &report.people {
        let what = p.skipped.map_or_else(|| p.products.join(", "), |reason| format!("nothing: {reason}"));
        println!("  {:<12} {:<8} {:<10} {} {what}", p.person_id.to_string(), p.arm.as_str(), p.variant, p.due_at);
    }
    Ok(())
}

async fn send_now(platform: &Platform, key: &str) -> anyhow::Result<()> {
    let found = campaign::find(&platform.db, key).await?;
    campaign::send_now(platform, found.id).await?;
    let runner = Runner::start(platform.clone(), app::jobs(), RunnerOptions { cron: false, ..RunnerOptions::default() }).await?;
    runner.run_until_idle().await?;
    runner.stop(std::time::Duration::from_secs(5)).await;
    campaign::tick(platform, platform.now()).await?;
    show(platform, key).await
}
