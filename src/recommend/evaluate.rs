//! Offline evaluation: train on everything before an instant, rank all products, and compare with what people bought after it.
//!
//! Two protocols that must never be mixed: *repeats allowed* (everything bought in the window counts) and *new items only* (what a
//! person bought before is neither ranked nor counted). Baselines stand beside: popularity, item cosine, own favourites, random.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::base::{Base, Params, Side};
use super::history::{Dataset, Kind};
use super::metrics::{Metrics, Tally, top};
use super::ranker::{Ranker, TextIndex};

/// How many places of a ranking count.
pub const PLACES: usize = 20;

/// The methods that are compared, in this order.
pub const METHODS: [&str; 6] = ["marquee", "ials", "item_cosine", "own_favourites", "popular", "random"];

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Training ends and the test window starts here (exclusive, microseconds).
    pub split_us: i64,
    pub products: usize,
    /// People with a history who bought in the window; only they can be measured.
    pub people: usize,
    /// People who bought in the window and were not known before: they get what is popular.
    pub unknown_people: usize,
    /// Share of purchases that are bought again later.
    pub repeat_rate: f32,
    pub repeats_allowed: Vec<Row>,
    pub new_items_only: Vec<Row>,
    pub blend: Vec<(&'static str, f32)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub method: &'static str,
    #[serde(flatten)]
    pub metrics: Metrics,
}

impl Report {
    pub fn of(rows: &[Row], method: &str) -> Option<Metrics> {
        rows.iter().find(|r| r.method == method).map(|r| r.metrics)
    }
}

/// Trains before `split_us` and measures on `[split_us, to_us)`.
pub fn evaluate(data: &Dataset, side: &Side, index: Option<&dyn TextIndex>, split_us: i64, to_us: i64, params: &Params) -> Report {
    let before = data.before(split_us);
    let ranker = Ranker::train(&before, side, index, split_us, params, |_| {});
    let bought = data.bought_between(split_us, to_us);
    let measured: Vec<usize> = (0..bought.len()).filter(|p| !bought[*p].is_empty() && !before.rows[*p].is_empty()).collect();
    let unknown_people = bought.iter().zip(&before.rows).filter(|(b, r)| !b.is_empty() && r.is_empty()).count();
    let products = data.items.len();
    let fresh = || vec![[Tally::new(PLACES, products), Tally::new(PLACES, products)]; METHODS.len()];
    // In blocks, each summed in order, so that the figures do not depend on the threads.
    let parts: Vec<Vec<[Tally; 2]>> = measured
        .par_chunks(64)
        .map(|part| {
            let mut tallies = fresh();
            for person in part {
                measure(&ranker, &before, side, index, split_us, *person, &bought[*person], &mut tallies);
            }
            tallies
        })
        .collect();
    let mut tallies = fresh();
    for part in parts {
        for (sum, one) in tallies.iter_mut().zip(part) {
            for (sum, one) in sum.iter_mut().zip(one) {
                sum.merge(one);
            }
        }
    }
    let rows = |protocol: usize| METHODS.iter().zip(&tallies).map(|(m, t)| Row { method: m, metrics: t[protocol].metrics() }).collect();
    Report {
        split_us,
        products,
        people: measured.len(),
        unknown_people,
        repeat_rate: ranker.base.repeat.shop,
        repeats_allowed: rows(0),
        new_items_only: rows(1),
        blend: super::ranker::FEATURES.into_iter().zip(ranker.any.weights.iter().copied()).collect(),
    }
}

