//! The jobs `recommend.train` and `recommend.pick`, and the offline evaluation of a shop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::base::Params;
use super::chooser::{Chooser, Shop};
use super::evaluate::{self, Report};
use super::history::{DAY_US, Dataset};
use super::ranker::Ranker;
use super::rules::ChoiceRules;
use super::{Pick, artifact, embed, facts, store};
use crate::catalog;
use crate::platform::clock::MINUTE_US;
use crate::platform::ids::{ModelId, PersonId};
use crate::platform::queue::{self, JobContext, NewRun};
use crate::platform::{Platform, Timestamp, setting};

/// The kind of model row that holds a trained choice.
pub(super) const KIND: &str = "choice";
/// Setting with [`Params`] that differ from the defaults.
const PARAMS_SETTING: &str = "recommend.params";
/// Setting with the [`ChoiceRules`] of the stored picks.
const RULES_SETTING: &str = "recommend.rules";
/// Setting with the [`Picked`] of the newest whole picks.
const PICKED_SETTING: &str = "recommend.picked";
/// People chosen for at a time, and per transaction of picks (20 rows each).
const CHUNK: usize = 500;
const COMMIT: usize = 50;
/// A nightly training is left out while the facts have grown by less than this share, for at most so many days: newest events are folded
/// in when a choice is made, so what would be learned anew is little.
const RETRAIN_SHARE: f64 = 0.05;
const RETRAIN_DAYS: i64 = 7;
/// The offline measurement trains a second time, on a part of the facts; what it says changes slowly, so a measurement this young is kept.
const MEASURE_DAYS: i64 = 7;
/// People per job run; larger shops are sharded.
const SHARD: i64 = 50_000;
/// Picks per person in the table.
const PICKS: usize = 20;
/// Picks that suit anybody: more, so that filters find something.
const POPULAR: usize = 100;

/// The job `recommend.train`: embeds what is new, learns from the facts before `scheduled_at`, measures itself on the last window, stores
/// the model and makes `recommend.pick` due. Without `{"force": true}` only where the facts have grown enough.
pub async fn train(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let as_of = context.scheduled_at;
    embed::embed_all(&platform, &context).await?;
    let params: Params = setting::get_or_default(&platform.db, PARAMS_SETTING).await?;
    let forced = context.args.get("force") == Some(&Value::Bool(true));
    // A model of other parameters says nothing about this one.
    let newest = store::latest_info(&platform.db, KIND).await?.filter(|_| !forced);
    let newest = newest.filter(|m| serde_json::to_value(params).is_ok_and(|p| m.params.0 == p));
    if let Some(newest) = &newest
        && let Some(why) = still_fresh(&platform, newest, as_of).await?
    {
        return Ok(json!({ "trained": false, "why": why }));
    }
    let measured = newest.as_ref().and_then(|m| Measured::of(m, as_of));
    let world = World::load(&platform, as_of).await?;
    if world.data.is_empty() {
        return Ok(json!({ "trained": false, "why": "nobody has looked at or bought anything yet" }));
    }
    context.progress.total(params.als.epochs as i64);
    let (progress, started) = (context.progress.clone(), Instant::now());
    let (bytes, measured, counts) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let measured = match measured {
            Some(measured) => measured,
            None => Measured { as_of, offline: serde_json::to_value(world.evaluate(as_of, &params))? },
        };
        let index = Some(&world.shop.index as &dyn super::ranker::TextIndex);
        let ranker = Ranker::train(&world.data, &world.shop.side, index, as_of.micros(), &params, |_| progress.add(1));
        let counts = (world.data.people.len(), world.data.items.len(), world.data.len());
        Ok((artifact::to_bytes(&ranker, &world.data.items)?, measured, counts))
    })
    .await??;
    let metrics = json!({
        "people": counts.0, "products": counts.1, "interactions": counts.2,
        "seconds": started.elapsed().as_secs_f64(), "offline": measured.offline, "measured_as_of": measured.as_of,
    });
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let id = store::insert_model(&mut tx, KIND, as_of, &serde_json::to_value(params)?, &metrics, &bytes, now).await?;
    let run = NewRun { job: "recommend.pick", unique_key: format!("model:{}", id.0), args: json!({}), at: as_of };
    queue::enqueue(&mut tx, run, now).await?;
    tx.commit().await?;
    Ok(json!({ "trained": true, "model": id, "metrics": metrics }))
}

