//! Journeys: who met what, in what order, and whether it ended in an order. The one shape that path models, the paths report and path files
//! share: distinct paths with how often each converted, what that was worth, and how often it led to nothing.
//!
//! A path is a list of keys (channels, campaigns …), repetitions kept. No person is in here.

use std::collections::HashMap;

/// A key's place in [`Journeys::names`].
pub type Key = u32;

/// One distinct path.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    pub path: Box<[Key]>,
    /// Journeys along it that ended in an order.
    pub conversions: f64,
    /// What those orders were worth, in one unit (minor units of one currency, or whatever a file counts in).
    pub value: f64,
    /// Journeys along it that ended without one.
    pub misses: f64,
}

/// Distinct paths and their counts.
#[derive(Clone, Debug, Default)]
pub struct Journeys {
    names: Vec<String>,
    by_name: HashMap<String, Key>,
    ways: Vec<Way>,
    by_path: HashMap<Box<[Key]>, usize>,
}

/// What a key earns under a model: conversions and value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Earned {
    pub conversions: f64,
    pub value: f64,
}

/// Models that look at one path at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heuristic {
    First,
    Last,
    Linear,
}

impl Journeys {
    pub fn new() -> Self {
        Self::default()
    }

    /// The key of a name, made where it is new.
    pub fn key(&mut self, name: &str) -> Key {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = Key::try_from(self.names.len()).unwrap_or(Key::MAX);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), key);
        key
    }

    /// Adds journeys along a path. Paths that repeat are added up; an empty path is nobody's and is left out.
    pub fn add(&mut self, path: &[Key], conversions: f64, value: f64, misses: f64) {
        if path.is_empty() || (conversions <= 0.0 && misses <= 0.0) {
            return;
        }
        let at = match self.by_path.get(path) {
            Some(at) => *at,
            None => {
                let path: Box<[Key]> = path.into();
                self.by_path.insert(path.clone(), self.ways.len());
                self.ways.push(Way { path, conversions: 0.0, value: 0.0, misses: 0.0 });
                self.ways.len() - 1
            }
        };
        let way = &mut self.ways[at];
        way.conversions += conversions;
        way.value += value;
        way.misses += misses;
    }

    /// As [`Journeys::add`], of a path written with `>` between its keys.
    pub fn add_text(&mut self, path: &str, conversions: f64, value: f64, misses: f64) {
        let keys: Vec<Key> = path.split('>').map(str::trim).filter(|p| !p.is_empty()).map(|p| self.key(p)).collect();
        self.add(&keys, conversions, value, misses);
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }
    pub fn name(&self, key: Key) -> &str {
        self.names.get(key as usize).map_or("", String::as_str)
    }
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }
    pub fn conversions(&self) -> f64 {
        self.ways.iter().map(|w| w.conversions).sum()
    }
    pub fn value(&self) -> f64 {
        self.ways.iter().map(|w| w.value).sum()
    }
    pub fn misses(&self) -> f64 {
        self.ways.iter().map(|w| w.misses).sum()
    }

    /// The same journeys with all but the `most` most-met keys put together as `other`, so that a model over many products stays solvable.
    /// Returns them and the key in there of each old key.
    pub fn fold(&self, most: usize, other: &str) -> (Self, Vec<Key>) {
        let mut met = vec![0.0_f64; self.len()];
        for way in &self.ways {
            for key in &way.path {
                met[*key as usize] += way.conversions + way.misses;
            }
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|a, b| met[*b].total_cmp(&met[*a]).then_with(|| a.cmp(b)));
        let mut folded = Self::new();
        let mut new_keys = vec![0; self.len()];
        for (place, old) in order.into_iter().enumerate() {
            new_keys[old] = folded.key(if place < most { &self.names[old] } else { other });
        }
        for way in &self.ways {
            let path: Vec<Key> = way.path.iter().map(|k| new_keys[*k as usize]).collect();
            folded.add(&path, way.conversions, way.value, way.misses);
        }
        (folded, new_keys)
    }

    /// First, last and linear touch. Linear counts a key as often as it was met.
    pub fn heuristic(&self, model: Heuristic) -> Vec<Earned> {
        let mut earned = vec![Earned::default(); self.len()];
        let mut give = |key: Key, way: &Way, share: f64| {
            let e = &mut earned[key as usize];
            e.conversions += way.conversions * share;
            e.value += way.value * share;
        };
        for way in &self.ways {
            match (model, &*way.path) {
                (Heuristic::First, [first, ..]) => give(*first, way, 1.0),
                (Heuristic::Last, [.., last]) => give(*last, way, 1.0),
                #[allow(clippy::cast_precision_loss, reason = "paths are short")]
                (Heuristic::Linear, path) => path.iter().for_each(|k| give(*k, way, 1.0 / path.len() as f64)),
                _ => {}
            }
        }
        earned
    }
}

/// Shares out `conversions` and `value` by weights that need not sum to one; all zero where the weights are.
pub fn by_weight(journeys: &Journeys, conversion_weights: &[f64], value_weights: &[f64]) -> Vec<Earned> {
    let normal = |weights: &[f64], total: f64| {
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| if sum > 0.0 { w / sum * total } else { 0.0 }).collect::<Vec<_>>()
    };
    let conversions = normal(conversion_weights, journeys.conversions());
    let values = normal(value_weights, journeys.value());
    conversions.into_iter().zip(values).map(|(conversions, value)| Earned { conversions, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_add_up_and_heuristics_share_them() {
        let mut j = Journeys::new();
        j.add_text("a > b > a", 2.0, 10.0, 1.0);
        j.add_text("a>b>a", 1.0, 5.0, 0.0);
        j.add_text("b", 0.0, 0.0, 4.0);
        j.add_text(" > ", 9.0, 9.0, 9.0);
        j.add_text("c", 0.0, 7.0, 0.0);
        assert_eq!((j.ways().len(), j.conversions(), j.value(), j.misses()), (2, 3.0, 15.0, 5.0));
        let pairs = |m| j.heuristic(m).iter().map(|e| (e.conversions, e.value)).collect::<Vec<_>>();
        assert_eq!(pairs(Heuristic::First)[..2], [(3.0, 15.0), (0.0, 0.0)]);
        assert_eq!(pairs(Heuristic::Last)[..2], [(3.0, 15.0), (0.0, 0.0)]);
        let linear = pairs(Heuristic::Linear);
        assert!((linear[0].1 - 10.0).abs() < 1e-12 && (linear[1].0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rare_keys_are_put_together() {
        let mut j = Journeys::new();
        j.add_text("a > x", 5.0, 5.0, 0.0);
        j.add_text("a > y", 1.0, 1.0, 2.0);
        let (folded, keys) = j.fold(2, "other");
        assert_eq!(folded.names(), ["a", "x", "other"]);
        assert_eq!(keys, [0, 1, 2]);
        assert_eq!((folded.conversions(), folded.misses()), (6.0, 2.0));
        let (one, _) = j.fold(0, "other");
        assert_eq!((one.len(), one.ways().len()), (1, 1));
    }
}