fn measure(
    ranker: &Ranker,
    before: &Dataset,
    side: &Side,
    index: Option<&dyn TextIndex>,
    split_us: i64,
    person: usize,
    bought: &[u32],
    tallies: &mut [[Tally; 2]],
) {
    let history = &before.rows[person];
    let base = &ranker.base;
    let mut owned: Vec<u32> = history.iter().filter(|i| i.kind == Kind::Purchase).map(|i| i.item).collect();
    owned.sort_unstable();
    owned.dedup();
    let new: Vec<u32> = bought.iter().copied().filter(|i| owned.binary_search(i).is_err()).collect();
    let row = base.params.confidence.row(history, split_us);
    let products = before.items.len();

    let state = ranker.person(history, side, split_us);
    let by_blend =
        |new_only: bool| -> Vec<u32> { ranker.rank(&state, side, index, new_only, &[]).into_iter().take(PLACES).map(|s| s.item).collect() };
    tallies[0][0].add(&by_blend(false), bought);
    tallies[0][1].add(&by_blend(true), &new);

    let mut scores = Vec::new();
    base.factors.scores(&base.factors.fold_in(&row), &mut scores);
    both(&mut tallies[1], &scores, &owned, bought, &new);

    scores.clear();
    scores.resize(products, 0.0);
    base.neighbours.add_scores(&row, &mut scores);
    // A product is most like itself: without this the baseline could not repeat.
    row.iter().for_each(|(item, c)| scores[*item as usize] += c);
    both(&mut tallies[2], &scores, &owned, bought, &new);

    // Most often bought, newest first among equals, then what is popular.
    let mut favourites: Vec<f32> = base.popular_now.iter().map(|p| p * 1e-3).collect();
    for i in history {
        let age = 1.0 / (1.0 + (split_us - i.at_us).max(0) as f32 / super::history::DAY_US as f32);
        favourites[i.item as usize] += base.params.confidence.of(i.kind) + 0.1 * age;
    }
    both(&mut tallies[3], &favourites, &owned, bought, &new);
    both(&mut tallies[4], &base.popular_now, &owned, bought, &new);

    let mut rng = ChaCha8Rng::seed_from_u64(person as u64);
    let random: Vec<f32> = (0..products).map(|_| rng.random()).collect();
    both(&mut tallies[5], &random, &owned, bought, &new);
}

fn both(tally: &mut [Tally; 2], scores: &[f32], owned: &[u32], bought: &[u32], new: &[u32]) {
    tally[0].add(&top(scores, PLACES, &[]), bought);
    tally[1].add(&top(scores, PLACES, owned), new);
}

/// The classic protocol over two lists of pairs (person → items): train on the first, rank everything else, compare with the second.
#[derive(Clone, Debug, Serialize)]
pub struct PairsReport {
    pub people: usize,
    pub products: usize,
    pub rows: Vec<Row>,
    pub epoch_seconds: f64,
}

/// `seconds` tells the time since some start (for the epoch's duration).
pub fn evaluate_pairs(train: &[Vec<u32>], test: &[Vec<u32>], params: &Params, seconds: impl Fn() -> f64) -> PairsReport {
    let products = train.iter().chain(test).flatten().max().map_or(0, |m| *m as usize + 1);
    let matrix = super::als::Csr::from_rows(train.iter().map(|r| r.iter().map(|i| (*i, 1.0)).collect()), products);
    let (mut last, mut longest) = (seconds(), Vec::new());
    let trained = super::als::train(&matrix, &params.als, |_| {
        let now = seconds();
        longest.push(now - last);
        last = now;
    });
    longest.sort_by(f64::total_cmp);
    let base = Base {
        neighbours: super::neighbours::Neighbours::build(&matrix, params.side.neighbours.max(200), 0.0),
        factors: trained.factors,
        ..Base::default()
    };
    let mut popular = vec![0.0_f32; products];
    train.iter().flatten().for_each(|i| popular[*i as usize] += 1.0);
    let fresh = || [(); 3].map(|()| Tally::new(PLACES, products));
    let parts: Vec<[Tally; 3]> = (0..test.len())
        .into_par_iter()
        .fold_chunks(64, fresh, |mut tally, person| {
            let seen = train.get(person).map_or(&[] as &[u32], Vec::as_slice);
            let row: Vec<(u32, f32)> = seen.iter().map(|i| (*i, 1.0)).collect();
            let mut scores = Vec::new();
            base.factors.scores(&base.factors.fold_in(&row), &mut scores);
            tally[0].add(&top(&scores, PLACES, seen), &test[person]);
            scores.fill(0.0);
            base.neighbours.add_scores(&row, &mut scores);
            tally[1].add(&top(&scores, PLACES, seen), &test[person]);
            tally[2].add(&top(&popular, PLACES, seen), &test[person]);
            tally
        })
        .collect();
    let mut sum = fresh();
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(s, p)| s.merge(p));
    }
    let rows: Vec<Row> =
        ["ials", "item_cosine", "popular"].into_iter().zip(&sum).map(|(method, t)| Row { method, metrics: t.metrics() }).collect();
    let people = rows.first().map_or(0, |r| r.metrics.people);
    PairsReport { people, products, rows, epoch_seconds: longest.get(longest.len() / 2).copied().unwrap_or(0.0) }
}

