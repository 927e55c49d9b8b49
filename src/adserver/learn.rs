//! What the choice learns from: counts per creative from the database, and how young the newest impressions are.

use std::collections::{HashMap, VecDeque};

use super::bandit::{ArmCount, maturity};
use super::tally::ArmRow;
use crate::platform::Timestamp;
use crate::platform::clock::SECOND_US;

/// Impressions are remembered in slots of this length …
const SLOT_US: i64 = 10 * SECOND_US;
/// … for this long: later, a click is hardly still to come.
const YOUNG_US: i64 = 1_800 * SECOND_US;
/// Believed of clicks before there are any: half a minute.
const FIRST_DELAY_US: f64 = 30e6;
/// Clicks that this belief is worth.
const FIRST_DELAY_WEIGHT: f64 = 10.0;

/// A line item: campaign and line item (0: the campaign's own).
pub type Key = (i64, i64);

/// The newest impressions by line item and creative, and how long clicks took.
#[derive(Debug, Default)]
pub struct Recent {
    young: HashMap<(Key, i64), VecDeque<(i64, u32)>>,
    /// Clicks and the sum of their delays.
    pub delays: HashMap<Key, (i64, i64)>,
}

impl Recent {
    pub fn shown(&mut self, key: Key, creative: i64, at: Timestamp, n: u32) {
        let slot = at.micros() / SLOT_US;
        let slots = self.young.entry((key, creative)).or_default();
        match slots.back_mut() {
            Some((last, count)) if *last >= slot => *count += n,
            _ => slots.push_back((slot, n)),
        }
    }

    /// Forgets what is old.
    pub fn trim(&mut self, now: Timestamp) {
        let oldest = now.plus_us(-YOUNG_US).micros() / SLOT_US;
        self.young.retain(|_, slots| {
            while slots.front().is_some_and(|(slot, _)| *slot < oldest) {
                slots.pop_front();
            }
            !slots.is_empty()
        });
    }

    fn mean_delay_us(&self, key: Key) -> f64 {
        let (clicks, sum) = self.delays.get(&key).copied().unwrap_or_default();
        (FIRST_DELAY_US * FIRST_DELAY_WEIGHT + sum as f64) / (FIRST_DELAY_WEIGHT + clicks as f64)
    }

    /// How many of a creative's impressions are no trials yet.
    fn unripe(&self, key: Key, creative: i64, now: Timestamp) -> f64 {
        let delay = self.mean_delay_us(key);
        let slots = self.young.get(&(key, creative)).into_iter().flatten();
        slots.map(|(slot, n)| f64::from(*n) * (1.0 - maturity(now.micros() - slot * SLOT_US, delay))).sum()
    }
}

/// Counts of all arms, kept up by what changed.
#[derive(Debug, Default)]
pub struct Arms {
    counts: HashMap<Key, HashMap<i64, ArmRow>>,
    /// The newest change that is in it.
    pub read_to: Timestamp,
}

impl Arms {
    pub fn put(&mut self, rows: Vec<ArmRow>) {
        for row in rows {
            self.read_to = self.read_to.max(row.updated_at);
            self.counts.entry((row.campaign_id, row.line_item_id)).or_default().insert(row.creative_id, row);
        }
    }
    /// The arms of a line item as the choice takes them.
    pub fn of(&self, key: Key, recent: &Recent, now: Timestamp) -> Vec<ArmCount> {
        let rows = self.counts.get(&key).into_iter().flat_map(HashMap::values);
        rows.map(|row| ArmCount {
            creative: row.creative_id,
            variant: row.variant_id,
            trials: (row.shown as f64 - recent.unripe(key, row.creative_id, now)).max(row.clicks as f64),
            clicks: row.clicks as f64,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_just_now_is_no_proof_yet() {
        let (mut recent, mut arms) = (Recent::default(), Arms::default());
        let now = Timestamp::from_secs(1_768_478_400);
        let row = ArmRow { campaign_id: 1, line_item_id: 0, creative_id: 5, variant_id: 2, shown: 100, clicks: 3, updated_at: now };
        arms.put(vec![row]);
        recent.shown((1, 0), 5, now, 40);
        let trials = |r: &Recent, at: Timestamp| arms.of((1, 0), r, at)[0].trials;
        assert!((trials(&recent, now) - 60.0).abs() < 1.0, "{}", trials(&recent, now));
        assert!(trials(&recent, now.plus_secs(300)) > 99.9);
        // Where clicks take ten minutes, five are too few to tell.
        recent.delays.insert((1, 0), (1_000, 1_000 * 600 * SECOND_US));
        assert!(trials(&recent, now.plus_secs(300)) < 85.0);
        recent.trim(now.plus_secs(3_600));
        assert_eq!(trials(&recent, now.plus_secs(3_600)), 100.0);
    }
}
