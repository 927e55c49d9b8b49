//! Shapley credit: keys as players of a cooperative game over the sets of keys that journeys met. Pure.
//!
//! **Value** (Shapley, “A value for n-person games”, 1953): a player earns the mean, over all orders in which the players could join, of what
//! joining added: φᵢ = Σ_{S∌i} |S|! (n−|S|−1)! / n! · (v(S∪i) − v(S)). The φ add up to v of all.
//!
//! **Games.** Order and repetition do not matter here: a journey is the set of keys it met.
//! - [`Game::Sum`] (Zhao, Mahboobi, Bagheri, “Shapley value methods for attribution modeling in online advertising”, arXiv 1804.05327, 2018):
//!   v(S) is what came in by journeys that met nothing outside S. Then φᵢ = Σ_{T∋i} R(T)/|T|: exact for any number of keys, in one pass.
//! - [`Game::Rate`]: v(S) is the share of those journeys that converted, so that journeys that led to nothing count too. A key without
//!   which journeys convert better has φ < 0, which is kept. Exact for up to [`EXACT_KEYS`] keys (all 2ⁿ sets); beyond, estimated from random orders,
//!   each taken forwards and backwards (antithetic pairs: Castro, Gómez, Tejada 2009; Mitchell et al. 2022), with its standard error.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::journeys::{Earned, Journeys, by_weight};

/// Up to this many keys a game is solved exactly.
pub const EXACT_KEYS: usize = 12;
/// Pairs of orders drawn where it is estimated.
pub const PAIRS: usize = 2_000;

/// What a set of keys is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Game {
    /// Conversions (and value) of journeys inside the set.
    Sum,
    /// Conversions per journey inside the set.
    Rate,
}

/// The game, solved. Lists are in the order of the journeys' keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Shapley {
    pub game: Game,
    /// φ of conversions ([`Game::Sum`]) or of the conversion rate ([`Game::Rate`]).
    pub values: Vec<f64>,
    /// φ of the orders' value (Sum), or of value per journey (Rate).
    pub money: Vec<f64>,
    /// Standard errors of `values`; zero where they are exact.
    pub standard_errors: Vec<f64>,
    /// Those of `money`.
    pub money_errors: Vec<f64>,
    /// Pairs of orders drawn; `None` where nothing was drawn.
    pub pairs: Option<usize>,
}

impl Shapley {
    /// Credit: conversions and value shared by φ. A negative φ earns nothing.
    pub fn earned(&self, journeys: &Journeys) -> Vec<Earned> {
        let positive = |list: &[f64]| list.iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
        by_weight(journeys, &positive(&self.values), &positive(&self.money))
    }
}

/// Journeys of one set of keys.
#[derive(Clone, Debug, Default)]
struct Coalition {
    /// Ascending, each once.
    members: Vec<usize>,
    conversions: f64,
    value: f64,
    journeys: f64,
}

fn coalitions(journeys: &Journeys) -> Vec<Coalition> {
    let mut found: std::collections::BTreeMap<Vec<usize>, Coalition> = std::collections::BTreeMap::new();
    let mut members = Vec::new();
    for way in journeys.ways() {
        members.clear();
        members.extend(way.path.iter().map(|k| *k as usize));
        members.sort_unstable();
        members.dedup();
        if !found.contains_key(&members) {
            found.insert(members.clone(), Coalition { members: members.clone(), ..Coalition::default() });
        }
        if let Some(set) = found.get_mut(&members) {
            set.conversions += way.conversions;
            set.value += way.value;
            set.journeys += way.conversions + way.misses;
        }
    }
    found.into_values().collect()
}

/// Solves a game. `seed` and `pairs` matter only where it is estimated.
pub fn solve(journeys: &Journeys, game: Game, pairs: usize, seed: u64) -> Shapley {
    let sets = coalitions(journeys);
    let n = journeys.len();
    match game {
        Game::Sum => sum_game(&sets, n),
        Game::Rate if n <= EXACT_KEYS => rate_exact(&sets, n),
        Game::Rate => rate_sampled(&sets, n, pairs.max(2), seed),
    }
}

#[allow(clippy::cast_precision_loss, reason = "sets are small")]
fn sum_game(sets: &[Coalition], n: usize) -> Shapley {
    let (mut values, mut money) = (vec![0.0; n], vec![0.0; n]);
    for set in sets {
        let size = set.members.len() as f64;
        for i in &set.members {
            values[*i] += set.conversions / size;
            money[*i] += set.value / size;
        }
    }
    Shapley { game: Game::Sum, values, money, standard_errors: vec![0.0; n], money_errors: vec![0.0; n], pairs: None }
}

/// What journeys inside a set come to.
#[derive(Clone, Copy, Debug, Default)]
struct Inside {
    conversions: f64,
    value: f64,
    journeys: f64,
}

