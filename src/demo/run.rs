//! The demo from an empty database to its figures, in order. What starts the servers stands above (`cli/demo.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::door::Door;
use super::drive::{Drive, Tally};
use super::figures::{self, Figures};
use super::marketer::{self, LIFT_WINDOW_HOURS};
use super::messages;
use super::world::{Truth, Window, World, WorldConfig};
use crate::attribution;
use crate::catalog::{self, FetchOptions, Fetcher};
use crate::delivery::sink::{Action, Sink, SinkOptions, Stage as SmtpStage};
use crate::platform::Platform;
use crate::platform::clock::{HOUR_US, Timestamp};
use crate::platform::progress::{bar, spinner};
use crate::platform::queue::Runner;

/// Days of history that are loaded before the first campaign; a multiple of seven, so that campaign days begin on a Monday.
pub const HISTORY_DAYS: i32 = 63;
/// Campaign days: the lift campaign goes out on the second, its window is a week.
pub const CAMPAIGN_DAYS: i32 = 9;
/// Hours (UTC) of a campaign day at which jobs run. Schedules that are due in between run at the next of them.
const HOURS: [i64; 5] = [0, 4, 8, 9, 16];
/// Campaign days on which it strikes six in the evening somewhere on the date of the campaign for people's own time.
const LOCAL_DAYS: std::ops::RangeInclusive<i32> = 4..=5;

/// Which shop.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub people: u32,
    pub products: u32,
}

impl Options {
    pub fn world(&self) -> World {
        World::new(WorldConfig {
            seed: self.seed,
            people: self.people,
            products: self.products,
            days: HISTORY_DAYS + CAMPAIGN_DAYS,
            ..WorldConfig::default()
        })
    }
    /// When the demo's clock begins: the end of the history.
    pub fn now(world: &World) -> Timestamp {
        world.instant(f64::from(HISTORY_DAYS))
    }
}

/// A mail server on loopback that takes everything but mail to addresses that bounce.
pub async fn sink() -> std::io::Result<Sink> {
    let script = Arc::new(|occasion: crate::delivery::sink::Occasion<'_>| {
        let gone = occasion.stage == SmtpStage::Rcpt && occasion.to.is_some_and(|to| to.contains("@bounce.example.test"));
        if gone { Action::Reply("550 5.1.1 no such mailbox".into()) } else { Action::Proceed }
    });
    Sink::start_with(SinkOptions { keep: 200_000, script: Some(script), ..SinkOptions::default() }).await
}

/// Everything that runs around the demo.
pub struct Stage {
    pub platform: Platform,
    /// Base of Marquee's HTTP interface, as this machine reaches it.
    pub url: String,
    /// A key with all scopes that the demo needs: ingest, serve, reports, manage.
    pub key: String,
    pub sink: Sink,
    /// Base of the shop's own site.
    pub shop_url: String,
}

/// What the demo knows at its end.
pub struct Outcome {
    pub figures: Figures,
    pub tally: Tally,
    pub truth: Truth,
}

/// Runs the whole demo. `world` must be the one that [`Stage::shop_url`] shows.
pub async fn run(stage: &Stage, world: &World, runner: &Runner) -> anyhow::Result<Outcome> {
    let door = Door::new(&stage.url, &stage.key)?;
    let mut watch = Watch::start();
    fill_catalogue(stage, world, &door).await?;
    watch.lap("catalogue");
    let mut drive = Drive::new(stage.platform.clone(), world, door.clone(), stage.sink.clone());
    load_history(&mut drive).await?;
    watch.lap("history");
    let start = Options::now(world);
    work("learning", runner).await?;
    watch.lap("learning");
    let set_up = marketer::set_up(&door, start).await?;
    let lift_due = set_up.lift_due;
    drive.meet(set_up).await?;
    campaign_days(&mut drive, stage, runner).await?;
    watch.lap("campaign days");
    let end = world.instant(f64::from(HISTORY_DAYS + CAMPAIGN_DAYS));
    stage.platform.clock.advance_to(end);
    drive.settle(end.plus_us(HOUR_US)).await?;
    work("last jobs", runner).await?;
    // What the pages show of it: sums up to the end, and what each campaign added.
    attribution::rollup::fold(&stage.platform).await?;
    attribution::keep_lifts(&stage.platform).await?;
    watch.lap("last jobs");
    let truth = truth(&drive, lift_due, end);
    let figures = figures::collect(&stage.platform, &door, &drive, &truth).await?;
    watch.lap("truth and reports");
    Ok(Outcome { figures, tally: drive.tally.clone(), truth })
}

