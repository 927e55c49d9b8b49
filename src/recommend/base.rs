//! What is learned from facts alone, before the blend: factors, item-to-item cosine, popularity, repeat purchase.

use std::collections::HashMap;

use super::als::{self, AlsParams, Factors};
use super::history::{Confidence, DAY_US, Dataset, Interaction, Kind};
use super::neighbours::Neighbours;

/// Everything that a training run may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Params {
    pub als: AlsParams,
    pub confidence: Confidence,
    pub side: SideParams,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SideParams {
    /// Neighbours kept per item, and how many sharing people halve a cosine.
    pub neighbours: usize,
    pub shrink: f32,
    /// Half-life of "popular now".
    pub popular_days: f32,
    /// People that the blend is learned from, at most.
    pub learn_people: usize,
    /// Length of the validation window.
    pub window_days: i64,
}
impl Default for SideParams {
    fn default() -> Self {
        Self { neighbours: 100, shrink: 3.0, popular_days: 21.0, learn_people: 3_000, window_days: 30 }
    }
}

/// What is known of items beside who touched them; aligned with [`Dataset::items`].
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Index of the item's category; [`Side::NONE`] where it has none. Empty: no categories known.
    pub category: Vec<u32>,
    /// Text vectors, `[items, dim]`, zeros where there is none. `dim` 0: no vectors.
    pub vectors: Vec<f32>,
    pub dim: usize,
}

impl Side {
    pub const NONE: u32 = u32::MAX;

    pub fn vector(&self, item: u32) -> &[f32] {
        self.vectors.get(item as usize * self.dim..(item as usize + 1) * self.dim).unwrap_or(&[])
    }
    pub fn category(&self, item: u32) -> Option<u32> {
        self.category.get(item as usize).copied().filter(|c| *c != Self::NONE)
    }
}

/// How normal it is to buy the same thing again.
#[derive(Clone, Debug, Default)]
pub struct Repeat {
    /// Share of (person, product) purchases that came again on a later day.
    pub shop: f32,
    /// The same per item, pulled towards the shop's where there are few.
    pub items: Vec<f32>,
}

impl Repeat {
    /// Purchases younger than this had no chance to come again yet.
    const RIPE_DAYS: i64 = 45;
    const PRIOR: f32 = 10.0;

    pub fn learn(data: &Dataset, as_of_us: i64) -> Self {
        let mut ripe = vec![0_f32; data.items.len()];
        let mut again = vec![0_f32; data.items.len()];
        for row in &data.rows {
            let mut first_last: HashMap<u32, (i64, i64)> = HashMap::new();
            for i in row.iter().filter(|i| i.kind == Kind::Purchase) {
                first_last.entry(i.item).or_insert((i.at_us, i.at_us)).1 = i.at_us;
            }
            for (item, (first, last)) in first_last {
                if as_of_us - first >= Self::RIPE_DAYS * DAY_US || last - first >= DAY_US {
                    ripe[item as usize] += 1.0;
                    again[item as usize] += if last - first >= DAY_US { 1.0 } else { 0.0 };
                }
            }
        }
        let shop = again.iter().sum::<f32>() / ripe.iter().sum::<f32>().max(1.0);
        let items = again.iter().zip(&ripe).map(|(a, r)| (a + Self::PRIOR * shop) / (r + Self::PRIOR)).collect();
        Self { shop, items }
    }
    pub fn of(&self, item: u32) -> f32 {
        self.items.get(item as usize).copied().unwrap_or(self.shop)
    }
}

/// Trained on everything before `as_of_us`.
#[derive(Clone, Debug, Default)]
pub struct Base {
    pub as_of_us: i64,
    pub params: Params,
    pub factors: Factors,
    pub neighbours: Neighbours,
    /// ln(1 + interactions, faded quickly): popular now. Per item.
    pub popular_now: Vec<f32>,
    /// ln(1 + interactions, faded slowly).
    pub popular_ever: Vec<f32>,
    pub repeat: Repeat,
}

impl Base {
    pub fn train(data: &Dataset, as_of_us: i64, params: &Params, each_epoch: impl FnMut(usize)) -> Self {
        let matrix = params.confidence.matrix(data, as_of_us);
        let trained = als::train(&matrix, &params.als, each_epoch);
        let plain = Confidence { half_life_days: 0.0, ..params.confidence }.matrix(data, as_of_us);
        Self {
            as_of_us,
            params: *params,
            factors: trained.factors,
            neighbours: Neighbours::build(&plain, params.side.neighbours, params.side.shrink),
            popular_now: popularity(data, as_of_us, &params.confidence, params.side.popular_days),
            popular_ever: popularity(data, as_of_us, &params.confidence, 180.0),
            repeat: Repeat::learn(data, as_of_us),
        }
    }

    /// The most popular items now, best first; long-term popularity breaks ties.
    pub fn most_popular(&self, n: usize) -> Vec<u32> {
        let mixed: Vec<f32> = self.popular_now.iter().zip(&self.popular_ever).map(|(a, b)| a + 1e-3 * b).collect();
        super::metrics::top(&mixed, n, &[])
    }
}

/// ln(1 + Σ weight · 2^(−age/half-life)), one person counting once per item and day.
fn popularity(data: &Dataset, as_of_us: i64, confidence: &Confidence, half_life_days: f32) -> Vec<f32> {
    let faded = Confidence { half_life_days, ..*confidence };
    let mut sums = vec![0.0_f32; data.items.len()];
    for row in &data.rows {
        let mut last: HashMap<(u32, Kind), i64> = HashMap::new();
        for Interaction { item, kind, at_us } in row {
            let day = at_us / DAY_US;
            if last.insert((*item, *kind), day) != Some(day) {
                sums[*item as usize] += confidence.of(*kind) * faded.decay(*at_us, as_of_us);
            }
        }
    }
    sums.into_iter().map(f32::ln_1p).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeat_purchase_is_learned_from_ripe_purchases_only() {
        let day = |d: i64| d * DAY_US;
        let mut facts = Vec::new();
        for person in 0..40 {
            // Item 1 is bought monthly, item 2 once; item 3 was bought yesterday and had no chance.
            facts.extend([0, 30, 60].map(|d| (person, 1, Kind::Purchase, day(d))));
            facts.extend([(person, 2, Kind::Purchase, day(10)), (person, 3, Kind::Purchase, day(99))]);
        }
        let data = Dataset::build(&facts, &[]);
        let repeat = Repeat::learn(&data, day(100));
        assert!((repeat.shop - 0.5).abs() < 1e-6);
        assert!(repeat.of(0) > 0.85 && repeat.of(1) < 0.15 && (repeat.of(2) - 0.5).abs() < 1e-6);
        let now = popularity(&data, day(100), &Confidence::default(), 5.0);
        assert!(now[2] > now[0] && now[0] > now[1]);
    }
}
