//! The jobs `recommend.train` and `recommend.pick`, and the offline evaluation of a shop.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::base::Params;
use super::chooser::{Chooser, Shop};
use super::evaluate::{self, Report};
use super::history::{DAY_US, Dataset};
use super::ranker::Ranker;
use super::rules::ChoiceRules;
use super::{artifact, embed, facts, store};
use crate::catalog;
use crate::platform::ids::{ModelId, PersonId};
use crate::platform::queue::{self, JobContext, NewRun};
use crate::platform::{Platform, Timestamp, setting};

/// The kind of model row that holds a trained choice.
pub(super) const KIND: &str = "choice";
/// Setting with [`Params`] that differ from the defaults.
const PARAMS_SETTING: &str = "recommend.params";
/// Setting with the [`ChoiceRules`] of the stored picks.
const RULES_SETTING: &str = "recommend.rules";
/// People per transaction of picks.
const CHUNK: i64 = 50;
/// People per job run; larger shops are sharded.
const SHARD: i64 = 50_000;
/// Picks per person in the table.
const PICKS: usize = 20;
/// Picks that suit anybody: more, so that filters find something.
const POPULAR: usize = 100;

/// The job `recommend.train`: embeds what is new, learns from the facts before `scheduled_at`, measures itself on the last window, stores
/// the model and makes `recommend.pick` due.
pub async fn train(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let as_of = context.scheduled_at;
    embed::embed_all(&platform, &context).await?;
    let params: Params = setting::get_or_default(&platform.db, PARAMS_SETTING).await?;
    let world = World::load(&platform, as_of).await?;
    if world.data.is_empty() {
        return Ok(json!({ "trained": false, "why": "nobody has looked at or bought anything yet" }));
    }
    context.progress.total(params.als.epochs as i64);
    let (progress, started) = (context.progress.clone(), Instant::now());
    let (bytes, report, counts) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let report = world.evaluate(as_of, &params);
        let index = Some(&world.shop.index as &dyn super::ranker::TextIndex);
        let ranker = Ranker::train(&world.data, &world.shop.side, index, as_of.micros(), &params, |_| progress.add(1));
        let counts = (world.data.people.len(), world.data.items.len(), world.data.len());
        Ok((artifact::to_bytes(&ranker, &world.data.items)?, report, counts))
    })
    .await??;
    let metrics = json!({
        "people": counts.0, "products": counts.1, "interactions": counts.2,
        "seconds": started.elapsed().as_secs_f64(), "offline": report,
    });
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let id = store::insert_model(&mut tx, KIND, as_of, &serde_json::to_value(params)?, &metrics, &bytes, now).await?;
    let run = NewRun { job: "recommend.pick", unique_key: format!("model:{}", id.0), args: json!({}), at: as_of };
    queue::enqueue(&mut tx, run, now).await?;
    tx.commit().await?;
    Ok(json!({ "trained": true, "model": id, "metrics": metrics }))
}

/// Facts and catalogue of a shop, for training and evaluation.
struct World {
    data: Dataset,
    shop: Shop,
}

impl World {
    async fn load(platform: &Platform, as_of: Timestamp) -> anyhow::Result<Self> {
        let products = catalog::all(&platform.db).await?;
        let ids: Vec<i64> = products.iter().map(|p| p.id.0).collect();
        let facts = facts::all(&platform.db, as_of).await?;
        let data = tokio::task::spawn_blocking(move || Dataset::build(&facts, &ids)).await?;
        let shop = Shop::load(platform, &data.items, &products).await?;
        Ok(Self { data, shop })
    }

    /// `None` for a shop too young to hold a test window back.
    fn evaluate(&self, as_of: Timestamp, params: &Params) -> Option<Report> {
        let (first, last) = self.data.span()?;
        let split = (as_of.micros().min(last + 1) - params.side.window_days * DAY_US).max(first + (last - first) * 3 / 4);
        let report = evaluate::evaluate(&self.data, &self.shop.side, Some(&self.shop.index), split, as_of.micros(), params);
        (report.people > 0).then_some(report)
    }
}

