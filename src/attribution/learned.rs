//! Credit by the models that learn (Markov, Shapley), over the shop's own journeys: orders with their paths, and contacts that led to nothing.
//!
//! A currency is a market of its own: its orders' paths are told from it alone, and journeys that led to nothing, which have no currency,
//! are shared among currencies as the orders with a path are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::by::{By, OTHER};
use super::journeys::{Journeys, Key};
use super::lost;
use super::model::{self, Model};
use super::question::{Question, ReportError};
use super::report_store::{self, WayRow};
use super::{markov, shapley};
use crate::platform::db::Db;

/// More keys than this are put together, the least met first: the chain's solution takes time with the third power of their number.
pub const MAX_KEYS: usize = 300;
/// Orders of joining are drawn by the same seed every day: the same facts give the same report.
const SEED: u64 = 1953;

/// What a model learned, per currency.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Learned {
    pub model: Model,
    pub currency: String,
    /// Journeys that ended in an order of this currency.
    pub conversions: i64,
    /// Journeys that led to nothing, this currency's share of them.
    pub misses: f64,
    pub distinct_paths: usize,
    pub keys: usize,
    /// Keys put together as `other`.
    pub folded_keys: usize,
    /// Markov: the chance that a journey ends in an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion_probability: Option<f64>,
    /// Shapley, where it was estimated: pairs of orders drawn. Rows then carry a standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs_drawn: Option<usize>,
}

/// What one key earned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    /// Orders on whose path it is.
    pub orders: i64,
    pub amount_minor: i64,
    /// Of the amount, where it was estimated.
    pub standard_error_minor: Option<i64>,
}

/// By currency and key.
pub(super) type Shares = BTreeMap<(String, String), Share>;

/// The journeys of a report: told once, used by every model that learns.
pub(super) struct Told {
    ways: Vec<WayRow>,
    misses: Vec<(String, i64)>,
}

pub(super) async fn tell(db: &Db, question: &Question, by: By) -> Result<Told, ReportError> {
    let ways = report_store::ways(db, by, question.scope()).await?;
    let misses = lost::misses(db, by, question.scope(), question.now).await?;
    Ok(Told { ways, misses })
}

impl Told {
    pub fn ways(&self) -> &[WayRow] {
        &self.ways
    }
    pub fn misses(&self) -> &[(String, i64)] {
        &self.misses
    }

    /// The journeys of each currency.
    #[allow(clippy::cast_precision_loss, reason = "orders and their values stay below 2^53")]
    fn per_currency(&self) -> BTreeMap<&str, Journeys> {
        let all: i64 = self.ways.iter().map(|w| w.orders).sum();
        let mut found: BTreeMap<&str, Journeys> = BTreeMap::new();
        for way in &self.ways {
            found.entry(&way.currency).or_default().add_text(&way.path, way.orders as f64, way.net_minor as f64, 0.0);
        }
        for journeys in found.values_mut() {
            let share = journeys.conversions() / all.max(1) as f64;
            for (path, n) in &self.misses {
                journeys.add_text(path, 0.0, 0.0, *n as f64 * share);
            }
        }
        found
    }

    /// Credit by a model, per currency and key of the SQL. Amounts of a currency add up to those of its orders with a path.
    pub fn credit(&self, model: Model) -> Result<(Shares, Vec<Learned>), ReportError> {
        let mut shares = BTreeMap::new();
        let mut learned = Vec::new();
        for (currency, journeys) in self.per_currency() {
            let amount: i64 = self.ways.iter().filter(|w| w.currency == currency).map(|w| w.net_minor).sum();
            let (folded, _) = journeys.fold(MAX_KEYS, OTHER);
            let (weights, errors, mut notes) = weigh(&folded, model, currency)?;
            notes.folded_keys = journeys.len().saturating_sub(MAX_KEYS);
            learned.push(notes);
            let whole: f64 = weights.iter().sum();
            let amounts = model::split(amount, &weights);
            let orders = orders_met(&folded);
            for (key, amount_minor) in amounts.into_iter().enumerate().filter(|(_, amount)| *amount != 0) {
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an error bound, rounded up")]
                let error = errors.as_ref().filter(|_| whole > 0.0).map(|e| (e[key] / whole * amount as f64).ceil() as i64);
                let name = folded.names()[key].clone();
                let share = Share { orders: orders[key], amount_minor, standard_error_minor: error };
                shares.insert((currency.to_owned(), name), share);
            }
        }
        Ok((shares, learned))
    }
}

