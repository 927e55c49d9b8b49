//! SQL of what serving came to: `impression`, `ad_hour`, `ad_total`, `ad_arm`, `ad_request`, `ad_replica`.
//!
//! Figures are added in the transaction that writes the impression or the first click, in order of their keys, so that replicas wait for each
//! other and never in a circle.

use std::collections::{BTreeMap, HashSet};

use sqlx::QueryBuilder;

use super::meter::Used;
use super::ticket::Ticket;
use crate::platform::Timestamp;
use crate::platform::clock::HOUR_US;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, CreativeId, PlacementId, ProductId, TouchId, VariantId};
use crate::touches::SignalKind;
use crate::{on, read};

/// Rows per statement.
const ROWS: usize = 500;

/// Hours since 1970.
pub fn hour_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(HOUR_US)
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    shown: i64,
    viewable: i64,
    clicks: i64,
    cost_micro: i64,
    delay_us: i64,
}

/// An impression as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Impression {
    pub seq: i64,
    pub touch: TouchId,
    pub at: Timestamp,
    /// Bits of the viewer; 0 = nobody can be recognised.
    pub subject: i64,
    pub campaign: CampaignId,
    pub item: i64,
    pub placement: PlacementId,
    pub variant: VariantId,
    pub product: ProductId,
    pub creative: CreativeId,
    pub propensity: f32,
    /// 0: unknown.
    pub item_chance: f32,
    pub cost_micro: i64,
}

/// Figures to be added.
#[derive(Debug, Default)]
pub struct Tally {
    arms: BTreeMap<(i64, i64, i64), (i64, i64, i64)>,
    hours: BTreeMap<(i64, i64, i64, i64), Sums>,
    totals: BTreeMap<(i64, i64), Sums>,
}

impl Tally {
    fn add(&mut self, hour: i64, placement: PlacementId, campaign: CampaignId, item: i64, change: impl Fn(&mut Sums)) {
        change(self.hours.entry((hour, placement.0, campaign.0, item)).or_default());
        change(self.totals.entry((campaign.0, item)).or_default());
    }

    pub fn shown(&mut self, i: &Impression) {
        let arm = self.arms.entry((i.campaign.0, i.item, i.creative.0)).or_insert((i.variant.0, 0, 0));
        arm.1 += 1;
        self.add(hour_of(i.at), i.placement, i.campaign, i.item, |s| {
            s.shown += 1;
            s.cost_micro += i.cost_micro;
        });
    }

    /// The first click or view of an impression by a human.
    pub fn answered(&mut self, ticket: &Ticket, kind: SignalKind, at: Timestamp) {
        let hour = hour_of(at);
        match kind {
            SignalKind::Click => {
                let arm = self.arms.entry((ticket.campaign.0, ticket.item, ticket.creative.0)).or_insert((ticket.variant.0, 0, 0));
                arm.2 += 1;
                let delay = at.since(ticket.served_at()).max(0);
                // A bid's ticket carries what was bid for the impression, and that is billed; its click costs nothing more.
                let cost_micro = if ticket.bid { 0 } else { ticket.click_micro };
                self.add(hour, ticket.placement, ticket.campaign, ticket.item, |s| {
                    s.clicks += 1;
                    s.cost_micro += cost_micro;
                    s.delay_us += delay;
                });
            }
            SignalKind::Viewable => self.add(hour, ticket.placement, ticket.campaign, ticket.item, |s| s.viewable += 1),
            _ => {}
        }
    }