/// Evaluates the shop's own choice offline: trains before `split` (default: a window before `as_of`), tests on what came after.
pub async fn evaluate_shop(platform: &Platform, split: Option<Timestamp>, as_of: Timestamp, params: Params) -> anyhow::Result<Report> {
    let world = World::load(platform, as_of).await?;
    tokio::task::spawn_blocking(move || match split {
        Some(at) => Ok(evaluate::evaluate(&world.data, &world.shop.side, Some(&world.shop.index), at.micros(), as_of.micros(), &params)),
        None => {
            world.evaluate(as_of, &params).ok_or_else(|| anyhow::anyhow!("nobody who was known before bought anything in the test window"))
        }
    })
    .await?
}

/// The parameters that training uses.
pub async fn params(platform: &Platform) -> anyhow::Result<Params> {
    Ok(setting::get_or_default(&platform.db, PARAMS_SETTING).await?)
}

/// The job `recommend.pick`: the best products of every person into the table `pick`. Without arguments it does everybody, or makes
/// shards due where there are many; with `{"after": …, "to": …}` the people in that range of ids.
pub async fn pick(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let as_of = context.scheduled_at;
    let (largest, people) = facts::people_range(&platform.db).await?;
    let whole = context.args.get("after").is_none();
    if whole && people > SHARD {
        return shard(&platform, &context, largest).await;
    }
    let after = context.args.get("after").and_then(Value::as_i64).unwrap_or(0);
    let to = context.args.get("to").and_then(Value::as_i64).unwrap_or(i64::MAX);
    let chooser = Chooser::load(&platform, as_of).await?;
    let Some(model) = chooser.model_id else {
        return Ok(json!({ "picked": 0, "why": "no model yet: run recommend.train first" }));
    };
    let stored: ChoiceRules = setting::get_or_default(&platform.db, RULES_SETTING).await?;
    // Caps on what was shown change by the hour: they are checked by `choose`, not frozen here.
    let rules = ChoiceRules { count: PICKS, not_shown_days: 0, ..stored };
    if whole {
        let popular = ChoiceRules { count: POPULAR, ..rules.clone() };
        pick_range(&platform, &chooser, model, &popular, (0, 0), &[PersonId(0)], as_of).await?;
    }
    context.progress.total(people);
    let (mut at, mut picked) = (after, 0);
    while at < to && !context.stop.is_cancelled() {
        let part = facts::people(&platform.db, at, to, CHUNK).await?;
        // The range in between is cleared too, so that nobody who was erased or merged keeps picks.
        let end = if part.len() < CHUNK as usize { to } else { part.last().map_or(to, |p| p.0) };
        pick_range(&platform, &chooser, model, &rules, (at + 1, end), &part, as_of).await?;
        picked += part.len();
        context.progress.add(part.len() as i64);
        at = end;
    }
    anyhow::ensure!(!context.stop.is_cancelled(), "stopped after {picked} people; the next attempt does all again");
    Ok(json!({ "picked": picked, "model": model }))
}

async fn shard(platform: &Platform, context: &JobContext, largest: i64) -> anyhow::Result<Value> {
    let now = platform.now();
    let mut shards = 0;
    let mut tx = platform.db.begin().await?;
    for after in (0..largest).step_by(SHARD as usize) {
        let to = if after + SHARD >= largest { i64::MAX } else { after + SHARD };
        let run = NewRun {
            job: "recommend.pick",
            unique_key: format!("{}:after:{after}", context.scheduled_at),
            args: json!({ "after": after, "to": to }),
            at: context.scheduled_at,
        };
        queue::enqueue(&mut tx, run, now).await?;
        shards += 1;
    }
    tx.commit().await?;
    Ok(json!({ "shards": shards }))
}

async fn pick_range(
    platform: &Platform,
    chooser: &Arc<Chooser>,
    model: ModelId,
    rules: &ChoiceRules,
    (from, to): (i64, i64),
    people: &[PersonId],
    as_of: Timestamp,
) -> anyhow::Result<()> {
    let chosen = chooser.choose(platform, rules, people, as_of).await?;
    let mut rows: Vec<(PersonId, super::Pick)> = chosen.into_iter().flat_map(|(p, picks)| picks.into_iter().map(move |k| (p, k))).collect();
    rows.sort_by_key(|(p, k)| (*p, k.rank));
    let mut tx = platform.db.begin().await?;
    store::replace_picks(&mut tx, from, to, &rows, model, as_of).await?;
    tx.commit().await?;
    Ok(())
}
