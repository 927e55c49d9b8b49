//! The rules, which have the last word: what may be sold, what was bought or shown lately, and that a list is not all the same.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::als::dot;
use super::base::Side;
use super::history::DAY_US;
use super::ranker::Scored;

/// What a campaign or placement demands of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChoiceRules {
    /// Products per person.
    pub count: usize,
    /// Only products in these categories or below them (`Garden`, `Garden > Tools`); empty = all.
    pub categories: Vec<String>,
    /// Only these products; empty = all.
    pub skus: Vec<String>,
    /// Never these products.
    pub exclude_skus: Vec<String>,
    /// Nothing that the person bought within this many days, unless it is a product that people buy again and again.
    pub not_bought_days: i64,
    /// Nothing that the person was shown or sent within this many days.
    pub not_shown_days: i64,
    /// Most products of one category in a list; absent = half of the list. Broken only where there is nothing else.
    pub per_category: Option<usize>,
    /// 0 = by score alone, 1 = as different as possible (maximal marginal relevance).
    pub diversity: f32,
    /// How much a product's attribute `margin` (0–1) lifts its score; 0 = not at all.
    pub margin_weight: f32,
}
impl Default for ChoiceRules {
    fn default() -> Self {
        Self {
            count: 4,
            categories: Vec::new(),
            skus: Vec::new(),
            exclude_skus: Vec::new(),
            not_bought_days: 90,
            not_shown_days: 14,
            per_category: None,
            diversity: 0.15,
            margin_weight: 0.0,
        }
    }
}

/// Products that at least this share of buyers buys again are never "bought already" for long.
pub const REPEAT_RATE: f32 = 0.15;
/// But nobody wants it again on the day after.
pub const REPEAT_PAUSE_DAYS: i64 = 7;

/// What the rules must know of one person and the shop.
pub struct Facts<'a> {
    pub side: &'a Side,
    /// Items that may be shown at all: sellable, and inside the campaign's filter.
    pub allowed: &'a [bool],
    /// When the person last bought an item.
    pub bought: HashMap<u32, i64>,
    /// What the person was shown within the window.
    pub shown: HashSet<u32>,
    pub margin: &'a dyn Fn(u32) -> f32,
    pub repeat_rate: &'a dyn Fn(u32) -> f32,
    pub as_of_us: i64,
}

/// The rules over a ranking: at most `rules.count`, best first.
pub fn apply(rules: &ChoiceRules, ranking: &[Scored], facts: &Facts<'_>) -> Vec<Scored> {
    let mut pool: Vec<Scored> = ranking.iter().filter(|s| s.score.is_finite() && may(rules, s.item, facts)).copied().collect();
    if rules.margin_weight != 0.0 {
        pool.iter_mut().for_each(|s| s.score += rules.margin_weight * (facts.margin)(s.item));
        pool.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
    }
    pool.truncate((rules.count * 5).max(50));
    diversify(rules, &pool, facts.side)
}

fn may(rules: &ChoiceRules, item: u32, facts: &Facts<'_>) -> bool {
    if !facts.allowed.get(item as usize).copied().unwrap_or(false) || facts.shown.contains(&item) {
        return false;
    }
    let pause = if (facts.repeat_rate)(item) >= REPEAT_RATE { REPEAT_PAUSE_DAYS.min(rules.not_bought_days) } else { rules.not_bought_days };
    facts.bought.get(&item).is_none_or(|at| facts.as_of_us - at > pause * DAY_US)
}

/// Maximal marginal relevance (Carbonell & Goldstein 1998): (1 − d)·score − d·likeness to what is chosen, scores scaled to 0–1.
fn diversify(rules: &ChoiceRules, pool: &[Scored], side: &Side) -> Vec<Scored> {
    let (Some(best), Some(worst)) = (pool.first(), pool.last()) else { return Vec::new() };
    let range = (best.score - worst.score).max(1e-6);
    let d = rules.diversity.clamp(0.0, 1.0);
    let cap = rules.per_category.unwrap_or(rules.count.div_ceil(2).max(2)).max(1);
    let mut likeness = vec![0.0_f32; pool.len()];
    let mut taken = vec![false; pool.len()];
    let mut per_category: HashMap<u32, usize> = HashMap::new();
    let mut chosen: Vec<Scored> = Vec::with_capacity(rules.count);
    while chosen.len() < rules.count.min(pool.len()) {
        let value = |i: usize| (1.0 - d) * (pool[i].score - worst.score) / range - d * likeness[i];
        let full = |i: usize| side.category(pool[i].item).is_some_and(|c| per_category.get(&c).copied().unwrap_or(0) >= cap);
        let free = |capped: bool| {
            (0..pool.len()).filter(|i| !taken[*i] && (!capped || !full(*i))).max_by(|a, b| value(*a).total_cmp(&value(*b)).then(b.cmp(a)))
        };
        let Some(next) = free(true).or_else(|| free(false)) else { break };
        taken[next] = true;
        let item = pool[next].item;
        if let Some(category) = side.category(item) {
            *per_category.entry(category).or_default() += 1;
        }
        for (i, alike) in likeness.iter_mut().enumerate() {
            let same = side.category(item).is_some() && side.category(item) == side.category(pool[i].item);
            let text = dot(side.vector(item), side.vector(pool[i].item)).clamp(0.0, 1.0);
            *alike = alike.max(0.5 * f32::from(u8::from(same)) + 0.5 * text);
        }
        chosen.push(pool[next]);
    }
    chosen
}

