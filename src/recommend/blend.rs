//! The blend: a linear score over a few features, learned listwise: per person, −Σ_{bought} log softmax(score) over the candidates.
//! Convex, solved by Newton's method with a small ridge; the same data give the same weights.

/// One person's candidates in the validation window: features `[candidates, width]` and which of them were bought.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub features: Vec<f32>,
    pub bought: Vec<usize>,
}

/// Weights over standardised features.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Blend {
    pub weights: Vec<f32>,
    pub means: Vec<f32>,
    pub deviations: Vec<f32>,
    /// People that it was learned from; 0 = prior weights.
    pub learned_from: usize,
}

const ROUNDS: usize = 12;

impl Blend {
    /// Weights set by hand on raw features, for a shop that has no second window to learn from.
    pub fn prior(weights: &[f32]) -> Self {
        let n = weights.len();
        Self { weights: weights.to_vec(), means: vec![0.0; n], deviations: vec![1.0; n], learned_from: 0 }
    }

    pub fn score(&self, features: &[f32]) -> f32 {
        let z = features.iter().zip(&self.means).zip(&self.deviations).map(|((x, m), s)| (x - m) / s);
        let score: f32 = z.zip(&self.weights).map(|(z, w)| z * w).sum();
        if score.is_finite() { score } else { f32::MIN }
    }

    /// `ridge` is the weight of Σ w², per person. `None` where no list has both a bought and an unbought candidate.
    pub fn learn(lists: &[List], width: usize, ridge: f64) -> Option<Self> {
        let useful: Vec<&List> = lists.iter().filter(|l| !l.bought.is_empty() && l.features.len() / width > l.bought.len()).collect();
        if useful.is_empty() {
            return None;
        }
        let (means, deviations) = moments(&useful, width);
        let rows: Vec<Vec<f64>> = useful
            .iter()
            .map(|l| {
                let z = l.features.iter().enumerate().map(|(i, x)| (f64::from(*x) - means[i % width]) / deviations[i % width]);
                z.map(|z| if z.is_finite() { z } else { 0.0 }).collect()
            })
            .collect();
        let mut weights = vec![0.0_f64; width];
        let ridge = ridge * useful.len() as f64;
        let mut best = objective(&useful, &rows, &weights, ridge);
        for _ in 0..ROUNDS {
            let (gradient, hessian) = derivatives(&useful, &rows, &weights, ridge);
            let Some(step) = cholesky_solve(hessian, &gradient) else { break };
            // Newton overshoots far from the optimum: halve until it helps.
            let mut scale = 1.0;
            let improved = (0..8).any(|_| {
                let tried: Vec<f64> = weights.iter().zip(&step).map(|(w, s)| w - scale * s).collect();
                let loss = objective(&useful, &rows, &tried, ridge);
                scale *= 0.5;
                let better = loss < best - 1e-9 * best.abs();
                if better {
                    best = loss;
                    weights = tried;
                }
                better
            });
            if !improved {
                break;
            }
        }
        let small = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect();
        Some(Self { weights: small(weights), means: small(means), deviations: small(deviations), learned_from: useful.len() })
    }
}

fn moments(lists: &[&List], width: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut n, mut sum, mut square) = (0.0, vec![0.0; width], vec![0.0; width]);
    for row in lists.iter().flat_map(|l| l.features.chunks_exact(width)) {
        n += 1.0;
        for (i, x) in row.iter().enumerate() {
            let x = if x.is_finite() { f64::from(*x) } else { 0.0 };
            sum[i] += x;
            square[i] += x * x;
        }
    }
    let means: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let deviations = square.iter().zip(&means).map(|(q, m)| (q / n - m * m).max(0.0).sqrt()).map(|d| if d < 1e-9 { 1.0 } else { d });
    (means.clone(), deviations.collect())
}

/// Softmax of a list's scores, and log of its normaliser.
fn softmax(row: &[f64], weights: &[f64]) -> (Vec<f64>, f64) {
    let scores: Vec<f64> = row.chunks_exact(weights.len()).map(|x| x.iter().zip(weights).map(|(a, b)| a * b).sum()).collect();
    let top = scores.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
    (scores.iter().map(|s| (s - top).exp() / total).collect(), top + total.ln())
}

fn objective(lists: &[&List], rows: &[Vec<f64>], weights: &[f64], ridge: f64) -> f64 {
    let k = weights.len();
    let mut loss = 0.5 * ridge * weights.iter().map(|w| w * w).sum::<f64>();
    for (list, row) in lists.iter().zip(rows) {
        let normaliser = softmax(row, weights).1;
        let share = 1.0 / list.bought.len() as f64;
        for b in &list.bought {
            let score: f64 = row[b * k..][..k].iter().zip(weights).map(|(a, b)| a * b).sum();
            loss += share * (normaliser - score);
        }
    }
    loss
}

