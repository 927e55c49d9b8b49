//! What a line item has used up and how much of the traffic it may take: shared by all requests, kept from snapshot to snapshot.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::bandit::Policy;
use super::line_items::{BudgetKind, LineItem, Pacing};
use super::pacing::{Flight, Forecast, Pacer};
use crate::platform::Timestamp;

/// Consumption as the database knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub shown: i64,
    pub viewable: i64,
    pub clicks: i64,
    pub cost_micro: i64,
    pub delay_us: i64,
}

/// A line item's life in memory.
#[derive(Debug)]
pub struct Meter {
    shown: AtomicI64,
    clicks: AtomicI64,
    cost_micro: AtomicI64,
    /// Shown here and not yet written.
    pending: AtomicI64,
    /// Share of requests that may pass, of `u32::MAX`.
    pass: AtomicU32,
    /// Requests that it could have taken, and those that the throttle let pass.
    pub offered: AtomicU64,
    pacer: Mutex<Option<Pacer>>,
    pub policy: ArcSwap<Policy>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            shown: AtomicI64::default(),
            clicks: AtomicI64::default(),
            cost_micro: AtomicI64::default(),
            pending: AtomicI64::default(),
            pass: AtomicU32::new(u32::MAX),
            offered: AtomicU64::default(),
            pacer: Mutex::default(),
            policy: ArcSwap::default(),
        }
    }
}

/// A budget as the request path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Unlimited,
    Impressions(i64),
    Clicks(i64),
    /// Millionths of a minor unit, and what each impression costs.
    Money {
        micro: i64,
        per_impression: i64,
    },
}

impl Budget {
    pub fn of(item: &LineItem) -> Self {
        match item.budget_kind {
            BudgetKind::None => Self::Unlimited,
            BudgetKind::Impressions => Self::Impressions(item.budget),
            BudgetKind::Clicks => Self::Clicks(item.budget),
            BudgetKind::Money => Self::Money { micro: item.budget.saturating_mul(1_000_000), per_impression: item.impression_micro() },
        }
    }
    /// In the unit that [`Meter::spent`] counts.
    pub fn amount(self) -> i64 {
        match self {
            Self::Unlimited => i64::MAX,
            Self::Impressions(n) | Self::Clicks(n) => n,
            Self::Money { micro, .. } => micro,
        }
    }
}

impl Meter {
    /// Takes one impression if the budget has room for it: check and count are one step.
    pub fn take(&self, budget: Budget) -> bool {
        let mut pending = self.pending.load(Ordering::SeqCst);
        loop {
            if !self.fits(budget, pending) {
                return false;
            }
            match self.pending.compare_exchange_weak(pending, pending + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => pending = now,
            }
        }
    }
    // `pending` is read before what is written: of a batch that is being written just now both see it, or only the written side does.
    fn fits(&self, budget: Budget, pending: i64) -> bool {
        match budget {
            Budget::Unlimited => true,
            Budget::Impressions(n) => self.shown.load(Ordering::SeqCst) + pending < n,
            Budget::Clicks(n) => self.clicks.load(Ordering::SeqCst) < n,
            Budget::Money { micro, per_impression } => {
                self.cost_micro.load(Ordering::SeqCst) + (pending + 1).saturating_mul(per_impression) <= micro
            }
        }
    }
    pub fn has_room(&self, budget: Budget) -> bool {
        self.fits(budget, self.pending.load(Ordering::SeqCst))
    }

