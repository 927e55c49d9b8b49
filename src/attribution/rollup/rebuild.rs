//! Adds everything up anew, part by part: on SQLite the facts are read beside the writer, which gets the sums in small pieces; on Postgres a part
//! is one transaction that sees one state of the database. Stopped, it goes on where it was.
//!
//! Facts may change meanwhile. On SQLite the differences of a part that its reading saw are dropped at the end, by their numbers; those that came
//! later wait, and are folded once everything is added up.

use chrono_tz::Tz;

use super::facts;
use super::fold::{Folded, first_kept};
use super::parts::{self, Claim, Part};
use super::write::ByProduct;
use super::{visits, write};
use crate::events;
use crate::on;
use crate::platform::Platform;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::CampaignId;
use crate::touches;

/// On Postgres a part is added up in one snapshot, which a change beside it may refuse; on SQLite credit may change while it is read.
const TRIES: usize = 5;
/// Rows written, and differences dropped, in one transaction on SQLite: a few milliseconds' work.
const PIECE: usize = 400;
/// People whose old visits are dropped in one transaction.
const PEOPLE: usize = 250;

pub(super) type Step<'a> = &'a mut (dyn FnMut(u64) -> anyhow::Result<()> + Send);

/// Goes on with what was begun, or begins `anew`.
pub(super) async fn rebuild(platform: &Platform, anew: bool, step: Step<'_>) -> anyhow::Result<Folded> {
    let db = &platform.db;
    let zone = platform.config.shop.time_zone;
    let mut tx = db.begin().await?;
    let build = parts::begin(&mut tx, zone, anew).await?;
    tx.commit().await?;
    let mut folded = Folded::default();
    let finished = parts::finished(db, build).await?;
    for part in parts::all(db).await? {
        if !parts::is_in(part, &finished) {
            let mut tries = 0;
            loop {
                match add_up(db, part, build, zone, first_kept(platform.now(), zone)).await {
                    Ok(()) => break,
                    Err(e) if tries < TRIES && refused(&e) => tries += 1,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        folded.campaigns += u64::from(matches!(part, Part::Campaign(_)));
        step(1)?;
    }
    sweep(db, build, step).await?;
    let mut tx = db.begin().await?;
    parts::done(&mut tx, build, platform.now()).await?;
    tx.commit().await?;
    Ok(folded)
}

/// Whether Postgres asks to try again (`serialization_failure`).
fn refused(e: &sqlx::Error) -> bool {
    e.as_database_error().and_then(|d| d.code()).is_some_and(|code| code == "40001")
}

async fn add_up(db: &Db, part: Part, build: i64, zone: Tz, since: i64) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    if let Tx::Postgres(inner) = &mut tx {
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut **inner).await?;
    }
    let Some(claim) = parts::claim(&mut tx, part, build).await? else { return Ok(()) };
    match (db.dialect(), part) {
        (Dialect::Postgres, Part::Campaign(id)) => {
            write::lock(&mut tx).await?;
            for sql in [FORGET_TOUCHES, FORGET_PRODUCTS, FORGET_PRODUCT_DAYS] {
                on!(&mut tx, |c| sqlx::query(sql).bind(id).execute(&mut *c).await.map(|_| ()))?;
            }
            let told = facts::of_touches(&mut tx, id, zone, since).await?;
            write::put_touches(&mut tx, &told.days).await?;
            write::put_products(&mut tx, ByProduct::Month, &told.products).await?;
            write::put_products(&mut tx, ByProduct::Day, &told.product_days).await?;
            let credit = facts::of_credit(&mut tx, id).await?;
            put_credit(&mut tx, id, &credit, zone).await?;
            touches::deltas::forget(&mut tx, id).await?;
            claim.finish(&mut tx, 0).await?;
            tx.commit().await
        }
        (Dialect::Postgres, Part::People(number)) => {
            write::lock(&mut tx).await?;
            let people = Part::people(number);
            visits::clear(&mut tx, people.clone()).await?;
            let told = visits::of_events(&mut tx, people.clone(), zone).await?;
            visits::put(&mut tx, &rows(&told)).await?;
            visits::put_sums(&mut tx, &visits::sums_of(&told)).await?;
            events::deltas::forget(&mut tx, people).await?;
            claim.finish(&mut tx, 0).await?;
            tx.commit().await
        }
        (Dialect::Sqlite, _) => {
            tx.commit().await?;
            let worker = Worker { db, claim, zone, since };
            match part {
                Part::Campaign(id) => worker.campaign(id).await,
                Part::People(number) => worker.people(number).await,
            }
        }
    }
}

fn rows(people: &std::collections::BTreeMap<i64, visits::Days>) -> Vec<(i64, i64, i64)> {
    people.iter().flat_map(|(person, days)| days.iter().map(move |(day, n)| (*person, *day, *n))).collect()
}

const FORGET_TOUCHES: &str = "DELETE FROM rollup_touch WHERE campaign_id = $1";
const FORGET_PRODUCTS: &str = "DELETE FROM rollup_product WHERE campaign_id = $1";
const FORGET_PRODUCT_DAYS: &str = "DELETE FROM rollup_product_day WHERE campaign_id = $1";
const FORGET_CREDIT: [&str; 2] =
    ["DELETE FROM rollup_credit WHERE campaign_id = $1", "DELETE FROM rollup_product_credit WHERE campaign_id = $1"];

/// Puts a campaign's credit in the place of what its sums hold of it.
async fn put_credit(tx: &mut Tx, id: CampaignId, told: &[facts::CreditFact], zone: Tz) -> sqlx::Result<()> {
    for sql in FORGET_CREDIT {
        on!(&mut *tx, |c| sqlx::query(sql).bind(id).execute(&mut *c).await.map(|_| ()))?;
    }
    write::changed(tx, std::iter::once(id.0)).await?;
    let all: Vec<_> = told.iter().map(|row| row.put_in(id)).collect();
    write::credit_changed(tx, &all, zone).await
}

const GENERATION: &str = "SELECT generation FROM rollup_state WHERE id = 1";
// What a try before this one left.
const CLEAR_PRODUCTS: [&str; 2] = [
    "DELETE FROM rollup_product WHERE rowid IN (SELECT rowid FROM rollup_product WHERE campaign_id = $1 LIMIT $2)",
    "DELETE FROM rollup_product_day WHERE rowid IN (SELECT rowid FROM rollup_product_day WHERE campaign_id = $1 LIMIT $2)",
];

/// One part on SQLite, in many short transactions. Each makes sure that nobody took the part over.
struct Worker<'a> {
    db: &'a Db,
    claim: Claim,
    zone: Tz,
    /// The first day that products are kept by day of.
    since: i64,
}

