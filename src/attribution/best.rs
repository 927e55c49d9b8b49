//! Which variant is best: intervals of rates, and the chance that each is the best of all. Pure statistics, exact and repeatable.
//!
//! **Interval.** Wilson's score interval (Wilson, “Probable inference”, JASA 1927): right also for few trials and rates near 0 or 1.
//!
//! **Chance to be best.** Each rate has a uniform prior, so a Beta(1 + successes, 1 + failures) posterior; the chance that variant i has the
//! highest rate is ∫ fᵢ(x) ∏ⱼ≠ᵢ Fⱼ(x) dx. The integral is taken by Gauss–Legendre quadrature over the forty standard deviations around
//! fᵢ's mean (few trials leave a tail that falls only exponentially): no random numbers, so a page shows the same figure each time it is loaded.

use statrs::distribution::{Beta, ContinuousCDF as _};
use statrs::function::beta::ln_beta;

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of a rate; `None` without trials.
#[allow(clippy::cast_precision_loss, reason = "touches are fewer than 2^52")]
pub fn wilson(successes: i64, trials: i64) -> Option<(f64, f64)> {
    if trials < 1 {
        return None;
    }
    let n = trials as f64;
    let p = (successes as f64 / n).clamp(0.0, 1.0);
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

// Eight points on [-1, 1] and their weights.
const POINTS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
];
const PANELS: usize = 96;
/// Standard deviations on each side.
const REACH: f64 = 40.0;

/// The chance of each (successes, trials) to have the highest rate of all; sums to 1. Empty for none.
#[allow(clippy::cast_precision_loss, reason = "touches are fewer than 2^52")]
pub fn chance_to_be_best(rates: &[(i64, i64)]) -> Vec<f64> {
    let shapes: Vec<(f64, f64)> = rates
        .iter()
        .map(|(s, n)| {
            let s = (*s).clamp(0, (*n).max(0));
            (1.0 + s as f64, 1.0 + (n.max(&0) - s) as f64)
        })
        .collect();
    let posteriors: Vec<Beta> = shapes.iter().filter_map(|(a, b)| Beta::new(*a, *b).ok()).collect();
    if posteriors.len() != shapes.len() || shapes.is_empty() {
        return Vec::new();
    }
    let raw: Vec<f64> = (0..shapes.len()).map(|i| chance(i, &shapes, &posteriors)).collect();
    // What the cut tails and the rounding take away is spread over all.
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|p| p / sum).collect()
}

fn chance(i: usize, shapes: &[(f64, f64)], posteriors: &[Beta]) -> f64 {
    let (a, b) = shapes[i];
    let mean = a / (a + b);
    let sd = (a * b / ((a + b) * (a + b) * (a + b + 1.0))).sqrt();
    let (low, high) = ((mean - REACH * sd).max(0.0), (mean + REACH * sd).min(1.0));
    let norm = ln_beta(a, b);
    let density = |x: f64| ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - norm).exp();
    let others = |x: f64| -> f64 { posteriors.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, p)| p.cdf(x)).product() };
    let half = (high - low) / PANELS as f64 / 2.0;
    (0..PANELS)
        .map(|panel| {
            let middle = low + half * (2 * panel + 1) as f64;
            POINTS
                .iter()
                .flat_map(|(at, weight)| [(middle - half * at, weight), (middle + half * at, weight)])
                .map(|(x, w)| w * density(x) * others(x))
                .sum::<f64>()
        })
        .sum::<f64>()
        * half
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P(B > A) of two Beta posteriors in closed form (Evan Miller, “Formulas for Bayesian A/B testing”, 2015).
    fn closed(a: (i64, i64), b: (i64, i64)) -> f64 {
        let shape = |(s, n): (i64, i64)| (1.0 + s as f64, 1.0 + (n - s) as f64);
        let ((aa, ba), (ab, bb)) = (shape(a), shape(b));
        (0..ab as i64)
            .map(|i| {
                let i = i as f64;
                (ln_beta(aa + i, ba + bb) - (bb + i).ln() - ln_beta(1.0 + i, bb) - ln_beta(aa, ba)).exp()
            })
            .sum()
    }

    #[test]
    fn the_chance_of_two_is_the_closed_form() {
        for (a, b) in
            [((12, 240), (21, 250)), ((0, 30), (1, 30)), ((40, 1_000), (40, 1_000)), ((400, 20_000), (470, 20_000)), ((0, 0), (3, 5))]
        {
            let found = chance_to_be_best(&[a, b]);
            assert!((found[1] - closed(a, b)).abs() < 1e-9, "{a:?} {b:?}: {} against {}", found[1], closed(a, b));
        }
    }

    #[test]
    fn equals_share_and_all_sum_to_one() {
        let three = chance_to_be_best(&[(5, 100), (5, 100), (5, 100)]);
        assert!(three.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-9), "{three:?}");
        let many = chance_to_be_best(&[(50, 1_000), (61, 1_000), (30, 900), (1, 12), (0, 0)]);
        assert!((many.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(chance_to_be_best(&[]).is_empty());
        let sure = chance_to_be_best(&[(10_000, 1_000_000), (20_000, 1_000_000)]);
        assert!(sure[1] > 0.999_999);
    }

    #[test]
    fn wilson_is_the_published_interval() {
        // Newcombe, “Two-sided confidence intervals for the single proportion”, Statistics in Medicine 1998: 81 of 263, 15 of 148, 0 of 20.
        for (s, n, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)] {
            let (a, b) = wilson(s, n).expect("trials");
            assert!((a - low).abs() < 5e-5 && (b - high).abs() < 5e-5, "{s}/{n}: {a} {b}");
        }
        assert_eq!(wilson(0, 0), None);
    }
}