    /// The throttle's coin.
    pub fn passes(&self, word: u32) -> bool {
        word <= self.pass.load(Ordering::Relaxed)
    }
    #[cfg(test)]
    pub fn let_pass(&self, share: f64) {
        self.pass.store((share * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
    }
    /// The pass-through rate, 0 to 1.
    pub fn pass(&self) -> f64 {
        f64::from(self.pass.load(Ordering::Relaxed)) / f64::from(u32::MAX)
    }

    /// Impressions of this replica that were written, and what they cost.
    pub fn written(&self, shown: i64, cost_micro: i64) {
        self.shown.fetch_add(shown, Ordering::SeqCst);
        self.cost_micro.fetch_add(cost_micro, Ordering::SeqCst);
        self.pending.fetch_sub(shown, Ordering::SeqCst);
    }
    /// Impressions that will never be written.
    pub fn lost(&self, shown: i64) {
        self.pending.fetch_sub(shown, Ordering::SeqCst);
    }
    /// What all replicas together have written. Only the task that writes may call this: what it has written is in it.
    pub fn read(&self, used: Used) {
        self.shown.store(used.shown, Ordering::SeqCst);
        self.clicks.store(used.clicks, Ordering::SeqCst);
        self.cost_micro.store(used.cost_micro, Ordering::SeqCst);
    }
    pub fn shown(&self) -> i64 {
        self.pending.load(Ordering::SeqCst) + self.shown.load(Ordering::SeqCst)
    }

    /// Clicks and impressions so far.
    pub fn rate(&self) -> (f64, f64) {
        (self.clicks.load(Ordering::Relaxed) as f64, self.shown.load(Ordering::Relaxed) as f64)
    }

    /// What counts against the budget so far.
    pub fn spent(&self, budget: Budget) -> i64 {
        let pending = self.pending.load(Ordering::SeqCst);
        match budget {
            Budget::Unlimited | Budget::Impressions(_) => self.shown.load(Ordering::SeqCst) + pending,
            Budget::Clicks(_) => self.clicks.load(Ordering::SeqCst),
            Budget::Money { per_impression, .. } => self.cost_micro.load(Ordering::SeqCst) + pending.saturating_mul(per_impression),
        }
    }

    /// Moves the throttle. `None`: no curve to follow, everything passes.
    pub fn pace(&self, now: Timestamp, budget: Budget, flight: Option<&Flight>, forecast: &Forecast) {
        let mut pacer = self.pacer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(flight) = flight else {
            *pacer = None;
            self.pass.store(u32::MAX, Ordering::Relaxed);
            return;
        };
        let spent = self.spent(budget) as f64;
        let pacer = pacer.get_or_insert_with(|| Pacer::start(now, spent));
        let pass = pacer.step(now, spent, flight, forecast);
        self.pass.store((pass * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
    }
}

/// The curve of a line item; `None` for one without a budget to spread or an end to spread it to.
pub fn flight(item: &LineItem) -> Option<Flight> {
    let end = item.ends_at.filter(|_| item.pacing == Pacing::Even && item.budget_kind != BudgetKind::None)?;
    Some(Flight { start: item.starts_at.unwrap_or(item.created_at), end, budget: Budget::of(item).amount() as f64 })
}

/// Meters by (campaign, line item).
pub type Meters = std::collections::HashMap<(i64, i64), Arc<Meter>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_passed_by_parallel_requests_that_are_written_meanwhile() {
        let meter = Meter::default();
        let taken: i64 = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    s.spawn(|| {
                        let mut mine = 0;
                        for _ in 0..2_000 {
                            if meter.take(Budget::Impressions(5_000)) {
                                mine += 1;
                                if mine % 7 == 0 {
                                    meter.written(7, 0);
                                }
                            }
                        }
                        mine
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("thread")).sum()
        });
        assert_eq!(taken, 5_000);
        assert_eq!(meter.shown(), 5_000);
    }

    #[test]
    fn money_clicks_and_what_others_wrote_count() {
        let meter = Meter::default();
        let money = Budget::Money { micro: 10_000_000, per_impression: 2_500_000 };
        assert_eq!((0..9).filter(|_| meter.take(money)).count(), 4);
        meter.read(Used { clicks: 3, ..Used::default() });
        assert!(!meter.has_room(Budget::Clicks(3)) && meter.has_room(Budget::Clicks(4)));
        meter.written(4, 10_000_000);
        assert_eq!(meter.spent(money), 10_000_000);
        meter.read(Used { cost_micro: 2_000_000, ..Used::default() });
        assert!(meter.take(money));
    }
}