    pub async fn write(&self, tx: &mut Tx, now: Timestamp) -> sqlx::Result<()> {
        let arms: Vec<_> = self.arms.iter().collect();
        for chunk in arms.chunks(ROWS) {
            on!(&mut *tx, |c| {
                let mut q = QueryBuilder::new(
                    "INSERT INTO ad_arm (campaign_id, line_item_id, creative_id, variant_id, shown, clicks, updated_at) ",
                );
                q.push_values(chunk, |mut row, ((campaign, item, creative), (variant, shown, clicks))| {
                    row.push_bind(*campaign).push_bind(*item).push_bind(*creative).push_bind(*variant).push_bind(*shown).push_bind(*clicks);
                    row.push_bind(now);
                });
                q.push(
                    " ON CONFLICT (campaign_id, line_item_id, creative_id) DO UPDATE SET shown = ad_arm.shown + excluded.shown,
                      clicks = ad_arm.clicks + excluded.clicks, updated_at = excluded.updated_at",
                );
                q.build().persistent(false).execute(&mut *c).await.map(|_| ())
            })?;
        }
        let hours: Vec<_> = self.hours.iter().collect();
        for chunk in hours.chunks(ROWS) {
            on!(&mut *tx, |c| {
                let mut q = QueryBuilder::new(
                    "INSERT INTO ad_hour (hour, placement_id, campaign_id, line_item_id, shown, viewable, clicks, cost_micro) ",
                );
                q.push_values(chunk, |mut row, ((hour, placement, campaign, item), s)| {
                    row.push_bind(*hour).push_bind(*placement).push_bind(*campaign).push_bind(*item);
                    row.push_bind(s.shown).push_bind(s.viewable).push_bind(s.clicks).push_bind(s.cost_micro);
                });
                q.push(
                    " ON CONFLICT (hour, placement_id, campaign_id, line_item_id) DO UPDATE SET shown = ad_hour.shown + excluded.shown,
                      viewable = ad_hour.viewable + excluded.viewable, clicks = ad_hour.clicks + excluded.clicks,
                      cost_micro = ad_hour.cost_micro + excluded.cost_micro",
                );
                q.build().persistent(false).execute(&mut *c).await.map(|_| ())
            })?;
        }
        let totals: Vec<_> = self.totals.iter().collect();
        for chunk in totals.chunks(ROWS) {
            on!(&mut *tx, |c| {
                let mut q =
                    QueryBuilder::new("INSERT INTO ad_total (campaign_id, line_item_id, shown, viewable, clicks, cost_micro, delay_us) ");
                q.push_values(chunk, |mut row, ((campaign, item), s)| {
                    row.push_bind(*campaign).push_bind(*item).push_bind(s.shown).push_bind(s.viewable).push_bind(s.clicks);
                    row.push_bind(s.cost_micro).push_bind(s.delay_us);
                });
                q.push(
                    " ON CONFLICT (campaign_id, line_item_id) DO UPDATE SET shown = ad_total.shown + excluded.shown,
                      viewable = ad_total.viewable + excluded.viewable, clicks = ad_total.clicks + excluded.clicks,
                      cost_micro = ad_total.cost_micro + excluded.cost_micro, delay_us = ad_total.delay_us + excluded.delay_us",
                );
                q.build().persistent(false).execute(&mut *c).await.map(|_| ())
            })?;
        }
        Ok(())
    }
}

/// Adds the first clicks and views of banners to the figures. Call it in the transaction that recorded them.
pub async fn count_answers(tx: &mut Tx, answers: &[(Ticket, SignalKind, Timestamp)], now: Timestamp) -> sqlx::Result<()> {
    let mut tally = Tally::default();
    answers.iter().for_each(|(ticket, kind, at)| tally.answered(ticket, *kind, *at));
    tally.write(tx, now).await
}

/// Writes impressions; returns those that were not there before.
pub async fn insert(tx: &mut Tx, replica: i64, impressions: &[Impression]) -> sqlx::Result<HashSet<TouchId>> {
    let mut fresh = HashSet::with_capacity(impressions.len());
    for chunk in impressions.chunks(ROWS) {
        fresh.extend(on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new(
                "INSERT INTO impression (replica, seq, touch_id, at, subject, campaign_id, line_item_id, placement_id, variant_id, product_id,
                 creative_id, propensity, item_chance, cost_micro) ",
            );
            q.push_values(chunk, |mut row, i| {
                row.push_bind(replica).push_bind(i.seq).push_bind(i.touch).push_bind(i.at).push_bind(i.subject).push_bind(i.campaign);
                row.push_bind(i.item).push_bind(i.placement).push_bind(i.variant).push_bind(i.product).push_bind(i.creative);
                row.push_bind(f64::from(i.propensity)).push_bind((i.item_chance > 0.0).then(|| f64::from(i.item_chance)));
                row.push_bind(i.cost_micro);
            });
            q.push(" ON CONFLICT DO NOTHING RETURNING touch_id");
            q.build_query_scalar::<TouchId>().persistent(false).fetch_all(&mut *c).await
        })?);
    }
    Ok(fresh)
}

const COME: &str = "INSERT INTO ad_replica (replica, last_seq, seen_at) VALUES ($1, $2, $3)
     ON CONFLICT (replica) DO UPDATE SET last_seq = excluded.last_seq, seen_at = excluded.seen_at";

/// Says how far this replica has come.
pub async fn come_to(tx: &mut Tx, replica: i64, seq: i64, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(COME).bind(replica).bind(seq).bind(now).execute(&mut *c).await.map(|_| ()))
}

const REPLICAS: &str = "SELECT replica, last_seq FROM ad_replica WHERE seen_at >= $1";

/// Replicas that wrote something since, and how far each has come.
pub async fn replicas(db: &Db, since: Timestamp) -> sqlx::Result<Vec<(i64, i64)>> {
    read!(*db, |c| sqlx::query_as(REPLICAS).bind(since).fetch_all(c).await)
}

const FORGET_REPLICAS: &str = "DELETE FROM ad_replica WHERE seen_at < $1";