type Weighed = (Vec<f64>, Option<Vec<f64>>, Learned);

/// Each key's share of the value, not normalised, with its standard error where it has one.
fn weigh(journeys: &Journeys, model: Model, currency: &str) -> Result<Weighed, ReportError> {
    #[allow(clippy::cast_possible_truncation, reason = "a count of orders")]
    let mut notes = Learned {
        model,
        currency: currency.to_owned(),
        conversions: journeys.conversions().round() as i64,
        misses: journeys.misses(),
        distinct_paths: journeys.ways().len(),
        keys: journeys.len(),
        folded_keys: 0,
        conversion_probability: None,
        pairs_drawn: None,
    };
    let game = match model {
        Model::Shapley => shapley::Game::Sum,
        Model::ShapleyRate => shapley::Game::Rate,
        _ => {
            let solved = markov::solve(journeys, 1).map_err(|e| ReportError::invalid("model", e.to_string()))?;
            notes.conversion_probability = Some(solved.conversion_probability);
            return Ok((solved.value_removal_effects, None, notes));
        }
    };
    let solved = shapley::solve(journeys, game, shapley::PAIRS, SEED);
    notes.pairs_drawn = solved.pairs;
    let errors = solved.pairs.map(|_| solved.money_errors.clone());
    Ok((solved.money.iter().map(|v| v.max(0.0)).collect(), errors, notes))
}

/// Orders on whose path each key is.
#[allow(clippy::cast_possible_truncation, reason = "a count of orders")]
fn orders_met(journeys: &Journeys) -> Vec<i64> {
    let mut orders = vec![0; journeys.len()];
    for way in journeys.ways() {
        for key in way.path.iter().copied().collect::<BTreeSet<Key>>() {
            orders[key as usize] += way.conversions.round() as i64;
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let way =
            |path: &str, currency: &str, orders, net_minor| WayRow { path: path.into(), currency: currency.into(), orders, net_minor };
        Told {
            ways: vec![way("1>2", "EUR", 3, 100), way("2", "EUR", 1, 1), way("3>1", "JPY", 4, 77)],
            misses: vec![("1".into(), 6), ("3>2".into(), 2)],
        }
    }

    #[test]
    fn every_currency_gives_away_what_its_own_orders_were_worth() {
        for model in [Model::Markov, Model::Shapley, Model::ShapleyRate] {
            let (shares, learned) = told().credit(model).expect("credit");
            let sum = |currency: &str| shares.iter().filter(|((c, _), _)| c == currency).map(|(_, s)| s.amount_minor).sum::<i64>();
            assert_eq!((sum("EUR"), sum("JPY")), (101, 77), "{model}");
            // No order in EUR came by 3. The chain gives it a little all the same: it led to 2, and 2 led to orders.
            assert_eq!(
                shares.get(&("EUR".into(), "3".into())).is_some_and(|s| s.amount_minor > 0 && s.orders == 0),
                model == Model::Markov
            );
            assert_eq!(shares[&("EUR".into(), "2".into())].orders, 4);
            assert_eq!(learned.len(), 2);
            assert!((learned[0].misses - 4.0).abs() < 1e-12 && (learned[1].misses - 4.0).abs() < 1e-12, "half of the orders each");
        }
    }

    #[test]
    fn an_estimate_carries_its_error() {
        let mut t = told();
        t.ways = (0..20)
            .map(|i| WayRow { path: format!("{i}>{}", (i * 7 + 3) % 20), currency: "EUR".into(), orders: 1 + i, net_minor: 1000 * (i + 1) })
            .collect();
        t.misses = (0..20).map(|i| (format!("{i}"), i)).collect();
        let (shares, learned) = t.credit(Model::ShapleyRate).expect("credit");
        assert_eq!(learned[0].pairs_drawn, Some(shapley::PAIRS));
        assert!(shares.values().all(|s| s.standard_error_minor.is_some_and(|e| e > 0)));
        assert_eq!(shares.values().map(|s| s.amount_minor).sum::<i64>(), 210_000);
    }
}