#[cfg(test)]
pub(in crate::recommend) mod tests {
    use super::super::base::SideParams;
    use super::super::history::DAY_US;
    use super::*;

    /// Three tastes of twelve products; a person buys from one of them, one product every few days, some of them again and again.
    pub(in crate::recommend) fn planted(people: i64) -> (Dataset, Side) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut facts = Vec::new();
        for person in 0..people {
            let taste = person % 3;
            for step in 0..14 {
                let product = taste * 12 + rng.random_range(0..12);
                let day = step * 9 + rng.random_range(0..5);
                facts.push((person + 1, product + 100, Kind::Purchase, day * DAY_US));
                if step % 3 == 0 {
                    facts.push((person + 1, taste * 12 + 100 + person % 12, Kind::Purchase, day * DAY_US + 1));
                }
            }
        }
        let products: Vec<i64> = (100..136).collect();
        let data = Dataset::build(&facts, &products);
        let side = Side { category: (0..36).map(|i| i / 6).collect(), ..Side::default() };
        (data, side)
    }

    pub(in crate::recommend) fn small() -> Params {
        let mut params = Params { side: SideParams { shrink: 1.0, ..SideParams::default() }, ..Params::default() };
        params.als.rank = 8;
        params.als.epochs = 8;
        params
    }

    #[test]
    fn planted_tastes_are_found_far_above_popularity() {
        let (data, side) = planted(90);
        let report = evaluate(&data, &side, None, 100 * DAY_US, 140 * DAY_US, &small());
        for rows in [&report.repeats_allowed, &report.new_items_only] {
            let get = |m: &str| Report::of(rows, m).expect("measured");
            let (ours, popular, random) = (get("marquee"), get("popular"), get("random"));
            assert!(ours.ndcg > 1.4 * popular.ndcg && ours.ndcg > 1.4 * random.ndcg, "{report:#?}");
            assert!(get("ials").ndcg > 1.2 * popular.ndcg && get("item_cosine").ndcg > 1.2 * popular.ndcg, "{report:#?}");
        }
        assert!(report.repeat_rate > 0.1 && report.people == 90 && report.unknown_people == 0);
    }

    #[test]
    fn nothing_after_the_split_leaks_into_training() {
        let (data, side) = planted(30);
        let split = 100 * DAY_US;
        let full = Ranker::train(&data.before(split), &side, None, split, &small(), |_| {});
        let also = Ranker::train(&data, &side, None, split, &small(), |_| {});
        assert_eq!(full.base.factors.items, also.base.factors.items);
        assert_eq!((full.any, full.new), (also.any, also.new));
    }

    #[test]
    fn pairs_are_ranked_without_what_was_seen() {
        let train: Vec<Vec<u32>> = (0..60).map(|p| (0..10).filter(|i| (i + p) % 5 != 0).map(|i| i + (p % 2) * 40).collect()).collect();
        let test: Vec<Vec<u32>> = (0..60).map(|p| (0..10).filter(|i| (i + p) % 5 == 0).map(|i| i + (p % 2) * 40).collect()).collect();
        let report = evaluate_pairs(&train, &test, &small(), || 0.0);
        assert_eq!((report.people, report.products), (60, 50));
        assert!(report.rows[0].metrics.recall > 0.99 && report.rows[0].metrics.ndcg > 0.9, "{report:?}");
    }
}
