//! A share with its 95 % interval (Wilson, 1927): honest also where there is little to count.

use serde::Serialize;

const Z: f64 = 1.959_964;

/// A share of n; `None` where there is nothing to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Rate {
    pub share: Option<f64>,
    pub low: f64,
    pub high: f64,
}

impl Rate {
    /// `hits` of `n`; more hits than n count as n.
    pub fn of(hits: i64, n: i64) -> Self {
        if n <= 0 {
            return Self { share: None, low: 0.0, high: 1.0 };
        }
        let (count, p) = (n as f64, hits.clamp(0, n) as f64 / n as f64);
        let z2 = Z * Z;
        let middle = (p + z2 / (2.0 * count)) / (1.0 + z2 / count);
        let half = Z / (1.0 + z2 / count) * (p * (1.0 - p) / count + z2 / (4.0 * count * count)).sqrt();
        Self { share: Some(p), low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_intervals() {
        // Brown, Cai & DasGupta (2001): 0 of 10 gives 0 to 0.2775; 5 of 10 gives 0.2366 to 0.7634.
        let none = Rate::of(0, 10);
        assert!(none.low.abs() < 1e-9 && (none.high - 0.2775).abs() < 1e-3, "{none:?}");
        let half = Rate::of(5, 10);
        assert!((half.low - 0.2366).abs() < 1e-3 && (half.high - 0.7634).abs() < 1e-3, "{half:?}");
        assert_eq!(Rate::of(3, 0).share, None);
        assert_eq!(Rate::of(12, 10).share, Some(1.0));
    }
}
