//! Markov credit, exactly. Pure.
//!
//! **Model** (Anderl, Becker, von Wangenheim, Schumann, “Mapping the customer journey: lessons learned from graph-based online attribution
//! modeling”, IJRM 33, 2016). Journeys are walks of an absorbing chain: from the start through states (the last `order` keys met) into
//! *converted* or *gone*. The **removal effect** of a key is the share of conversions that is lost when everybody who would meet it goes
//! instead: 1 − p₋ₖ / p. Credit is the removal effects, normalised.
//!
//! **Solution.** With Q the transitions between states, π where walks start, r the chance to convert next, N = (I − Q)⁻¹ the expected visits:
//! p = π N r. Walks that ever meet the states B of a key first meet them with the chances h = π N_B (N_BB)⁻¹, and convert from there with
//! b = N r, so p − p₋ₖ = h · b_B: one inversion gives the removal effects of all keys, without simulation. The value of a conversion is
//! that of the mean conversion out of the state it came from, as the Monte Carlo implementations draw it.

use std::collections::HashMap;

use faer::linalg::solvers::{DenseSolveCore as _, Solve as _};
use faer::{Col, Mat};

use super::journeys::{Earned, Journeys, Key, Way, by_weight};

/// More states than this are refused: the inversion takes time with their third power.
pub const MAX_STATES: usize = 2_500;
/// Longest memory.
pub const MAX_ORDER: usize = 3;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MarkovError {
    #[error("a chain's order is 1 to {MAX_ORDER}")]
    Order,
    #[error("{0} states are too many (at most {MAX_STATES}): take a lower order, or fewer keys")]
    States(usize),
    #[error("these journeys make no chain that ends")]
    Singular,
}

/// The chain, solved.
#[derive(Clone, Debug, PartialEq)]
pub struct Markov {
    pub order: usize,
    /// Chance that a journey converts; equals conversions ÷ journeys for order 1.
    pub conversion_probability: f64,
    /// Share of conversions lost without each key (0 to 1), in the order of the journeys' keys.
    pub removal_effects: Vec<f64>,
    /// The same of value.
    pub value_removal_effects: Vec<f64>,
}

impl Markov {
    /// Credit: the journeys' conversions and value, shared by the removal effects.
    pub fn earned(&self, journeys: &Journeys) -> Vec<Earned> {
        by_weight(journeys, &self.removal_effects, &self.value_removal_effects)
    }
}

/// Numbers the states: the last `order` keys met, fewer at a journey's beginning.
struct States {
    order: usize,
    by_window: HashMap<Box<[Key]>, usize>,
    keys: Vec<Box<[Key]>>,
}

impl States {
    fn new(order: usize) -> Self {
        Self { order, by_window: HashMap::new(), keys: Vec::new() }
    }
    fn window<'a>(&self, path: &'a [Key], last: usize) -> &'a [Key] {
        &path[(last + 1).saturating_sub(self.order)..=last]
    }
    fn number(&mut self, window: &[Key]) -> usize {
        if let Some(n) = self.by_window.get(window) {
            return *n;
        }
        let n = self.keys.len();
        self.keys.push(window.into());
        self.by_window.insert(window.into(), n);
        n
    }
    /// The states of a path, in order.
    fn walk<'a>(&'a self, path: &'a [Key]) -> impl Iterator<Item = usize> + 'a {
        (0..path.len()).map(|i| self.by_window.get(self.window(path, i)).copied().unwrap_or(0))
    }
}

/// Weights of all transitions.
struct Counts {
    between: Mat<f64>,
    from_start: Vec<f64>,
    out: Vec<f64>,
    converted: Vec<f64>,
    value: Vec<f64>,
}

impl Counts {
    fn of(ways: &[Way], states: &States) -> Self {
        let n = states.keys.len();
        let zeros = || vec![0.0; n];
        let mut counts = Self { between: Mat::zeros(n, n), from_start: zeros(), out: zeros(), converted: zeros(), value: zeros() };
        // Order 1 has the key itself for a state: no look-up.
        let plain = states.order == 1;
        for way in ways {
            let weight = way.conversions + way.misses;
            let mut at = None;
            let mut step = |to: usize| {
                match at {
                    None => counts.from_start[to] += weight,
                    Some(from) => counts.between[(from, to)] += weight,
                }
                counts.out[to] += weight;
                at = Some(to);
            };
            if plain {
                way.path.iter().for_each(|k| step(*k as usize));
            } else {
                states.walk(&way.path).for_each(&mut step);
            }
            if let Some(last) = at {
                counts.converted[last] += way.conversions;
                counts.value[last] += way.value;
            }
        }
        counts
    }
}

