//! Keeps `credit` in step with orders and touches: incrementally, idempotently, correcting the past where late events and refunds do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::people;
use crate::platform::clock::{DAY_US, MINUTE_US, Timestamp};
use crate::platform::db::Db;
use crate::platform::ids::{OrderId, PersonId, TouchId};
use crate::platform::queue::JobContext;
use crate::platform::{Platform, setting};

use super::lost;
use super::model::{self, Contact, HALF_LIFE_US, Model};
use super::rollup::Reading;
use super::store::{self, CreditRow, OrderRow, Since, TouchRow};

/// Orders looked at in one piece; each piece is one short transaction.
const ORDERS_PER_CHUNK: i64 = 500;
/// People whose journeys are told in one piece.
const PEOPLE_PER_CHUNK: i64 = 1_000;
/// Longest path kept: the latest touches before the order.
const MAX_PATH: usize = 200;
/// Orders and signals commit a little after the time that they carry as that of becoming known.
const OVERLAP_US: i64 = 10 * MINUTE_US;

/// Setting `attribution`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributionSetting {
    /// Half-life of the time-decay model, in days.
    pub half_life_days: f64,
    /// The model that pages and reports take where none is named.
    pub model: Model,
    /// Whether human opens and viewable banners without a click count there.
    pub view_through: bool,
}
impl Default for AttributionSetting {
    fn default() -> Self {
        Self { half_life_days: 7.0, model: Model::Last, view_through: false }
    }
}
impl AttributionSetting {
    pub const KEY: &'static str = "attribution";

    /// How sums that were added up ahead are read: a model that learns is no sum, so the last touch stands for it.
    pub fn reading(self) -> Reading {
        let model = if self.model.learns() { Model::Last } else { self.model };
        Reading { model, view_through: self.view_through }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "clamped to whole microseconds of a few years")]
    fn half_life_us(self) -> i64 {
        if self.half_life_days.is_finite() && self.half_life_days > 0.0 {
            (self.half_life_days.min(3650.0) * DAY_US as f64) as i64
        } else {
            HALF_LIFE_US
        }
    }
}

const MARK: &str = "attribution.progress";

/// How far credit is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Mark {
    pub through: Option<Timestamp>,
    /// With another half-life, everything is computed again.
    pub half_life_us: i64,
    /// Journeys that led to nothing have been told of everybody.
    pub journeys: bool,
}

pub(super) async fn mark(db: &Db) -> sqlx::Result<Mark> {
    setting::get_or_default(db, MARK).await
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Orders looked at.
    pub orders: u64,
    /// Orders whose credit changed.
    pub changed: u64,
    /// Rows read for it: people with news, orders, touches and old credit. What a pass costs.
    pub rows: u64,
    /// People whose journeys that led to nothing were told.
    pub people: u64,
}

/// Computes credit for whatever became known since the last pass: new and changed orders, and people on whose touches a human signal was
/// recorded, whenever it happened. The cost follows what is new, not what there is. Safe to run twice, or twice at once.
pub async fn update(platform: &Platform) -> anyhow::Result<Pass> {
    update_with(platform, false, &mut |_| Ok(())).await
}

/// Computes credit for all orders there are, and tells everybody's journeys.
pub async fn rebuild(platform: &Platform) -> anyhow::Result<Pass> {
    update_with(platform, true, &mut |_| Ok(())).await
}

async fn update_with(
    platform: &Platform,
    everything: bool,
    step: &mut (dyn FnMut(u64) -> anyhow::Result<()> + Send),
) -> anyhow::Result<Pass> {
    let db = &platform.db;
    let now = platform.now();
    let half_life_us = setting::get_or_default::<AttributionSetting>(db, AttributionSetting::KEY).await?.half_life_us();
    let old = mark(db).await?;
    let mut run = Run { platform, half_life_us, pass: Pass::default(), people: BTreeSet::new(), touches: BTreeSet::new(), step };
    let new = Mark { through: Some(now), half_life_us, journeys: true };
    match old.through {
        Some(through) if !everything && old.half_life_us == half_life_us => {
            let since = through.plus_us(-OVERLAP_US);
            run.orders(Since::Changed(since)).await?;
            run.signals(since).await?;
            for chunk in store::orders_astray(db, since).await?.chunks(usize::try_from(ORDERS_PER_CHUNK)?) {
                run.compute(chunk).await?;
            }
            run.people.extend(lost::bereft(db, since).await?);
        }
        _ => run.orders(Since::Ever).await?,
    }
    if everything || !old.journeys {
        run.everybodys_journeys().await?
    } else {
        run.journeys().await?
    }
    let pass = run.pass;
    let mut tx = db.begin().await?;
    setting::put(&mut tx, MARK, &new, now).await?;
    tx.commit().await?;
    Ok(pass)
}

struct Run<'a> {
    platform: &'a Platform,
    half_life_us: i64,
    pass: Pass,
    /// On whose touches there is news …
    people: BTreeSet<PersonId>,
    /// … and touches that came on the path of an order, or left it: journeys that led to nothing may have changed.
    touches: BTreeSet<TouchId>,
    step: &'a mut (dyn FnMut(u64) -> anyhow::Result<()> + Send),
}

