//! The job `people.traits`: computes everybody's traits as of a moment, from facts up to that moment alone.
//!
//! It goes through people in order of id, 1,000 to a transaction, and remembers in the same transaction how far it came: a run that was
//! cut off goes on where it stopped. SQL counts and sums; what it hands over is a few rows per person.
//!
//! The nightly run computes the people of whom something was received since the last one, and each day another seventh of all others
//! (whose figures change only by time going by); asked for a moment of its own, it computes everybody.

mod compute;
mod facts;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use compute::{Catalogue, Cuts};

use crate::people;
use crate::platform::Platform;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Tx;
use crate::platform::ids::PersonId;
use crate::platform::queue::{JobContext, NewRun, Progress, enqueue};
use crate::platform::setting;

const PEOPLE_PER_COMMIT: i64 = 1000;
const CURSOR: &str = "people.traits.cursor";

/// How far a run came.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Cursor {
    as_of_us: i64,
    after: i64,
    done: bool,
    /// When it began: what was received later is for the next run.
    begun_us: i64,
    /// Only people of whom something was received since then, and the day's seventh; `None`: everybody.
    since_us: Option<i64>,
}

/// A nightly run this long after the last one, or longer, computes everybody.
const LONGEST_GAP: i64 = 2 * DAY_US;
/// In so many days everybody is computed at least once.
const ROUND_DAYS: i64 = 7;

impl Cursor {
    /// Where a run as of `as_of` begins: where one was cut off, or anew.
    fn begin(self, as_of: Timestamp, whole: bool, now: Timestamp) -> Self {
        if !self.done && self.as_of_us == as_of.0 {
            return self;
        }
        let gap = as_of.0.saturating_sub(self.as_of_us);
        let follows = !whole && self.done && (1..LONGEST_GAP).contains(&gap);
        Self { as_of_us: as_of.0, after: 0, done: false, begun_us: now.0, since_us: follows.then_some(self.begun_us) }
    }
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
    let people = run(&platform, as_of, args.as_of.is_some(), &context.progress, &|| context.stop.is_cancelled()).await?;
    Ok(json!({ "as_of": as_of, "people": people }))
}

/// Computes everybody's traits at once, without the queue. Returns how many people have some.
pub async fn refresh_traits(platform: &Platform, as_of: Timestamp) -> anyhow::Result<u64> {
    run(platform, as_of, true, &Progress::default(), &|| false).await
}

async fn run(
    platform: &Platform,
    as_of: Timestamp,
    whole: bool,
    progress: &Progress,
    stopped: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<u64> {
    let db = &platform.db;
    let shop = &platform.config.shop;
    let mut cursor = setting::get_or_default::<Cursor>(db, CURSOR).await?.begin(as_of, whole, platform.now());
    let news = match cursor.since_us {
        Some(since) => Some(facts::people_with_news(db, Timestamp(since)).await?),
        None => None,
    };
    let wanted = |id: &PersonId| match &news {
        Some(news) => news.contains(id) || id.0.rem_euclid(ROUND_DAYS) == (as_of.0 / DAY_US).rem_euclid(ROUND_DAYS),
        None => true,
    };
    progress.total(people::count(db).await?);
    let buyers = facts::buyers(db, as_of, shop.currency).await?;
    let cuts = Cuts::of(buyers.values());
    let catalogue = Catalogue::of(&crate::catalog::all(db).await?, shop.currency);
    let mut written = 0;
    loop {
        anyhow::ensure!(!stopped(), "asked to stop; the next attempt goes on where this one stopped");
        let mut ids = people::ids_after(db, PersonId(cursor.after), PEOPLE_PER_COMMIT).await?;
        let Some(last) = ids.last().copied() else { break };
        progress.add(i64::try_from(ids.len())?);
        ids.retain(wanted);
        let mut facts = facts::of(db, &ids, as_of, shop.currency).await?;
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
    }
    cursor.done = true;
    let mut tx = db.begin().await?;
    setting::put(&mut tx, CURSOR, &cursor, platform.now()).await?;
    tx.commit().await?;
    Ok(written)
}