/// Forgets replicas that are long gone.
pub async fn forget_replicas(db: &Db, before: Timestamp) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    on!(&mut tx, |c| sqlx::query(FORGET_REPLICAS).bind(before).execute(&mut *c).await.map(|_| ()))?;
    tx.commit().await
}

/// An impression of another replica.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Followed {
    pub seq: i64,
    pub at: Timestamp,
    pub subject: i64,
    pub campaign_id: CampaignId,
    pub line_item_id: i64,
    pub creative_id: i64,
}

const FOLLOW: &str = "SELECT seq, at, subject, campaign_id, line_item_id, creative_id FROM impression
     WHERE replica = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT 5000";

/// What a replica showed after a place in its sequence, at most 5,000.
pub async fn follow(db: &Db, replica: i64, after: i64, to: i64) -> sqlx::Result<Vec<Followed>> {
    read!(*db, |c| sqlx::query_as(FOLLOW).bind(replica).bind(after).bind(to).fetch_all(c).await)
}

const TODAY: &str = "SELECT i.subject, i.campaign_id, i.line_item_id, COUNT(*) FROM impression i
     LEFT JOIN ad_replica r ON r.replica = i.replica
     WHERE i.at >= $1 AND i.subject <> 0 AND (r.replica IS NULL OR i.seq <= r.last_seq)
     GROUP BY i.subject, i.campaign_id, i.line_item_id";

/// What everybody has seen since an instant: (viewer, campaign, line item, impressions).
pub async fn seen_since(db: &Db, since: Timestamp) -> sqlx::Result<Vec<(i64, CampaignId, i64, i64)>> {
    read!(*db, |c| sqlx::query_as(TODAY).bind(since).fetch_all(c).await)
}

#[derive(sqlx::FromRow)]
struct TotalRow {
    campaign_id: i64,
    line_item_id: i64,
    shown: i64,
    viewable: i64,
    clicks: i64,
    cost_micro: i64,
    delay_us: i64,
}

const TOTALS: &str = "SELECT campaign_id, line_item_id, shown, viewable, clicks, cost_micro, delay_us FROM ad_total
     WHERE campaign_id IN (SELECT id FROM campaign WHERE status = 'running' AND channel = 'banner')";

/// What the line items of running campaigns came to.
pub async fn totals(db: &Db) -> sqlx::Result<Vec<((i64, i64), Used)>> {
    let rows: Vec<TotalRow> = read!(*db, |c| sqlx::query_as(TOTALS).fetch_all(c).await)?;
    let used = |r: TotalRow| {
        let used = Used { shown: r.shown, viewable: r.viewable, clicks: r.clicks, cost_micro: r.cost_micro, delay_us: r.delay_us };
        ((r.campaign_id, r.line_item_id), used)
    };
    Ok(rows.into_iter().map(used).collect())
}

/// What one creative came to under one line item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ArmRow {
    pub campaign_id: i64,
    pub line_item_id: i64,
    pub creative_id: i64,
    pub variant_id: i64,
    pub shown: i64,
    pub clicks: i64,
    pub updated_at: Timestamp,
}

const ARMS: &str =
    "SELECT campaign_id, line_item_id, creative_id, variant_id, shown, clicks, updated_at FROM ad_arm WHERE updated_at >= $1";

/// Arms that changed since an instant.
pub async fn arms_since(db: &Db, since: Timestamp) -> sqlx::Result<Vec<ArmRow>> {
    read!(*db, |c| sqlx::query_as(ARMS).bind(since).fetch_all(c).await)
}

/// Adds how requests ended: (placement, outcome, requests).
pub async fn count_requests(tx: &mut Tx, hour: i64, counts: &[(PlacementId, &'static str, i64)]) -> sqlx::Result<()> {
    for chunk in counts.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO ad_request (hour, placement_id, outcome, requests) ");
            q.push_values(chunk, |mut row, (placement, outcome, n)| {
                row.push_bind(hour).push_bind(*placement).push_bind(*outcome).push_bind(*n);
            });
            q.push(" ON CONFLICT (hour, placement_id, outcome) DO UPDATE SET requests = ad_request.requests + excluded.requests");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

const TRAFFIC: &str = "SELECT placement_id, hour, CAST(SUM(requests) AS BIGINT) FROM ad_request WHERE hour >= $1 AND hour < $2
     GROUP BY placement_id, hour ORDER BY placement_id, hour";

/// Requests per placement and hour, of whole hours.
pub async fn traffic(db: &Db, from_hour: i64, to_hour: i64) -> sqlx::Result<Vec<(PlacementId, i64, i64)>> {
    read!(*db, |c| sqlx::query_as(TRAFFIC).bind(from_hour).bind(to_hour).fetch_all(c).await)
}