impl Run<'_> {
    async fn orders(&mut self, since: Since) -> anyhow::Result<()> {
        let mut after = OrderId(0);
        loop {
            let page = store::orders(&self.platform.db, since, after, ORDERS_PER_CHUNK).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            self.compute(&page).await?;
        }
    }

    async fn signals(&mut self, since: Timestamp) -> anyhow::Result<()> {
        let mut after = PersonId(0);
        loop {
            let people = store::signalled(&self.platform.db, since, after, ORDERS_PER_CHUNK).await?;
            let Some(last) = people.last() else { return Ok(()) };
            after = *last;
            self.pass.rows += people.len() as u64;
            self.people.extend(&people);
            let orders = store::orders_of(&self.platform.db, &people).await?;
            for chunk in orders.chunks(usize::try_from(ORDERS_PER_CHUNK)?) {
                self.compute(chunk).await?;
            }
        }
    }

    /// Tells the journeys of those of whom there is news.
    async fn journeys(&mut self) -> anyhow::Result<()> {
        let touches: Vec<TouchId> = std::mem::take(&mut self.touches).into_iter().collect();
        self.people.extend(lost::people_of(&self.platform.db, &touches).await?);
        let people: Vec<PersonId> = std::mem::take(&mut self.people).into_iter().collect();
        self.tell(&people).await
    }

    async fn everybodys_journeys(&mut self) -> anyhow::Result<()> {
        let mut after = PersonId(0);
        loop {
            let people = people::ids_after(&self.platform.db, after, PEOPLE_PER_CHUNK).await?;
            let Some(last) = people.last() else { return Ok(()) };
            after = *last;
            self.tell(&people).await?;
        }
    }

    async fn tell(&mut self, people: &[PersonId]) -> anyhow::Result<()> {
        for some in people.chunks(usize::try_from(PEOPLE_PER_CHUNK)?) {
            self.pass.rows += lost::tell(&self.platform.db, some).await?;
            self.pass.people += some.len() as u64;
            (self.step)(0)?;
        }
        Ok(())
    }

    async fn compute(&mut self, orders: &[OrderRow]) -> anyhow::Result<()> {
        let db = &self.platform.db;
        let mut people: Vec<PersonId> = orders.iter().filter_map(|o| o.person_id).collect();
        people.sort_unstable();
        people.dedup();
        let touches = store::touches_of(db, &people).await?;
        let ids: Vec<OrderId> = orders.iter().map(|o| o.id).collect();
        let mut old = store::credit_of(db, &ids).await?;
        let looked_at = touches.values().map(Vec::len).sum::<usize>() + old.values().map(Vec::len).sum::<usize>() + orders.len();
        self.pass.rows += looked_at as u64;
        let mut changed = Vec::new();
        let mut rows = Vec::new();
        for order in orders {
            let new = credit(order, touches_for(order, &touches), self.half_life_us);
            let old = old.remove(&order.id).unwrap_or_default();
            if old != new {
                changed.push(order.id);
                self.touches.extend(old.iter().chain(&new).map(|row| row.touch_id));
                rows.extend(new);
            }
        }
        if !changed.is_empty() {
            let mut tx = db.begin().await?;
            store::replace(&mut tx, &changed, &rows, self.platform.now()).await?;
            tx.commit().await?;
        }
        self.pass.orders += orders.len() as u64;
        self.pass.changed += changed.len() as u64;
        (self.step)(orders.len() as u64)
    }
}

fn touches_for<'a>(order: &OrderRow, touches: &'a HashMap<PersonId, Vec<TouchRow>>) -> &'a [TouchRow] {
    order.person_id.and_then(|p| touches.get(&p)).map_or(&[], Vec::as_slice)
}

/// The credit of one order, both readings, in the order of the table's key.
fn credit(order: &OrderRow, touches: &[TouchRow], half_life_us: i64) -> Vec<CreditRow> {
    if order.flagged {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for view_through in [false, true] {
        let mut path: BTreeMap<(Timestamp, crate::platform::ids::TouchId), &TouchRow> = touches
            .iter()
            .filter_map(|t| {
                let seen_at = [t.open_at, t.viewable_at].into_iter().flatten().min();
                let contact = Contact { at: t.at, window_us: t.window_us, clicked_at: t.click_at, seen_at };
                contact.earned_at(order.placed_at, view_through).map(|at| ((at, t.id), t))
            })
            .collect();
        while path.len() > MAX_PATH {
            path.pop_first();
        }
        let ago: Vec<i64> = path.keys().map(|(at, _)| order.placed_at.since(*at)).collect();
        let [first, last, linear, decay, position] = model::shares(order.net_minor, &ago, half_life_us);
        rows.extend(path.iter().enumerate().map(|(i, ((earned_at, _), t))| CreditRow {
            order_id: order.id,
            view_through,
            position: i64::try_from(i).unwrap_or(i64::MAX),
            touch_id: t.id,
            campaign_id: t.campaign_id,
            variant_id: t.variant_id,
            product_id: t.product_id,
            channel: t.channel.clone(),
            first_minor: first[i],
            last_minor: last[i],
            linear_minor: linear[i],
            time_decay_minor: decay[i],
            position_minor: position[i],
            earned_at: *earned_at,
            placed_at: order.placed_at,
            currency: order.currency.clone(),
        }));
    }
    rows
}

/// The job `attribution.credit`.
pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let everything = context.args.get("everything").and_then(Value::as_bool).unwrap_or(false);
    let (progress, stop) = (context.progress.clone(), context.stop.clone());
    let mut step = move |orders: u64| {
        progress.add(i64::try_from(orders).unwrap_or(0));
        anyhow::ensure!(!stop.is_cancelled(), "stopped; the next attempt goes on");
        Ok(())
    };
    let pass = update_with(&platform, everything, &mut step).await?;
    Ok(json!(pass))
}
