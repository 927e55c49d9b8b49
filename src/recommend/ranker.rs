//! From a person's history to a ranked list: candidates, features, blend, and the reason in words.

use std::collections::HashMap;

use super::als::dot;
use super::base::{Base, Params, Side};
use super::blend::{Blend, List};
use super::history::{DAY_US, Dataset, Interaction, Kind};
use super::metrics::top;

/// What the blend looks at, in this order.
pub const FEATURES: [&str; 14] = [
    "factors",
    "item_cosine",
    "text_similarity",
    "popular_now",
    "popular_ever",
    "category_share",
    "category_popular",
    "bought_before",
    "times_bought",
    "item_repeat_rate",
    "bought_lately",
    "looked_at",
    "looked_at_lately",
    "cart_open",
];
const WIDTH: usize = FEATURES.len();
const BOUGHT_BEFORE: usize = 7;

/// Weights where a shop is too young for a validation window.
const PRIOR: [f32; WIDTH] = [4.0, 1.0, 1.0, 0.4, 0.1, 0.5, 0.1, -0.5, 0.2, 2.0, -0.5, 0.4, 0.5, 0.6];

/// The blend before anything was learned.
pub fn prior() -> Blend {
    Blend::prior(&PRIOR)
}

/// Text neighbours of a query; an HNSW index over many items, exact over few.
pub trait TextIndex: Sync {
    fn nearest(&self, query: &[f32], n: usize) -> Vec<u32>;
}

/// How many candidates each source may name.
const BY_FACTORS: usize = 100;
const BY_COSINE: usize = 100;
const BY_TEXT: usize = 40;
const BY_POPULARITY: usize = 60;
const BY_CATEGORY: usize = 15;
const BY_HISTORY: usize = 200;

/// Why an item stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Bought before, and such things are bought again.
    Again,
    BecauseBought(u32),
    BecauseViewed(u32),
    /// Much bought in a category that the person likes.
    PopularIn(u32),
    Popular,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
}

/// A trained choice: base models and the blends over them.
#[derive(Clone, Debug)]
pub struct Ranker {
    pub base: Base,
    /// Learned over everything, own repeats among it.
    pub any: Blend,
    /// Learned over what a person has not bought yet.
    pub new: Blend,
    popular: Vec<u32>,
    by_category: HashMap<u32, Vec<u32>>,
}

/// One person's state at an instant.
pub struct Person {
    as_of_us: i64,
    row: Vec<(u32, f32)>,
    own: HashMap<u32, Own>,
    factors: Vec<f32>,
    cosine: Vec<f32>,
    taste: Vec<f32>,
    categories: HashMap<u32, f32>,
}

/// What a person did with one item.
#[derive(Clone, Copy, Default)]
struct Own {
    bought: f32,
    looked: f32,
    cart: f32,
    last_bought_us: Option<i64>,
    last_looked_us: Option<i64>,
}

impl Ranker {
    /// Trains the base on everything before `as_of_us`, and the blends on the last window before it, with a base that knew nothing of
    /// that window.
    pub fn train(
        data: &Dataset,
        side: &Side,
        index: Option<&dyn TextIndex>,
        as_of_us: i64,
        params: &Params,
        each_epoch: impl FnMut(usize),
    ) -> Self {
        let window = params.side.window_days * DAY_US;
        let first = data.span().map_or(as_of_us, |s| s.0);
        // Of a young shop's life, the last quarter.
        let from = (as_of_us - window).max(as_of_us - (as_of_us - first) / 4);
        let (any, new) = Self::learn(data, side, index, from, as_of_us, params);
        let base = Base::train(&data.before(as_of_us), as_of_us, params, each_epoch);
        Self::assemble(base, any, new, side)
    }

    /// From parts, trained now or stored.
    pub fn assemble(base: Base, any: Blend, new: Blend, side: &Side) -> Self {
        let popular = base.most_popular(BY_POPULARITY);
        let mut by_category: HashMap<u32, Vec<u32>> = HashMap::new();
        for item in base.most_popular(base.popular_now.len()) {
            if let Some(category) = side.category(item) {
                let list = by_category.entry(category).or_default();
                if list.len() < BY_CATEGORY {
                    list.push(item);
                }
            }
        }
        Self { base, any, new, popular, by_category }
    }