fn derivatives(lists: &[&List], rows: &[Vec<f64>], weights: &[f64], ridge: f64) -> (Vec<f64>, Vec<f64>) {
    let k = weights.len();
    let mut gradient: Vec<f64> = weights.iter().map(|w| ridge * w).collect();
    let mut hessian = vec![0.0; k * k];
    (0..k).for_each(|i| hessian[i * k + i] = ridge);
    for (list, row) in lists.iter().zip(rows) {
        let (p, _) = softmax(row, weights);
        let mut mean = vec![0.0; k];
        for (x, p) in row.chunks_exact(k).zip(&p) {
            for i in 0..k {
                mean[i] += p * x[i];
                for j in 0..=i {
                    hessian[i * k + j] += p * x[i] * x[j];
                }
            }
        }
        let share = 1.0 / list.bought.len() as f64;
        for i in 0..k {
            gradient[i] += mean[i] - share * list.bought.iter().map(|b| row[b * k + i]).sum::<f64>();
            for j in 0..=i {
                hessian[i * k + j] -= mean[i] * mean[j];
            }
        }
    }
    (gradient, hessian)
}

/// Solves A x = b for a symmetric positive definite A given by its lower triangle, row by row.
fn cholesky_solve(mut a: Vec<f64>, b: &[f64]) -> Option<Vec<f64>> {
    let k = b.len();
    for i in 0..k {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|m| a[i * k + m] * a[j * k + m]).sum();
            let value = a[i * k + j] - sum;
            if i == j {
                if value <= 1e-12 {
                    return None;
                }
                a[i * k + i] = value.sqrt();
            } else {
                a[i * k + j] = value / a[j * k + j];
            }
        }
    }
    let mut x = b.to_vec();
    for i in 0..k {
        let sum: f64 = (0..i).map(|j| a[i * k + j] * x[j]).sum();
        x[i] = (x[i] - sum) / a[i * k + i];
    }
    for i in (0..k).rev() {
        let sum: f64 = (i + 1..k).map(|j| a[j * k + i] * x[j]).sum();
        x[i] = (x[i] - sum) / a[i * k + i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_predicts_gets_weight_and_noise_does_not() {
        let mut seed = 3_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 40) as f32 / (1_u64 << 24) as f32
        };
        let lists: Vec<List> = (0..200)
            .map(|_| {
                let features: Vec<f32> = (0..20 * 3).map(|i| if i % 3 == 2 { 5.0 } else { random() }).collect();
                let best = (0..20).max_by(|a, b| features[a * 3].total_cmp(&features[b * 3])).expect("some");
                List { features, bought: vec![best] }
            })
            .collect();
        let blend = Blend::learn(&lists, 3, 1e-3).expect("learns");
        assert!(blend.weights[0] > 2.0 && blend.weights[1].abs() < 0.5 && blend.weights[2] == 0.0, "{blend:?}");
        let right = lists.iter().filter(|l| {
            let best = (0..20).max_by(|a, b| blend.score(&l.features[a * 3..][..3]).total_cmp(&blend.score(&l.features[b * 3..][..3])));
            best == Some(l.bought[0])
        });
        assert!(right.count() > 170);
        assert_eq!(blend, Blend::learn(&lists, 3, 1e-3).expect("learns"));
    }

    #[test]
    fn nothing_to_learn_is_none_and_nan_is_harmless() {
        assert_eq!(Blend::learn(&[], 2, 1e-3), None);
        assert_eq!(Blend::learn(&[List { features: vec![1.0, 2.0], bought: vec![0] }], 2, 1e-3), None);
        let odd = List { features: vec![f32::NAN, 2.0, 1.0, f32::INFINITY], bought: vec![0] };
        let blend = Blend::learn(&[odd], 2, 1e-3).expect("learns");
        assert!(blend.weights.iter().all(|w| w.is_finite()));
        assert_eq!(blend.score(&[f32::NAN, 0.0]), f32::MIN);
    }

    #[test]
    fn cholesky_solves() {
        // [[4, 2], [2, 3]] x = [8, 7] → x = [1.25, 1.5]
        let x = cholesky_solve(vec![4.0, 0.0, 2.0, 3.0], &[8.0, 7.0]).expect("positive definite");
        assert!((x[0] - 1.25).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12);
        assert_eq!(cholesky_solve(vec![0.0], &[1.0]), None);
    }
}
