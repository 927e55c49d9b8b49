//! Credit: how an order's value is shared among the touches before it. Pure.
//!
//! A touch is on an order's path when the same person clicked it (or, view-through, saw it) no later than the order, and the order came within
//! the campaign's window after the contact. Only human signals count: what bots and mail proxies fetch earns nothing. Ghost touches earn nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::clock::{DAY_US, Timestamp};

/// How an order's value is shared among the touches of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// All to the first touch.
    First,
    /// All to the last touch.
    Last,
    /// The same to each.
    Linear,
    /// Half as much for every half-life (default 7 days) that a touch lies further back.
    TimeDecay,
    /// 40 % to the first, 40 % to the last, 20 % to those between; two touches share evenly.
    Position,
    /// By removal effect in a Markov chain of all journeys of the report, also those that led to nothing ([`super::markov`]).
    Markov,
    /// By Shapley value of the keys that journeys met, each journey shared evenly by its keys ([`super::shapley::Game::Sum`]).
    Shapley,
    /// By Shapley value of the share of journeys that end in an order ([`super::shapley::Game::Rate`]).
    ShapleyRate,
}

impl Model {
    /// Models that look at one order's path: their credit is computed once per order and stored.
    pub const PER_ORDER: [Model; 5] = [Self::First, Self::Last, Self::Linear, Self::TimeDecay, Self::Position];
    pub const ALL: [Model; 8] =
        [Self::First, Self::Last, Self::Linear, Self::TimeDecay, Self::Position, Self::Markov, Self::Shapley, Self::ShapleyRate];

    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Linear => "linear",
            Self::TimeDecay => "time_decay",
            Self::Position => "position",
            Self::Markov => "markov",
            Self::Shapley => "shapley",
            Self::ShapleyRate => "shapley_rate",
        }
    }
    /// Whether it learns from all journeys of a report rather than from each order's path.
    pub const fn learns(self) -> bool {
        matches!(self, Self::Markov | Self::Shapley | Self::ShapleyRate)
    }
    /// All names, for messages.
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|m| m.name()).collect();
        format!("{} or {}", names[..names.len() - 1].join(", "), names[names.len() - 1])
    }
}
impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
impl std::str::FromStr for Model {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == text)
            .ok_or_else(|| format!("“{}” is no model: use {}", text.chars().take(40).collect::<String>(), Self::names()))
    }
}

/// Default half-life of [`Model::TimeDecay`].
pub const HALF_LIFE_US: i64 = 7 * DAY_US;

/// What is known of a touch when an order is looked at. Times are those of the first **human** signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When it went out or was shown.
    pub at: Timestamp,
    /// The campaign's conversion window.
    pub window_us: i64,
    pub clicked_at: Option<Timestamp>,
    /// Opened (a mail) or viewable (a banner).
    pub seen_at: Option<Timestamp>,
}

impl Contact {
    /// When it earned a place on the path of an order at `order_at`; `None` where it has none.
    pub fn earned_at(&self, order_at: Timestamp, view_through: bool) -> Option<Timestamp> {
        if order_at < self.at || order_at >= self.at.plus_us(self.window_us) {
            return None;
        }
        let clicked = self.clicked_at.filter(|t| *t <= order_at);
        clicked.or_else(|| self.seen_at.filter(|t| view_through && *t <= order_at))
    }
}

/// Relative weights of a path's touches, in order of time. `ago_us`: how long before the order each was, not ascending. Of the models that
/// learn, which no single path can tell, everybody's is the same.
pub fn weights(model: Model, ago_us: &[i64], half_life_us: i64) -> Vec<f64> {
    let n = ago_us.len();
    let last = n.saturating_sub(1);
    (0..n)
        .map(|i| match model {
            Model::First => f64::from(u8::from(i == 0)),
            Model::Last => f64::from(u8::from(i == last)),
            Model::Linear | Model::Markov | Model::Shapley | Model::ShapleyRate => 1.0,
            // Relative to the youngest, so that no path is so old that all its weights vanish.
            Model::TimeDecay => (-(as_f64(ago_us[i] - ago_us[last]) / as_f64(half_life_us.max(1)))).exp2(),
            Model::Position => match n {
                1 | 2 => 1.0,
                _ if i == 0 || i == last => 0.4,
                _ => 0.2 / as_f64(i64::try_from(n - 2).unwrap_or(i64::MAX)),
            },
        })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "weights need no more than 52 bits")]
fn as_f64(n: i64) -> f64 {
    n as f64
}