    fn learn(data: &Dataset, side: &Side, index: Option<&dyn TextIndex>, from_us: i64, to_us: i64, params: &Params) -> (Blend, Blend) {
        let before = data.before(from_us);
        if before.is_empty() {
            return (prior(), prior());
        }
        let mut fewer = *params;
        fewer.als.epochs = params.als.epochs.min(8);
        let early = Self::assemble(Base::train(&before, from_us, &fewer, |_| {}), prior(), prior(), side);
        let bought = data.bought_between(from_us, to_us);
        let learners: Vec<usize> = (0..bought.len()).filter(|p| !bought[*p].is_empty() && !before.rows[*p].is_empty()).collect();
        let stride = learners.len().div_ceil(params.side.learn_people.max(1)).max(1);
        use rayon::prelude::*;
        let lists: Vec<(List, List)> = learners
            .par_iter()
            .step_by(stride)
            .map(|p| {
                let person = early.person(&before.rows[*p], side, from_us);
                let (mut any, mut new) = (List::default(), List::default());
                for item in early.candidates(&person, index) {
                    let features = early.features(&person, item, side);
                    let hit = bought[*p].binary_search(&item).is_ok();
                    for list in [Some(&mut any), (features[BOUGHT_BEFORE] == 0.0).then_some(&mut new)].into_iter().flatten() {
                        if hit {
                            list.bought.push(list.features.len() / WIDTH);
                        }
                        list.features.extend_from_slice(&features);
                    }
                }
                (any, new)
            })
            .collect();
        let (any, new): (Vec<List>, Vec<List>) = lists.into_iter().unzip();
        // Fewer than this many people teach noise.
        let enough = |b: &Blend| b.learned_from >= 20;
        (
            Blend::learn(&any, WIDTH, 1e-3).filter(enough).unwrap_or_else(prior),
            Blend::learn(&new, WIDTH, 1e-3).filter(enough).unwrap_or_else(prior),
        )
    }

    /// All candidates for a person, best first. `new_only` leaves out what the person has bought (and uses the blend learned for that);
    /// `also` names further items that must be scored (a campaign's products).
    pub fn rank(&self, person: &Person, side: &Side, index: Option<&dyn TextIndex>, new_only: bool, also: &[u32]) -> Vec<Scored> {
        let mut candidates = self.candidates(person, index);
        candidates.extend(also.iter().filter(|i| (**i as usize) < self.base.popular_now.len()));
        candidates.sort_unstable();
        candidates.dedup();
        let blend = if new_only { &self.new } else { &self.any };
        let mut scored: Vec<Scored> = candidates
            .into_iter()
            .map(|item| (item, self.features(person, item, side)))
            .filter(|(_, f)| !new_only || f[BOUGHT_BEFORE] == 0.0)
            .map(|(item, f)| Scored { item, score: blend.score(&f) })
            .collect();
        scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
        scored
    }

    /// A person as the choice sees them at `as_of_us`; what happens later does not count.
    pub fn person(&self, history: &[Interaction], side: &Side, as_of_us: i64) -> Person {
        let history = &history[..history.partition_point(|i| i.at_us < as_of_us)];
        let confidence = &self.base.params.confidence;
        let row = confidence.row(history, as_of_us);
        let mut own: HashMap<u32, Own> = HashMap::new();
        for i in history {
            let o = own.entry(i.item).or_default();
            match i.kind {
                Kind::Purchase => {
                    // A day's lines are one purchase; it also empties the cart.
                    if o.last_bought_us.is_none_or(|last| i.at_us - last >= DAY_US) {
                        o.bought += 1.0;
                    }
                    o.last_bought_us = Some(i.at_us);
                    (o.cart, o.looked, o.last_looked_us) = (0.0, 0.0, None);
                }
                kind => {
                    o.looked += confidence.of(kind) * confidence.decay(i.at_us, as_of_us);
                    o.last_looked_us = Some(i.at_us);
                    o.cart = if kind == Kind::Cart { 1.0 } else { o.cart };
                }
            }
        }
        let mut cosine = vec![0.0; self.base.popular_now.len()];
        self.base.neighbours.add_scores(&row, &mut cosine);
        let mut taste = vec![0.0; side.dim];
        let mut categories: HashMap<u32, f32> = HashMap::new();
        let total: f32 = row.iter().map(|(_, c)| c).sum::<f32>().max(1e-6);
        for (item, c) in &row {
            taste.iter_mut().zip(side.vector(*item)).for_each(|(t, v)| *t += c * v);
            if let Some(category) = side.category(*item) {
                *categories.entry(category).or_default() += c / total;
            }
        }
        unit(&mut taste);
        Person { as_of_us, factors: self.base.factors.fold_in(&row), cosine, taste, categories, own, row }
    }

