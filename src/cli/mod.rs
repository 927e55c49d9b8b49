//! The command line: one file per command, all above the slices.

mod bounce;
mod campaign;
mod copy;
mod demo;
mod dkim;
mod doctor;
mod evaluate;
mod import;
mod jobs;
mod key;
mod models;
mod person;
mod render_preview;
mod report;
mod segment;
mod serve;
mod train;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::platform::{Clock, Config, Platform, Timestamp, telemetry};

/// Campaigns, personalised ads, and what they were worth.
#[derive(Debug, Parser)]
#[command(name = "marquee", version, propagate_version = true)]
pub struct Cli {
    /// Configuration file (default: marquee.toml, where there is one).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database: sqlite://file.db or postgres://user:password@host/name.
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// Act as if it were this moment (RFC 3339, or a date): for replaying a shop's past.
    #[arg(long, global = true, value_name = "TIME")]
    as_of: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a simulated shop whose truth is known through everything, on a machine with nothing set up.
    Demo(demo::DemoArgs),
    /// Answer HTTP: ingest, ads, tracking, API. On SQLite it also works jobs.
    Serve(serve::ServeArgs),
    /// Work jobs. Run as many as you like over one Postgres.
    Work(serve::WorkArgs),
    /// Bring in files of orders, people and products.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Campaigns: make, look at, schedule, pause, send.
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Who may sign in: add, list, reset, change the role.
    #[command(subcommand)]
    User(user::UserCommand),
    /// One person: what is known, export, erase.
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Try the words for a product; approve and reject stored copy.
    #[command(subcommand)]
    Copy(copy::CopyCommand),
    /// What runs when, what ran, what failed; run one now.
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Make, look at, snapshot and delete segments.
    #[command(subcommand)]
    Segment(segment::SegmentCommand),
    /// Make and show DKIM keys.
    #[command(subcommand)]
    Dkim(dkim::DkimCommand),
    /// Take bounces and complaints from raw mails.
    Bounce(bounce::BounceArgs),
    /// Attribution and lift: who earned what, and what it added.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Embed the catalogue, train the choice and pick products for everybody, now.
    Train(train::TrainArgs),
    /// Measure the choice offline beside simpler ones.
    Evaluate(evaluate::EvaluateArgs),
    /// Fetch and list model weights.
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Check configuration, database, mail and models, and say what is wrong.
    Doctor,
    /// Render one template from standard input (the server starts this itself).
    #[command(hide = true)]
    RenderPreview,
}

/// Runs a command; errors go to stderr with their causes.
pub fn main(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("marquee: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("marquee: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Command::RenderPreview) {
        return render_preview::run();
    }
    let mut config = Config::load(cli.config.as_deref())?;
    if let Some(url) = cli.database.clone() {
        config.database.url = url;
    }
    telemetry::start_logging(&config.log);
    let clock = match &cli.as_of {
        Some(text) => Clock::manual(as_of(text)?),
        None => Clock::system(),
    };
    match cli.command {
        Command::Demo(args) => demo::demo(args, config, cli.database).await,
        Command::Serve(args) => serve::serve(args, config, clock).await,
        Command::Work(args) => serve::work(args, Platform::open(config, clock).await?).await,
        Command::Import(command) => import::run(command, &Platform::open(config, clock).await?).await,
        Command::Campaign(command) => campaign::run(command, &Platform::open(config, clock).await?).await,
        Command::Key(command) => key::run(command, &Platform::open(config, clock).await?).await,
        Command::User(command) => user::run(command, &Platform::open(config, clock).await?).await,
        Command::Person(command) => person::run(command, &Platform::open(config, clock).await?).await,
        Command::Copy(command) => copy::run(command, &Platform::open(config, clock).await?).await,
        Command::Jobs(command) => jobs::run(command, &Platform::open(config, clock).await?).await,
        Command::Segment(command) => segment::run(command, &Platform::open(config, clock).await?).await,
        Command::Dkim(command) => dkim::run(command, &config),
        Command::Bounce(args) => bounce::run(args, &Platform::open(config, clock).await?).await,
        Command::Report(command) => report::run(command, &Platform::open(config, clock).await?).await,
        Command::Train(args) => train::run(args, &Platform::open(config, clock).await?).await,
        Command::Evaluate(args) => evaluate::run(args, config, clock).await,
        Command::Models(command) => models::run(command, &config).await,
        Command::Doctor => doctor::run(config, clock).await,
        Command::RenderPreview => Ok(()),
    }
}

/// A bare date means the end of that day: everything that happened on it counts.
fn as_of(text: &str) -> anyhow::Result<Timestamp> {
    let at = Timestamp::parse(text).ok_or_else(|| anyhow::anyhow!("--as-of {text}: write a date (2011-12-09) or an RFC 3339 time"))?;
    Ok(if text.trim().len() == 10 { at.plus_days(1).plus_us(-1) } else { at })
}
