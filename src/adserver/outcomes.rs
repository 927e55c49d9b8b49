//! How requests for a placement end, counted in memory and written every second.

use std::sync::atomic::{AtomicU64, Ordering};

use super::decide::NoFill;

/// Counts since they were last taken: filled, then each reason.
#[derive(Debug)]
pub struct Outcomes {
    counts: [AtomicU64; NoFill::ALL.len() + 1],
}

impl Default for Outcomes {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// How a filled request is called in the table.
pub const FILLED: &str = "filled";

impl Outcomes {
    pub fn count(&self, outcome: Option<NoFill>) {
        let at = outcome.map_or(0, |reason| reason as usize + 1);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
    }
    /// What was counted since the last time, by name.
    pub fn take(&self) -> Vec<(&'static str, i64)> {
        let name = |at: usize| if at == 0 { FILLED } else { NoFill::ALL[at - 1].as_str() };
        let counts = self.counts.iter().enumerate().map(|(at, n)| (name(at), n.swap(0, Ordering::Relaxed) as i64));
        counts.filter(|(_, n)| *n > 0).collect()
    }
}