/// Whether a category path lies in or below one of `wanted`.
pub fn in_categories(path: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| path.strip_prefix(w.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(" > ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(n: u32) -> Vec<Scored> {
        (0..n).map(|item| Scored { item, score: 10.0 - item as f32 * 0.1 }).collect()
    }
    fn facts<'a>(side: &'a Side, allowed: &'a [bool]) -> Facts<'a> {
        Facts {
            side,
            allowed,
            bought: HashMap::new(),
            shown: HashSet::new(),
            margin: &|item| if item == 9 { 1.0 } else { 0.0 },
            repeat_rate: &|item| if item == 1 { 0.5 } else { 0.0 },
            as_of_us: 100 * DAY_US,
        }
    }
    fn items(chosen: &[Scored]) -> Vec<u32> {
        chosen.iter().map(|s| s.item).collect()
    }

    #[test]
    fn what_may_not_be_shown_never_is() {
        let side = Side::default();
        let mut allowed = vec![true; 10];
        allowed[0] = false;
        let mut facts = facts(&side, &allowed);
        // 1 is bought again and again; 2 is not; 3 long ago.
        facts.bought = HashMap::from([(1, 80 * DAY_US), (2, 80 * DAY_US), (3, 0)]);
        facts.shown.insert(4);
        let rules = ChoiceRules { count: 9, ..ChoiceRules::default() };
        assert_eq!(items(&apply(&rules, &ranking(10), &facts)), [1, 3, 5, 6, 7, 8, 9]);
        facts.bought.insert(1, 99 * DAY_US);
        assert_eq!(items(&apply(&rules, &ranking(12), &facts))[0], 3, "not on the day after, and 10 and 11 are unknown");
        assert!(apply(&rules, &[], &facts).is_empty());
        assert!(apply(&rules, &[Scored { item: 5, score: f32::NAN }], &facts).is_empty());
    }

    #[test]
    fn a_category_cap_holds_until_nothing_else_is_left() {
        let side = Side { category: vec![1, 1, 1, 1, 2, 2, Side::NONE, Side::NONE], ..Side::default() };
        let allowed = vec![true; 8];
        let rules = ChoiceRules { count: 6, per_category: Some(2), diversity: 0.0, ..ChoiceRules::default() };
        assert_eq!(items(&apply(&rules, &ranking(8), &facts(&side, &allowed))), [0, 1, 4, 5, 6, 7]);
        let all = ChoiceRules { count: 8, ..rules };
        assert_eq!(apply(&all, &ranking(8), &facts(&side, &allowed)).len(), 8);
    }

    #[test]
    fn diversity_and_margin_move_the_order() {
        let side = Side { vectors: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0], dim: 2, ..Side::default() };
        let allowed = vec![true; 3];
        let close = [Scored { item: 0, score: 3.0 }, Scored { item: 1, score: 2.9 }, Scored { item: 2, score: 2.8 }];
        let of = |diversity: f32| ChoiceRules { count: 2, diversity, ..ChoiceRules::default() };
        assert_eq!(items(&apply(&of(0.0), &close, &facts(&side, &allowed))), [0, 1]);
        assert_eq!(items(&apply(&of(0.6), &close, &facts(&side, &allowed))), [0, 2]);
        let (side, allowed) = (Side::default(), vec![true; 10]);
        let rules = ChoiceRules { count: 1, margin_weight: 2.0, ..ChoiceRules::default() };
        assert_eq!(items(&apply(&rules, &ranking(10), &facts(&side, &allowed))), [9]);
    }

    #[test]
    fn categories_match_whole_steps() {
        let wanted = ["Garden > Tools".to_owned()];
        assert!(in_categories("Garden > Tools", &wanted) && in_categories("Garden > Tools > Spades", &wanted));
        assert!(!in_categories("Garden > Toolsheds", &wanted) && !in_categories("Garden", &wanted) && in_categories("x", &[]));
    }
}