/// What the offline measurement said, and of which time.
struct Measured {
    as_of: Timestamp,
    offline: Value,
}

impl Measured {
    /// A model's measurement, where it is young enough to be kept for the next.
    fn of(model: &store::ModelInfo, as_of: Timestamp) -> Option<Self> {
        let metrics = &model.metrics.0;
        let at: Timestamp = serde_json::from_value(metrics["measured_as_of"].clone()).ok()?;
        let young = (0..MEASURE_DAYS * DAY_US).contains(&as_of.since(at));
        (young && !metrics["offline"].is_null()).then(|| Self { as_of: at, offline: metrics["offline"].clone() })
    }
}

/// Why the newest model (of the same parameters) is still good enough, or `None` where it is not.
async fn still_fresh(platform: &Platform, newest: &store::ModelInfo, as_of: Timestamp) -> anyhow::Result<Option<String>> {
    let Some(known) = newest.metrics.0["interactions"].as_f64() else { return Ok(None) };
    let age_days = (as_of.micros() - newest.as_of.micros()) / DAY_US;
    if !(0..RETRAIN_DAYS).contains(&age_days) {
        return Ok(None);
    }
    let grown = facts::count_between(&platform.db, newest.as_of, as_of).await? as f64 / known.max(1.0);
    Ok((grown < RETRAIN_SHARE).then(|| format!("the facts have grown by {:.1} % since the last training", grown * 100.0)))
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

/// What the newest picks for everybody were made from, and until when people's newest facts have been followed since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Picked {
    made_from: String,
    /// Facts received before this are in the picks.
    until: Timestamp,
}

/// The job `recommend.pick`: the best products of every person into the table `pick`. Without arguments it does everybody where model,
/// rules or catalogue have changed (in shards where there are many), and otherwise the people with new facts alone; with
/// `{"after": …, "to": …}` it does the people in that range of ids.
pub async fn pick(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let as_of = context.scheduled_at;
    let chooser = Chooser::load(&platform, as_of).await?;
    let Some(model) = chooser.model_id else {
        return Ok(json!({ "picked": 0, "why": "no model yet: run recommend.train first" }));
    };
    let stored: ChoiceRules = setting::get_or_default(&platform.db, RULES_SETTING).await?;
    // Caps on what was shown change by the hour: they are checked by `choose`, not frozen here.
    let rules = ChoiceRules { count: PICKS, not_shown_days: 0, ..stored };
    let picker = Picker { platform: &platform, context: &context, chooser, model, rules, as_of };
    if let Some(after) = context.args.get("after").and_then(Value::as_i64) {
        let to = context.args.get("to").and_then(Value::as_i64).unwrap_or(i64::MAX);
        return picker.range(after, to).await;
    }
    let made_from = format!("{}:{:?}:{:?}", model.0, store::products_stamp(&platform.db).await?, picker.rules);
    let last: Picked = setting::get_or_default(&platform.db, PICKED_SETTING).await?;
    // A minute back: what was received just now may be committed a little later.
    let now = Picked { made_from, until: platform.now().plus_us(-MINUTE_US) };
    picker.popular().await?;
    let (largest, people) = facts::people_range(&platform.db).await?;
    let result = if last.made_from == now.made_from {
        picker.newcomers(last.until).await?
    } else if people > SHARD {
        shard(&platform, &context, largest).await?
    } else {
        context.progress.total(people);
        picker.range(0, i64::MAX).await?
    };
    let mut tx = platform.db.begin().await?;
    setting::put(&mut tx, PICKED_SETTING, &now, platform.now()).await?;
    tx.commit().await?;
    Ok(result)
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

/// One run of `recommend.pick`.
struct Picker<'a> {
    platform: &'a Platform,
    context: &'a JobContext,
    chooser: Arc<Chooser>,
    model: ModelId,
    rules: ChoiceRules,
    as_of: Timestamp,
}

