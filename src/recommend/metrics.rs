//! Offline measures over a full ranking: Recall@k, NDCG@k, coverage.

use std::collections::HashSet;

/// Means over people who bought something in the test window.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metrics {
    /// Bought and among the first k, by all that was bought.
    pub recall: f64,
    /// Σ 1/log2(rank+1) over hits, by the best possible with min(k, bought) hits.
    pub ndcg: f64,
    /// Distinct products among everybody's first k, by all products.
    pub coverage: f64,
    pub people: usize,
}

/// Collects one person's ranking after the other.
#[derive(Clone, Debug)]
pub struct Tally {
    k: usize,
    products: usize,
    recall: f64,
    ndcg: f64,
    people: usize,
    shown: HashSet<u32>,
}

impl Tally {
    pub fn new(k: usize, products: usize) -> Self {
        Self { k, products, recall: 0.0, ndcg: 0.0, people: 0, shown: HashSet::new() }
    }
    /// `ranking` best first; `bought` ascending. People who bought nothing do not count.
    pub fn add(&mut self, ranking: &[u32], bought: &[u32]) {
        if bought.is_empty() {
            return;
        }
        self.people += 1;
        let (mut hits, mut gain) = (0.0, 0.0);
        for (rank, item) in ranking.iter().take(self.k).enumerate() {
            self.shown.insert(*item);
            if bought.binary_search(item).is_ok() {
                hits += 1.0;
                gain += 1.0 / (rank as f64 + 2.0).log2();
            }
        }
        let ideal: f64 = (0..self.k.min(bought.len())).map(|r| 1.0 / (r as f64 + 2.0).log2()).sum();
        self.recall += hits / bought.len() as f64;
        self.ndcg += gain / ideal;
    }
    pub fn merge(&mut self, other: Self) {
        self.recall += other.recall;
        self.ndcg += other.ndcg;
        self.people += other.people;
        self.shown.extend(other.shown);
    }
    pub fn metrics(&self) -> Metrics {
        let n = self.people.max(1) as f64;
        let coverage = self.shown.len() as f64 / self.products.max(1) as f64;
        Metrics { recall: self.recall / n, ndcg: self.ndcg / n, coverage, people: self.people }
    }
}

/// The `k` best of `scores`, best first, without the (ascending) `excluded`. Ties and NaN: lower index first, NaN last.
pub fn top(scores: &[f32], k: usize, excluded: &[u32]) -> Vec<u32> {
    let key = |i: &u32| {
        let s = scores[*i as usize];
        if s.is_nan() { f32::NEG_INFINITY } else { s }
    };
    let mut order: Vec<u32> = (0..scores.len() as u32).filter(|i| excluded.binary_search(i).is_err()).collect();
    let better = |a: &u32, b: &u32| key(b).total_cmp(&key(a)).then(a.cmp(b));
    if order.len() > k && k > 0 {
        order.select_nth_unstable_by(k - 1, better);
    }
    order.truncate(k);
    order.sort_unstable_by(better);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let mut tally = Tally::new(2, 10);
        tally.add(&[1, 5, 3], &[3, 5]);
        tally.add(&[7, 1, 3], &[7]);
        tally.add(&[0, 1], &[]);
        let m = tally.metrics();
        assert_eq!(m.people, 2);
        assert!((m.recall - 0.75).abs() < 1e-12);
        let second = 1.0 / 3.0_f64.log2();
        assert!((m.ndcg - (second / (1.0 + second) + 1.0) / 2.0).abs() < 1e-12);
        assert!((m.coverage - 0.3).abs() < 1e-12);
    }

    #[test]
    fn the_top_is_the_top() {
        assert_eq!(top(&[0.1, f32::NAN, 0.9, 0.9, 0.5], 3, &[2]), vec![3, 4, 0]);
        assert_eq!(top(&[0.1], 5, &[]), vec![0]);
        assert!(top(&[], 5, &[]).is_empty() && top(&[1.0], 0, &[]).is_empty());
    }
}