impl Inside {
    fn add(&mut self, other: Inside) {
        self.conversions += other.conversions;
        self.value += other.value;
        self.journeys += other.journeys;
    }
    fn of(set: &Coalition) -> Self {
        Self { conversions: set.conversions, value: set.value, journeys: set.journeys }
    }
    /// Conversions and value per journey; nothing where there is none.
    fn rates(self) -> [f64; 2] {
        if self.journeys > 0.0 { [self.conversions / self.journeys, self.value / self.journeys] } else { [0.0, 0.0] }
    }
}

/// The Shapley value of any game over at most 20 players, whose worth per set (a bit per player) is given.
pub fn exact(players: usize, worth: impl Fn(usize) -> f64) -> Vec<f64> {
    // chance[s]: that exactly s given others have joined before a player.
    let mut chance = vec![1.0; players.max(1)];
    let n = players as f64;
    chance[0] = 1.0 / n.max(1.0);
    for s in 1..players {
        chance[s] = chance[s - 1] * s as f64 / (n - s as f64);
    }
    let mut values = vec![0.0; players];
    for set in 0..1_usize << players {
        let v = worth(set);
        let size = set.count_ones() as usize;
        for (i, value) in values.iter_mut().enumerate() {
            // As a set that i completes, and as one that i would join.
            *value += if set >> i & 1 == 1 { chance[size - 1] * v } else { -chance[size] * v };
        }
    }
    values
}

fn rate_exact(sets: &[Coalition], n: usize) -> Shapley {
    let mut inside = vec![Inside::default(); 1 << n];
    for set in sets {
        inside[set.members.iter().fold(0, |bits, i| bits | 1 << i)].add(Inside::of(set));
    }
    // Sums over all subsets, one player at a time.
    for i in 0..n {
        for set in (0..1 << n).filter(|set| set >> i & 1 == 1) {
            let without = inside[set ^ 1 << i];
            inside[set].add(without);
        }
    }
    let values = exact(n, |set| inside[set].rates()[0]);
    let money = exact(n, |set| inside[set].rates()[1]);
    Shapley { game: Game::Rate, values, money, standard_errors: vec![0.0; n], money_errors: vec![0.0; n], pairs: None }
}

#[allow(clippy::cast_precision_loss, reason = "thousands of pairs")]
fn rate_sampled(sets: &[Coalition], n: usize, pairs: usize, seed: u64) -> Shapley {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..n).collect();
    let mut tallies = [Tally::new(n), Tally::new(n)];
    let mut place = vec![0_usize; n];
    let mut complete = vec![Inside::default(); n];
    let mut gain = vec![[0.0_f64; 2]; n];
    for _ in 0..pairs {
        order.shuffle(&mut rng);
        gain.fill([0.0; 2]);
        for _ in 0..2 {
            for (at, i) in order.iter().enumerate() {
                place[*i] = at;
            }
            // A set is inside once its last member has joined.
            complete.fill(Inside::default());
            for set in sets {
                if let Some(last) = set.members.iter().map(|i| place[*i]).max() {
                    complete[last].add(Inside::of(set));
                }
            }
            let mut before = [0.0; 2];
            let mut so_far = Inside::default();
            for (at, i) in order.iter().enumerate() {
                so_far.add(complete[at]);
                let now = so_far.rates();
                for k in 0..2 {
                    gain[*i][k] += (now[k] - before[k]) / 2.0;
                }
                before = now;
            }
            order.reverse();
        }
        for (i, gained) in gain.iter().enumerate() {
            tallies[0].add(i, gained[0]);
            tallies[1].add(i, gained[1]);
        }
    }
    let [(values, standard_errors), (money, money_errors)] = tallies.map(|t| t.means(pairs as f64));
    Shapley { game: Game::Rate, values, money, standard_errors, money_errors, pairs: Some(pairs) }
}

/// Sums and sums of squares of what players gained.
struct Tally {
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Tally {
    fn new(n: usize) -> Self {
        Self { sum: vec![0.0; n], squares: vec![0.0; n] }
    }
    fn add(&mut self, i: usize, gain: f64) {
        self.sum[i] += gain;
        self.squares[i] += gain * gain;
    }
    /// Means of `m` draws, and their standard errors.
    fn means(self, m: f64) -> (Vec<f64>, Vec<f64>) {
        let means: Vec<f64> = self.sum.iter().map(|s| s / m).collect();
        let errors = self.squares.iter().zip(&means).map(|(q, mean)| ((q / m - mean * mean).max(0.0) / (m - 1.0)).sqrt()).collect();
        (means, errors)
    }
}

#[cfg(test)]
#[path = "shapley_tests.rs"]
mod tests;