    fn candidates(&self, person: &Person, index: Option<&dyn TextIndex>) -> Vec<u32> {
        let mut found = self.popular.clone();
        if !person.row.is_empty() {
            let mut scores = Vec::new();
            self.base.factors.scores(&person.factors, &mut scores);
            found.extend(top(&scores, BY_FACTORS, &[]));
            found.extend(top(&person.cosine, BY_COSINE, &[]).into_iter().filter(|i| person.cosine[*i as usize] > 0.0));
            if let Some(index) = index.filter(|_| person.taste.iter().any(|v| *v != 0.0)) {
                found.extend(index.nearest(&person.taste, BY_TEXT));
            }
            let mut liked: Vec<(&u32, &f32)> = person.categories.iter().collect();
            liked.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
            for (category, _) in liked.into_iter().take(4) {
                found.extend(self.by_category.get(category).into_iter().flatten());
            }
            let mut own: Vec<(u32, f32)> = person.row.clone();
            own.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            found.extend(own.iter().take(BY_HISTORY).map(|(i, _)| i));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn features(&self, person: &Person, item: u32, side: &Side) -> [f32; WIDTH] {
        let at = item as usize;
        let own = person.own.get(&item).copied().unwrap_or_default();
        let fresh = |last: Option<i64>, days: f32| {
            last.map_or(0.0, |last| (-((person.as_of_us - last).max(0) as f32 / DAY_US as f32) / days).exp())
        };
        let share = side.category(item).and_then(|c| person.categories.get(&c)).copied().unwrap_or(0.0);
        let bought = if own.bought > 0.0 { 1.0 } else { 0.0 };
        [
            dot(self.base.factors.item(at), &person.factors),
            person.cosine[at].ln_1p(),
            dot(side.vector(item), &person.taste),
            self.base.popular_now[at],
            self.base.popular_ever[at],
            share.sqrt(),
            share.sqrt() * self.base.popular_now[at],
            bought,
            own.bought.ln_1p(),
            bought * self.base.repeat.of(item),
            fresh(own.last_bought_us, 30.0),
            own.looked.ln_1p(),
            fresh(own.last_looked_us, 5.0),
            own.cart * fresh(own.last_looked_us, 15.0),
        ]
    }

    /// Why an item suits a person: the strongest thing they share.
    pub fn why(&self, person: &Person, item: u32, side: &Side) -> Why {
        if person.own.get(&item).is_some_and(|own| own.bought > 0.0) {
            return Why::Again;
        }
        let because = |other: u32| match person.own.get(&other) {
            Some(own) if own.bought > 0.0 => Why::BecauseBought(other),
            _ => Why::BecauseViewed(other),
        };
        if person.own.contains_key(&item) {
            return Why::BecauseViewed(item);
        }
        let weight: HashMap<u32, f32> = person.row.iter().copied().collect();
        let shared = self.base.neighbours.of(item as usize).filter_map(|(other, cosine)| weight.get(&other).map(|c| (other, c * cosine)));
        if let Some((other, _)) = shared.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).filter(|(_, strength)| *strength > 0.02) {
            return because(other);
        }
        let alike = person.row.iter().map(|(other, c)| (*other, c.min(1.0) * dot(side.vector(item), side.vector(*other))));
        if let Some((other, _)) = alike.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).filter(|(_, strength)| *strength > 0.35) {
            return because(other);
        }
        match side.category(item) {
            Some(category) if person.categories.contains_key(&category) => Why::PopularIn(category),
            _ => Why::Popular,
        }
    }
}

fn unit(vector: &mut [f32]) {
    let norm = dot(vector, vector).sqrt();
    if norm.is_finite() && norm > 1e-12 {
        vector.iter_mut().for_each(|v| *v /= norm);
    } else {
        vector.fill(0.0);
    }
}