fn states_of(journeys: &Journeys, order: usize) -> Result<States, MarkovError> {
    let mut states = States::new(order);
    if order == 1 {
        for key in 0..journeys.len() {
            states.number(&[Key::try_from(key).unwrap_or(Key::MAX)]);
        }
    } else {
        for way in journeys.ways() {
            for i in 0..way.path.len() {
                let window = states.window(&way.path, i);
                states.number(window);
            }
        }
    }
    match states.keys.len() {
        n if n > MAX_STATES => Err(MarkovError::States(n)),
        _ => Ok(states),
    }
}

/// Solves the chain of an order (1 to 3). Time: one pass over the paths, and the third power of the number of states.
pub fn solve(journeys: &Journeys, order: usize) -> Result<Markov, MarkovError> {
    if !(1..=MAX_ORDER).contains(&order) {
        return Err(MarkovError::Order);
    }
    let states = states_of(journeys, order)?;
    let n = states.keys.len();
    let counts = Counts::of(journeys.ways(), &states);
    let started: f64 = counts.from_start.iter().sum();
    let mut solved = Markov {
        order,
        conversion_probability: 0.0,
        removal_effects: vec![0.0; journeys.len()],
        value_removal_effects: vec![0.0; journeys.len()],
    };
    if started <= 0.0 {
        return Ok(solved);
    }
    // A state that nobody was in (a key of no path) stays apart: its row is that of the identity.
    let share = |amount: f64, state: usize| if counts.out[state] > 0.0 { amount / counts.out[state] } else { 0.0 };
    let chain = Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - share(counts.between[(i, j)], i));
    let visits_from = chain.partial_piv_lu().inverse();
    if (0..n).any(|i| !visits_from[(i, i)].is_finite() || visits_from[(i, i)] <= 0.0) {
        return Err(MarkovError::Singular);
    }
    let converts = &visits_from * Col::from_fn(n, |i| share(counts.converted[i], i));
    let brings = &visits_from * Col::from_fn(n, |i| share(counts.value[i], i));
    let start = Col::from_fn(n, |i| counts.from_start[i] / started);
    let visits = visits_from.transpose() * &start;
    let p: f64 = (0..n).map(|i| start[i] * converts[i]).sum();
    let value: f64 = (0..n).map(|i| start[i] * brings[i]).sum();
    solved.conversion_probability = p;
    for (key, block) in blocks(&states, journeys.len()).iter().enumerate() {
        let first = first_met(&visits_from, &visits, block);
        let lost = |from: &Col<f64>| block.iter().zip(&first).map(|(state, h)| h * from[*state]).sum::<f64>();
        let effect = |lost: f64, all: f64| if all > 0.0 { (lost / all).clamp(0.0, 1.0) } else { 0.0 };
        solved.removal_effects[key] = effect(lost(&converts), p);
        solved.value_removal_effects[key] = effect(lost(&brings), value);
    }
    Ok(solved)
}

/// The states in which a walk has just met each key.
fn blocks(states: &States, keys: usize) -> Vec<Vec<usize>> {
    let mut blocks = vec![Vec::new(); keys];
    for (state, window) in states.keys.iter().enumerate() {
        if let Some(met) = window.last() {
            blocks[*met as usize].push(state);
        }
    }
    blocks
}

/// Chances that each state of a block is the first of it that a walk meets: h = π N_B (N_BB)⁻¹.
fn first_met(visits_from: &Mat<f64>, visits: &Col<f64>, block: &[usize]) -> Vec<f64> {
    if let [one] = block {
        return vec![visits[*one] / visits_from[(*one, *one)]];
    }
    let inner = Mat::from_fn(block.len(), block.len(), |i, j| visits_from[(block[j], block[i])]);
    let wanted = Col::from_fn(block.len(), |i| visits[block[i]]);
    let first = inner.partial_piv_lu().solve(&wanted);
    (0..block.len()).map(|i| first[i]).collect()
}

#[cfg(test)]
#[path = "markov_tests.rs"]
mod tests;
