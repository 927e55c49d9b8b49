//! The rollup: what campaigns, variants, channels and products came to, per day, added up ahead, so that pages need not count touches.
//!
//! **Days** are those of the shop's time zone. A touch's counts stand on the day it was due (a late click corrects that day, so that shares
//! never exceed one), an order's credit on the day it was placed. The sums follow the facts: triggers write down differences of touches
//! ([`crate::touches::deltas`]), the pass that writes credit writes its differences beside it; the job `attribution.rollup` folds them every
//! minute ([`fold`]). Where the shop's zone changes, everything is added up again ([`rebuild`]). A report in another zone asks the facts.
//!
//! **Visits** (`visits`) follow the same way: triggers write down differences of events, from which the days on which each person was here are
//! kept, and from these what engagement comes to by day, week and month.

mod facts;
mod fold;
mod parts;
mod read;
mod rebuild;
pub(super) mod visits;
mod write;

use chrono::NaiveDate;
use serde::Serialize;

pub(super) use fold::job;
pub use fold::{Folded, fold, rebuild, rebuild_while};
pub(super) use read::read_state;
pub use read::{
    Counted, State, by_campaign, by_channel, by_product, by_variant, campaign_so_far, counted, last_day, people, product_campaigns,
    product_days, product_months, series, series_of, state, top_products, totals,
};
pub(super) use write::{CreditDelta, credit_changed, lock};

pub use crate::touches::deltas::Counts;

use super::model::Model;

/// So many days back products are kept by day; before that by month.
pub const PRODUCT_DAYS: i64 = 92;

/// Whole days of the shop's zone, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    pub from: NaiveDate,
    pub to: NaiveDate,
}

impl Days {
    /// Since ever.
    pub const ALL: Days = Days { from: NaiveDate::MIN, to: NaiveDate::MAX };

    /// The `n` days that end with this one.
    pub fn ending(to: NaiveDate, n: u64) -> Self {
        Self { from: to.checked_sub_days(chrono::Days::new(n.saturating_sub(1))).unwrap_or(to), to }
    }
    /// As many days before these.
    pub fn before(self) -> Self {
        let to = self.from.pred_opt().unwrap_or(self.from);
        Self::ending(to, u64::try_from(self.count()).unwrap_or(1))
    }
    pub fn count(self) -> i64 {
        self.to.signed_duration_since(self.from).num_days() + 1
    }
    pub fn iter(self) -> impl Iterator<Item = NaiveDate> {
        self.from.iter_days().take_while(move |d| *d <= self.to)
    }
    fn numbers(self) -> (i64, i64) {
        (day_number(self.from), day_number(self.to))
    }
    /// The months that they touch, by number of the first day: products are added up per month.
    fn months(self) -> (i64, i64) {
        use chrono::Datelike as _;
        (day_number(self.from.with_day(1).unwrap_or(self.from)), day_number(self.to))
    }
}

/// Days since 1970-01-01.
pub(super) fn day_number(day: NaiveDate) -> i64 {
    day.signed_duration_since(NaiveDate::default()).num_days()
}
pub(super) fn day_of(number: i64) -> NaiveDate {
    NaiveDate::default().checked_add_signed(chrono::Duration::days(number)).unwrap_or_default()
}

/// What credit gave, in one currency and one reading of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Earned {
    pub currency: String,
    pub view_through: bool,
    /// Orders on whose path the campaign is, each once per campaign (campaigns' orders do not add up). Of products 0.
    pub orders: i64,
    /// Orders that the last-touch model gave here. These add up.
    pub last_orders: i64,
    /// By model, in the order of [`Model::PER_ORDER`].
    pub minor: [i64; 5],
}

/// How earnings are read: a model that is stored per order, and whether views count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub model: Model,
    pub view_through: bool,
}
impl Default for Reading {
    fn default() -> Self {
        Self { model: Model::Last, view_through: false }
    }
}

/// What something came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    #[serde(flatten)]
    pub counts: Counts,
    /// Per currency and reading, in order; only what is not zero.
    pub earned: Vec<Earned>,
}

impl Figures {
    fn earned(&self, currency: &str, view_through: bool) -> Option<&Earned> {
        self.earned.iter().find(|e| e.currency == currency && e.view_through == view_through)
    }
    /// Credited revenue in minor units. Models that learn are read as last touch: they are no sums.
    pub fn revenue(&self, currency: &str, reading: Reading) -> i64 {
        let at = Model::PER_ORDER.iter().position(|m| *m == reading.model).unwrap_or(1);
        self.earned(currency, reading.view_through).map_or(0, |e| e.minor[at])
    }
    /// Orders on whose path it is.
    pub fn orders(&self, currency: &str, view_through: bool) -> i64 {
        self.earned(currency, view_through).map_or(0, |e| e.orders)
    }
    pub fn last_orders(&self, currency: &str, view_through: bool) -> i64 {
        self.earned(currency, view_through).map_or(0, |e| e.last_orders)
    }
    /// Clicks per mail that arrived (or banner that was shown); `None` where nothing did.
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    pub fn click_rate(&self) -> Option<f64> {
        let delivered = self.counts.delivered();
        (delivered > 0).then(|| self.counts.clicked as f64 / delivered as f64)
    }
}