/// Some people and what was chosen for them.
struct Part {
    people: Vec<PersonId>,
    chosen: HashMap<PersonId, Vec<Pick>>,
}

impl Picker<'_> {
    /// What suits anybody.
    async fn popular(&self) -> anyhow::Result<()> {
        let rules = ChoiceRules { count: POPULAR, ..self.rules.clone() };
        let chosen = self.chooser.choose(self.platform, &rules, &[PersonId(0)], self.as_of).await?;
        self.write(&chosen, &[PersonId(0)], (0, 0)).await
    }

    /// Everybody in `(after, to]`. The ids in between are cleared too, so that nobody who was erased or merged keeps picks.
    async fn range(&self, after: i64, to: i64) -> anyhow::Result<Value> {
        let mut picked = 0;
        let (mut at, mut part) = (after, self.part(after, to).await?);
        loop {
            self.check_stop(picked)?;
            let end = if part.people.len() < CHUNK { to } else { part.people.last().map_or(to, |p| p.0) };
            // The next are chosen while these are written.
            let next = async { if end < to { self.part(end, to).await.map(Some) } else { Ok(None) } };
            let (next, ()) = futures::try_join!(next, self.replace(&part, at, end))?;
            picked += part.people.len();
            self.context.progress.add(part.people.len() as i64);
            match next {
                Some(next) => (at, part) = (end, next),
                None => return Ok(json!({ "picked": picked, "model": self.model })),
            }
        }
    }

    async fn part(&self, after: i64, to: i64) -> anyhow::Result<Part> {
        let people = facts::people(&self.platform.db, after, to, CHUNK as i64).await?;
        let chosen = self.chooser.choose(self.platform, &self.rules, &people, self.as_of).await?;
        Ok(Part { people, chosen })
    }

    /// A part in the place of all picks in `(after, to]`.
    async fn replace(&self, part: &Part, after: i64, to: i64) -> anyhow::Result<()> {
        let (mut from, commits) = (after + 1, part.people.len().div_ceil(COMMIT).max(1));
        for n in 0..commits {
            let some = &part.people[n * COMMIT..part.people.len().min((n + 1) * COMMIT)];
            let end = if n + 1 == commits { to } else { some.last().map_or(to, |p| p.0) };
            self.write(&part.chosen, some, (from, end)).await?;
            from = end.saturating_add(1);
        }
        Ok(())
    }

    /// The people with facts received since `since`.
    async fn newcomers(&self, since: Timestamp) -> anyhow::Result<Value> {
        let people = facts::people_with_news(&self.platform.db, since).await?;
        self.context.progress.total(people.len() as i64);
        for (n, part) in people.chunks(CHUNK).enumerate() {
            self.check_stop(n * CHUNK)?;
            let chosen = self.chooser.choose(self.platform, &self.rules, part, self.as_of).await?;
            for some in part.chunks(COMMIT) {
                let mut tx = self.platform.db.begin().await?;
                store::replace_picks_of(&mut tx, some, &rows(&chosen, some), self.model, self.as_of).await?;
                tx.commit().await?;
            }
            self.context.progress.add(part.len() as i64);
        }
        Ok(json!({ "picked": people.len(), "model": self.model, "with_news_since": since }))
    }

    async fn write(&self, chosen: &HashMap<PersonId, Vec<Pick>>, people: &[PersonId], (from, to): (i64, i64)) -> anyhow::Result<()> {
        let mut tx = self.platform.db.begin().await?;
        store::replace_picks(&mut tx, from, to, &rows(chosen, people), self.model, self.as_of).await?;
        tx.commit().await?;
        Ok(())
    }

    fn check_stop(&self, picked: usize) -> anyhow::Result<()> {
        anyhow::ensure!(!self.context.stop.is_cancelled(), "stopped after {picked} people; the next attempt does all again");
        Ok(())
    }
}

/// The rows of some people, as they lie in the table.
fn rows(chosen: &HashMap<PersonId, Vec<Pick>>, people: &[PersonId]) -> Vec<(PersonId, Pick)> {
    people.iter().flat_map(|p| chosen.get(p).into_iter().flatten().map(|pick| (*p, pick.clone()))).collect()
}