/// Says how long each part took.
struct Watch(std::time::Instant);

impl Watch {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }
    fn lap(&mut self, part: &str) {
        tracing::info!(part, seconds = self.0.elapsed().as_secs_f64(), "done");
        self.0 = std::time::Instant::now();
    }
}

async fn fill_catalogue(stage: &Stage, world: &World, door: &Door) -> anyhow::Result<()> {
    let currency = stage.platform.config.shop.currency.code().to_owned();
    let all: Vec<u32> = (0..world.config.products).collect();
    let progress = bar(2 * u64::from(world.config.products), "catalogue");
    for some in all.chunks(200) {
        let products: Vec<Value> =
            some.iter().map(|p| messages::product(world, *p, HISTORY_DAYS - 1, &stage.shop_url, &currency)).collect();
        door.post("/v1/products", &json!({"products": products})).await?;
        progress.inc(some.len() as u64);
    }
    // The shop's pictures lie on loopback, which an importer asks only where it is allowed to.
    let fetcher = Fetcher::new(FetchOptions { allow_private: true, ..FetchOptions::default() });
    let fetched = catalog::fetch_missing_pictures(&stage.platform, &fetcher, || progress.inc(1)).await?;
    if let Some((sku, why)) = fetched.failed.first() {
        anyhow::bail!("{} pictures could not be fetched; the first, of {sku}: {why}", fetched.failed.len());
    }
    progress.finish();
    Ok(())
}

async fn load_history(drive: &mut Drive<'_>) -> anyhow::Result<()> {
    // About 40 messages a person in nine weeks.
    let progress = bar(u64::from(drive.world.config.people) * 40, "history");
    let ticker = progress.clone();
    drive.load_history(HISTORY_DAYS, move |n| ticker.inc(n)).await?;
    progress.set_length(progress.position());
    progress.finish();
    Ok(())
}

async fn work(label: &str, runner: &Runner) -> anyhow::Result<()> {
    let progress = spinner(label);
    runner.run_until_idle().await?;
    progress.finish();
    Ok(())
}

async fn campaign_days(drive: &mut Drive<'_>, stage: &Stage, runner: &Runner) -> anyhow::Result<()> {
    let progress = bar(u64::try_from(CAMPAIGN_DAYS).unwrap_or(0) * 24, "campaign days");
    for n in 0..CAMPAIGN_DAYS {
        let day = HISTORY_DAYS + n;
        let midnight = drive.world.instant(f64::from(day));
        drive.update_shelves(day, &stage.shop_url).await?;
        let evenings = drive.world.hours_of(day, 18).into_iter().filter(|_| LOCAL_DAYS.contains(&n));
        let hours: Vec<i64> = HOURS.into_iter().chain(evenings).collect::<BTreeSet<i64>>().into_iter().collect();
        for (i, hour) in hours.iter().enumerate() {
            let next = hours.get(i + 1).copied().unwrap_or(24);
            drive.step(runner, midnight.plus_us(hour * HOUR_US), midnight.plus_us(next * HOUR_US)).await?;
            progress.inc(u64::try_from(next - hour).unwrap_or(0));
        }
    }
    progress.finish();
    Ok(())
}

/// The truth about the lift campaign: from the simulator alone.
fn truth(drive: &Drive<'_>, due: Timestamp, as_of: Timestamp) -> Truth {
    let Some(number) = drive.campaigns().and_then(|c| c.lift()).map(|c| c.number) else { return Truth::default() };
    let until = due.plus_us(LIFT_WINDOW_HOURS * HOUR_US);
    // Everybody whom a mail of it reached: nobody else can have been changed by it.
    let mut people: Vec<u32> = drive.simulation.touches.iter().filter(|t| t.campaign == number).map(|t| t.person).collect();
    people.sort_unstable();
    people.dedup();
    let windows: Vec<Window> = people.into_iter().map(|person| Window { person, from: due, until }).collect();
    drive.world.truth(&drive.simulation.touches, number, &windows, as_of)
}
