//! Keeps the sums in step: differences folded in, everything added up anew where the shop's zone changed.

use serde::Serialize;
use serde_json::{Value, json};

use super::rebuild::{self, Step};
use super::{PRODUCT_DAYS, read, visits, write};
use crate::attribution::AttributionSetting;
use crate::events;
use crate::platform::clock::MINUTE_US;
use crate::platform::queue::JobContext;
use crate::platform::{Platform, Timestamp, setting};
use crate::touches::deltas;

/// Differences in one transaction: a few milliseconds' work.
const CHUNK: i64 = 2_000;
/// Of events: each is about another person, whose days are read and written.
const EVENTS: i64 = 500;
/// Changed campaigns whose sums are written beside them in one transaction.
const CAMPAIGNS: i64 = 20;
/// How old the counts of people, products and orders may become.
const COUNTS_US: i64 = 10 * MINUTE_US;

/// The first day of which products are kept by day.
pub(super) fn first_kept(now: Timestamp, zone: chrono_tz::Tz) -> i64 {
    now.day_in(zone) - PRODUCT_DAYS
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Folded {
    /// Differences of touches and events folded in.
    pub changes: u64,
    /// Campaigns added up from the facts.
    pub campaigns: u64,
}

/// Brings the sums up to now. Costs what has changed since the last time. Safe to run twice at once.
pub async fn fold(platform: &Platform) -> anyhow::Result<Folded> {
    fold_with(platform, &mut |_| Ok(())).await
}

async fn fold_with(platform: &Platform, step: Step<'_>) -> anyhow::Result<Folded> {
    let state = read::state(&platform.db).await?;
    if !state.ready || state.zone != platform.config.shop.time_zone.name() {
        return rebuild_with(platform, false, step).await;
    }
    let mut folded = Folded::default();
    for kind in [Kind::Events, Kind::Touches] {
        loop {
            let now = platform.now();
            let mut tx = platform.db.begin().await?;
            // Another process may just have begun to add everything up anew, perhaps in another zone: differences wait for its end.
            let Some(zone) = write::turn(&mut tx).await? else { return Ok(folded) };
            let most = if kind == Kind::Events { EVENTS } else { CHUNK };
            let taken = match kind {
                Kind::Events => {
                    let taken = events::deltas::take(&mut tx, most).await?;
                    visits::add(&mut tx, &taken, zone).await?;
                    taken.len()
                }
                Kind::Touches => {
                    let taken = deltas::take(&mut tx, most).await?;
                    write::add(&mut tx, &taken, zone, first_kept(now, zone)).await?;
                    taken.len()
                }
            };
            let last = taken < usize::try_from(most)?;
            if last && kind == Kind::Touches {
                write::forget_days(&mut tx, first_kept(now, zone)).await?;
                write::folded(&mut tx, now).await?;
            }
            tx.commit().await?;
            folded.changes += taken as u64;
            step(taken as u64)?;
            if last {
                break;
            }
        }
    }
    write_figures(platform).await?;
    count(platform).await?;
    Ok(folded)
}

/// What changed campaigns came to is written beside them, so that their list is ordered by it.
async fn write_figures(platform: &Platform) -> anyhow::Result<()> {
    let (db, currency) = (&platform.db, platform.config.shop.currency.code());
    let setting: AttributionSetting = setting::get_or_default(db, AttributionSetting::KEY).await?;
    let reading = setting.reading();
    let read_as = format!("{} {} {currency}", reading.model, if reading.view_through { "views" } else { "clicks" });
    loop {
        let mut tx = db.begin().await?;
        write::lock(&mut tx).await?;
        write::read_as(&mut tx, &read_as).await?;
        let done = write::write_figures(&mut tx, currency, reading, CAMPAIGNS).await?;
        tx.commit().await?;
        if i64::try_from(done)? < CAMPAIGNS {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Events,
    Touches,
}

/// Adds everything up from the facts, part by part; differences that come meanwhile are not lost.
pub async fn rebuild(platform: &Platform) -> anyhow::Result<Folded> {
    rebuild_with(platform, true, &mut |_| Ok(())).await
}

/// As [`rebuild`], as long as `go_on` says so (it is asked after each part); the next [`fold`] goes on where this stopped.
pub async fn rebuild_while(platform: &Platform, go_on: &mut (dyn FnMut() -> bool + Send)) -> anyhow::Result<Folded> {
    rebuild_with(platform, true, &mut |_| if go_on() { Ok(()) } else { Err(anyhow::anyhow!("stopped; the next pass goes on")) }).await
}

async fn rebuild_with(platform: &Platform, anew: bool, step: Step<'_>) -> anyhow::Result<Folded> {
    let folded = rebuild::rebuild(platform, anew, step).await?;
    write_figures(platform).await?;
    count(platform).await?;
    Ok(folded)
}

/// Keeps the counts that would need a scan.
async fn count(platform: &Platform) -> sqlx::Result<()> {
    let now = platform.now();
    let old = read::counted(&platform.db).await?.as_of;
    if old.is_some_and(|at: Timestamp| now.since(at) < COUNTS_US && now >= at) {
        return Ok(());
    }
    let counts = read::count(&platform.db).await?;
    let mut tx = platform.db.begin().await?;
    write::counts(&mut tx, &counts, now).await?;
    tx.commit().await
}

/// The job `attribution.rollup`.
pub(in crate::attribution) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let everything = context.args.get("everything").and_then(Value::as_bool).unwrap_or(false);
    let (progress, stop) = (context.progress.clone(), context.stop.clone());
    let mut step = move |n: u64| {
        progress.add(i64::try_from(n).unwrap_or(0));
        anyhow::ensure!(!stop.is_cancelled(), "stopped; the next attempt goes on");
        Ok(())
    };
    let done = if everything { rebuild_with(&platform, true, &mut step).await? } else { fold_with(&platform, &mut step).await? };
    Ok(json!(done))
}