/// Splits an amount by weights so that the parts sum to it exactly: whole parts rounded down, what is left goes by largest remainder (the
/// earlier one on a tie). Weights must not be negative; where all are zero or there is no part, everything goes to the first, if there is one.
pub fn split(amount_minor: i64, weights: &[f64]) -> Vec<i64> {
    const SCALE: f64 = (1_u64 << 40) as f64;
    let sum: f64 = weights.iter().sum();
    let mut units: Vec<i128> = if sum > 0.0 && sum.is_finite() {
        #[allow(clippy::cast_possible_truncation, reason = "0 to 2^40")]
        weights.iter().map(|w| ((w / sum) * SCALE).round() as i128).collect()
    } else {
        vec![0; weights.len()]
    };
    let mut whole: i128 = units.iter().sum();
    if whole == 0 {
        let Some(first) = units.first_mut() else { return Vec::new() };
        *first = 1;
        whole = 1;
    }
    let amount = i128::from(amount_minor.unsigned_abs());
    let mut parts: Vec<i128> = units.iter().map(|u| amount * u / whole).collect();
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|i| (-((amount * units[*i]) % whole), *i));
    let left = usize::try_from(amount - parts.iter().sum::<i128>()).unwrap_or(0);
    for i in order.into_iter().take(left) {
        parts[i] += 1;
    }
    let sign = i128::from(amount_minor.signum());
    parts.into_iter().map(|p| i64::try_from(p * sign).unwrap_or(0)).collect()
}

/// What each touch of a path earns of an order, per model in the order of [`Model::PER_ORDER`].
pub fn shares(net_minor: i64, ago_us: &[i64], half_life_us: i64) -> [Vec<i64>; 5] {
    Model::PER_ORDER.map(|model| split(net_minor, &weights(model, ago_us, half_life_us)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn models_share_as_they_say() {
        let days = |list: &[i64]| list.iter().map(|d| d * DAY_US).collect::<Vec<_>>();
        let path = days(&[21, 7, 0]);
        let [first, last, linear, decay, position] = shares(1000, &path, HALF_LIFE_US);
        assert_eq!(first, [1000, 0, 0]);
        assert_eq!(last, [0, 0, 1000]);
        assert_eq!(linear, [334, 333, 333]);
        // 1/8 : 1/2 : 1 of 1.625.
        assert_eq!(decay, [77, 308, 615]);
        assert_eq!(position, [400, 200, 400]);
        assert_eq!(shares(1001, &days(&[3, 1]), HALF_LIFE_US)[4], [501, 500]);
        assert_eq!(shares(7, &days(&[3]), HALF_LIFE_US), [[7]; 5].map(|a| a.to_vec()));
        assert_eq!(shares(10, &days(&[9, 8, 7, 6]), HALF_LIFE_US)[4], [4, 1, 1, 4]);
    }

    #[test]
    fn only_touches_inside_the_window_earn() {
        let t = Timestamp::from_secs(1_700_000_000);
        let contact = Contact { at: t, window_us: 7 * DAY_US, clicked_at: Some(t.plus_days(2)), seen_at: Some(t.plus_days(1)) };
        assert_eq!(contact.earned_at(t.plus_days(2), false), Some(t.plus_days(2)));
        assert_eq!(contact.earned_at(t.plus_days(2).plus_us(-1), false), None, "clicked only later");
        assert_eq!(contact.earned_at(t.plus_days(2).plus_us(-1), true), Some(t.plus_days(1)));
        assert_eq!(contact.earned_at(t.plus_days(7).plus_us(-1), false), Some(t.plus_days(2)));
        assert_eq!(contact.earned_at(t.plus_days(7), true), None, "the window is over");
        assert_eq!(contact.earned_at(t.plus_us(-1), true), None, "before the contact");
    }

    proptest! {
        #[test]
        fn parts_sum_exactly(amount in any::<i64>(), weights in proptest::collection::vec(prop_oneof![Just(0.0), 0.0_f64..1e9, 1e-300_f64..1e-200], 1..40)) {
            // i64::MIN has no opposite; no order is worth that.
            let amount = amount.max(-i64::MAX);
            let parts = split(amount, &weights);
            prop_assert_eq!(parts.iter().map(|p| i128::from(*p)).sum::<i128>(), i128::from(amount));
            prop_assert!(parts.iter().all(|p| p.signum() * amount.signum() >= 0));
        }

        #[test]
        fn every_model_gives_everything_away(net in 0_i64..10_000_000, ago in proptest::collection::vec(0_i64..400 * DAY_US, 1..20), half in 1_i64..100 * DAY_US) {
            let mut ago = ago;
            ago.sort_unstable_by(|a, b| b.cmp(a));
            for (model, parts) in Model::PER_ORDER.into_iter().zip(shares(net, &ago, half)) {
                prop_assert_eq!(parts.iter().sum::<i64>(), net, "{}", model);
                if model == Model::TimeDecay {
                    prop_assert!(parts.windows(2).all(|w| w[0] <= w[1] + 1), "younger touches earn no less: {:?}", parts);
                }
            }
        }
    }
}
