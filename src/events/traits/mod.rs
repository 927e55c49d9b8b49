//! The job `people.traits`: computes everybody's traits as of a moment, from facts up to that moment alone.
//!
//! It goes through people in order of id, 1,000 to a transaction, and remembers in the same transaction how far it came: a run that was
//! cut off goes on where it stopped. SQL counts and sums; what it hands over is a few rows per person.

mod compute;
mod facts;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use compute::{Catalogue, Cuts};

use crate::people;
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::PersonId;
use crate::platform::queue::{JobContext, NewRun, Progress, enqueue};
use crate::platform::setting;

const PEOPLE_PER_COMMIT: i64 = 1000;
const CURSOR: &str = "people.traits.cursor";

/// How far a run came.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Cursor {
    as_of_us: i64,
    after: i64,
    done: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    as_of: Option<Timestamp>,
}

/// Asks for the job, as of `as_of`; the same moment twice is one run.
pub async fn enqueue_traits(tx: &mut Tx, as_of: Timestamp, now: Timestamp) -> anyhow::Result<bool> {
    let run = NewRun { job: "people.traits", unique_key: format!("as_of:{as_of}"), args: json!({ "as_of": as_of }), at: now };
    enqueue(tx, run, now).await
}

pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let args: Args = if context.args.is_null() { Args::default() } else { serde_json::from_value(context.args.clone())? };
    let as_of = args.as_of.unwrap_or(context.scheduled_at);
    let people = run(&platform, as_of, &context.progress, &|| context.stop.is_cancelled()).await?;
    Ok(json!({ "as_of": as_of, "people": people }))
}

/// Computes everybody's traits at once, without the queue. Returns how many people have some.
pub async fn refresh_traits(platform: &Platform, as_of: Timestamp) -> anyhow::Result<u64> {
    run(platform, as_of, &Progress::default(), &|| false).await
}

async fn run(platform: &Platform, as_of: Timestamp, progress: &Progress, stopped: &(dyn Fn() -> bool + Sync)) -> anyhow::Result<u64> {
    let db = &platform.db;
    let shop = &platform.config.shop;
    let mut cursor = setting::get_or_default::<Cursor>(db, CURSOR).await?;
    if cursor.done || cursor.as_of_us != as_of.0 {
        cursor = Cursor { as_of_us: as_of.0, after: 0, done: false };
    }
    progress.total(people::count(db).await?);
    let buyers = facts::buyers(db, as_of, shop.currency).await?;
    let cuts = Cuts::of(buyers.values());
    let catalogue = Catalogue::of(&crate::catalog::all(db).await?, shop.currency);
    let mut written = 0;
    loop {
        anyhow::ensure!(!stopped(), "asked to stop; the next attempt goes on where this one stopped");
        let ids = people::ids_after(db, PersonId(cursor.after), PEOPLE_PER_COMMIT).await?;
        let Some(last) = ids.last().copied() else { break };
        let span = facts::Span { after: PersonId(cursor.after), last, as_of };
        let mut facts = facts::of_span(db, span, shop.currency).await?;
        let profiles = people::get_many(db, &ids).await?;
        let traits: Vec<people::Traits> = ids
            .iter()
            .map(|id| {
                let zone = profiles.get(id).map_or(shop.time_zone, |p| p.zone(shop.time_zone));
                let of_person = facts.remove(id).unwrap_or_default();
                compute::traits(*id, as_of, zone, buyers.get(id), &of_person, &cuts, &catalogue)
            })
            .collect();
        cursor.after = last.0;
        let mut tx = db.begin().await?;
        people::put_traits(&mut tx, &traits).await?;
        setting::put(&mut tx, CURSOR, &cursor, platform.now()).await?;
        tx.commit().await?;
        written += u64::try_from(traits.len())?;
        progress.add(i64::try_from(traits.len())?);
    }
    cursor.done = true;
    let mut tx = db.begin().await?;
    setting::put(&mut tx, CURSOR, &cursor, platform.now()).await?;
    tx.commit().await?;
    Ok(written)
}
