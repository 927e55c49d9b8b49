//! `marquee demo`: the simulated shop, run through Marquee's public doors, on a machine with nothing set up.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use crate::account::Scope;
use crate::app::{self, Services};
use crate::demo::run::{self, Options, Stage};
use crate::demo::storefront;
use crate::platform::queue::{Runner, RunnerOptions};
use crate::platform::{Clock, Config, Platform};

const DEFAULT_PORT: u16 = 8321;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the run instead of staying up.
    #[arg(long)]
    once: bool,
    /// The last line on stdout is one JSON object with the figures.
    #[arg(long)]
    json: bool,
    /// Another number is another shop.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(200..=200_000))]
    people: u32,
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u32).range(50..=20_000))]
    products: u32,
    /// Port of the HTTP server (default: 8321, or a free one where that is taken).
    #[arg(long)]
    port: Option<u16>,
}

/// `database`: as given with `--database`. Without it a database in a temporary folder is made, and removed at the end.
pub async fn demo(args: DemoArgs, mut config: Config, database: Option<String>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let options = Options { seed: args.seed, people: args.people, products: args.products };
    let world = Arc::new(options.world());
    let folder = Folder::make()?;
    // A database that is removed at the end need not survive a power cut.
    config.database.durable = database.is_some();
    config.database.url = database.unwrap_or_else(|| format!("sqlite://{}", folder.0.join("shop.db").display()));
    let sink = run::sink().await?;
    let site = storefront::start(world.clone())?;
    let url = address(args.port, &mut config)?;
    wire(&mut config, &sink.url(), &site.url);
    let database = config.database.url.clone();
    let clock = Clock::manual(Options::now(&world));
    let platform = Platform::open(config, clock.clone()).await?;
    let found = crate::people::count(&platform.db).await?;
    anyhow::ensure!(
        found == 0,
        "{database} already holds {found} people; the demo needs an empty database (leave --database out for a fresh one)"
    );
    let services = Services::start(platform.clone()).await?;
    let scopes = [Scope::Ingest, Scope::Serve, Scope::Reports, Scope::Manage];
    let key = services.keys.create("demo", &scopes, platform.now()).await?.key;
    let server = app::serve(&services).await?;
    // Jobs run only when the demo says so, for the clock jumps between them.
    let options = RunnerOptions { poll: Duration::from_secs(2), background: false, ..RunnerOptions::default() };
    let runner = Runner::start(platform.clone(), app::jobs(), options).await?;
    let stage = Stage { platform: platform.clone(), url, key: key.clone(), sink: sink.clone(), shop_url: site.url.clone() };
    let outcome = tokio::select! {
        outcome = run::run(&stage, &world, &runner) => outcome?,
        () = app::stop_signal() => anyhow::bail!("stopped"),
    };
    runner.stop(Duration::from_secs(5)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let table = outcome.figures.table(&outcome.tally, &outcome.truth, seconds);
    if args.json {
        eprintln!("{table}")
    } else {
        println!("{table}")
    }
    if !args.once {
        eprintln!("{}", invitation(&stage, &database));
        if let Some(link) = services.ui.accounts.set_up_link().await? {
            eprintln!("The pages: make yourself an account at {link}");
        }
        stay_up(&platform, clock).await?;
    }
    server.handle.stop(false).await;
    services.finish(Duration::from_secs(5)).await;
    site.handle.stop(false).await;
    platform.db.close().await;
    if args.json {
        println!("{}", outcome.figures.json(seconds));
    }
    Ok(())
}

/// The port asked for, or 8321, or a free one.
fn address(port: Option<u16>, config: &mut Config) -> anyhow::Result<String> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).and_then(|l| l.local_addr()).map(|a| a.port());
    let port = match port {
        Some(port) => free(port).map_err(|e| anyhow::anyhow!("port {port} cannot be used: {e}"))?,
        None => free(DEFAULT_PORT).or_else(|_| free(0))?,
    };
    config.server.bind = format!("127.0.0.1:{port}");
    config.server.public_url = format!("http://127.0.0.1:{port}");
    Ok(config.server.public_url.clone())
}

/// A shop that sends to the sink.
fn wire(config: &mut Config, sink: &str, shop: &str) {
    config.shop.name = "Fern & Kettle".into();
    config.shop.url = format!("{shop}/");
    config.shop.currency = crate::platform::Currency::EUR;
    config.shop.postal_address = "Fern & Kettle, 1 Example Street, 00000 Exampleton".into();
    config.mail.servers = vec![sink.to_owned()];
    config.mail.from_name = "Fern & Kettle".into();
    config.mail.from_address = "hello@shop.example.test".into();
    config.mail.rate_per_server = 0.0;
    config.mail.rate_per_domain = 0.0;
    // The clock jumps; leases are for crashes, which a demo has none of.
    config.work.lease_s = 3600;
}

fn invitation(stage: &Stage, database: &str) -> String {
    format!(
        "\nStays up until Ctrl-C.\n  HTTP API     {}/docs/\n  API key      {}\n  the shop     {}/\n  mail sink    {}\n  database     {database}\n\
         Try: curl -H 'Authorization: Bearer {}' '{}/v1/campaigns'",
        stage.url,
        stage.key,
        stage.shop_url,
        stage.sink.url(),
        stage.key,
        stage.url
    )
}

/// From now on time passes as it does, and jobs run by themselves.
async fn stay_up(platform: &Platform, clock: Clock) -> anyhow::Result<()> {
    let runner = Runner::start(platform.clone(), app::jobs(), RunnerOptions::default()).await?;
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance_to(clock.now().plus_secs(1));
        }
    };
    tokio::select! {
        () = ticking => {}
        () = app::stop_signal() => {}
    }
    runner.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("marquee-demo-{}", crate::platform::ids::uuid_v4().simple()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