impl Worker<'_> {
    /// A transaction, as long as the part is ours.
    async fn turn(&self) -> sqlx::Result<Option<Tx>> {
        let mut tx = self.db.begin().await?;
        Ok(if self.claim.holds(&mut tx).await? { Some(tx) } else { None })
    }

    async fn campaign(&self, id: CampaignId) -> sqlx::Result<()> {
        if !self.clear(id).await? {
            return Ok(());
        }
        let mut seen = self.db.snapshot().await?;
        let through = touches::deltas::newest(&mut seen).await?;
        let told = facts::of_touches(&mut seen, id, self.zone, self.since).await?;
        seen.rollback().await?;
        for piece in told.days.chunks(PIECE) {
            let Some(mut tx) = self.turn().await? else { return Ok(()) };
            write::put_touches(&mut tx, piece).await?;
            tx.commit().await?;
        }
        for (by, sums) in [(ByProduct::Month, &told.products), (ByProduct::Day, &told.product_days)] {
            for piece in sums.chunks(PIECE) {
                let Some(mut tx) = self.turn().await? else { return Ok(()) };
                write::put_products(&mut tx, by, piece).await?;
                tx.commit().await?;
            }
        }
        self.credit(id, through).await
    }

    async fn clear(&self, id: CampaignId) -> sqlx::Result<bool> {
        let Some(mut tx) = self.turn().await? else { return Ok(false) };
        on!(&mut tx, |c| sqlx::query(FORGET_TOUCHES).bind(id).execute(&mut *c).await.map(|_| ()))?;
        tx.commit().await?;
        for sql in CLEAR_PRODUCTS {
            loop {
                let Some(mut tx) = self.turn().await? else { return Ok(false) };
                let piece = PIECE as i64;
                let gone = on!(&mut tx, |c| sqlx::query(sql).bind(id).bind(piece).execute(&mut *c).await.map(|r| r.rows_affected()))?;
                tx.commit().await?;
                if gone < PIECE as u64 {
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Credit's differences are written beside it, so its sums must be told and written with no change of it between.
    async fn credit(&self, id: CampaignId, through: i64) -> sqlx::Result<()> {
        for tries in 0..=TRIES {
            let mut seen = self.db.snapshot().await?;
            let generation: i64 = on!(&mut seen, |c| sqlx::query_scalar(GENERATION).fetch_one(&mut *c).await)?;
            let mut told = facts::of_credit(&mut seen, id).await?;
            seen.rollback().await?;
            let Some(mut tx) = self.turn().await? else { return Ok(()) };
            let now: i64 = on!(&mut tx, |c| sqlx::query_scalar(GENERATION).fetch_one(&mut *c).await)?;
            if now != generation {
                if tries < TRIES {
                    tx.rollback().await?;
                    continue;
                }
                told = facts::of_credit(&mut tx, id).await?;
            }
            write::lock(&mut tx).await?;
            put_credit(&mut tx, id, &told, self.zone).await?;
            self.claim.finish(&mut tx, through).await?;
            return tx.commit().await;
        }
        Ok(())
    }

    async fn people(&self, number: i64) -> sqlx::Result<()> {
        let people = Part::people(number);
        for begin in people.clone().step_by(PEOPLE) {
            let Some(mut tx) = self.turn().await? else { return Ok(()) };
            let any = visits::clear(&mut tx, begin..(begin + PEOPLE as i64).min(people.end)).await?;
            if any { tx.commit().await? } else { tx.rollback().await? }
        }
        let mut seen = self.db.snapshot().await?;
        let through = events::deltas::newest(&mut seen).await?;
        let told = visits::of_events(&mut seen, people, self.zone).await?;
        seen.rollback().await?;
        for piece in rows(&told).chunks(PIECE) {
            let Some(mut tx) = self.turn().await? else { return Ok(()) };
            visits::put(&mut tx, piece).await?;
            tx.commit().await?;
        }
        let Some(mut tx) = self.turn().await? else { return Ok(()) };
        visits::put_sums(&mut tx, &visits::sums_of(&told)).await?;
        self.claim.finish(&mut tx, through).await?;
        tx.commit().await
    }
}

/// Drops the differences that the sums hold already.
async fn sweep(db: &Db, build: i64, step: Step<'_>) -> anyhow::Result<()> {
    for kind in [parts::CAMPAIGN, parts::VISITS] {
        let through = parts::through(db, kind, build).await?;
        let (mut after, last) = (0, through.values().copied().max().unwrap_or(0));
        while after < last {
            let mut tx = db.begin().await?;
            if !parts::goes_on(&mut tx, build).await? {
                return Ok(());
            }
            let piece = PIECE as i64 * 4;
            let page = match kind {
                parts::CAMPAIGN => touches::deltas::page(&mut tx, after, last, piece).await?,
                _ => events::deltas::page(&mut tx, after, last, piece).await?,
            };
            let held = |(id, of): &(i64, i64)| through.get(&parts::part_of(kind, *of)).is_some_and(|t| id <= t).then_some(*id);
            let ids: Vec<i64> = page.iter().filter_map(held).collect();
            match kind {
                parts::CAMPAIGN => touches::deltas::remove(&mut tx, &ids).await?,
                _ => events::deltas::remove(&mut tx, &ids).await?,
            }
            tx.commit().await?;
            after = page.last().map_or(last, |(id, _)| *id);
            step(0)?;
        }
    }
    Ok(())
}
