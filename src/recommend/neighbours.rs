//! Item-to-item cosine: products that the same people touch. Explains well ("because you bought …") and is hard to beat on small shops.

use rayon::prelude::*;

use super::als::Csr;

/// The nearest items of every item, strongest first.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    pub starts: Vec<u32>,
    pub items: Vec<u32>,
    pub cosines: Vec<f32>,
}

/// People with more items than this say little about each of them, and cost its square.
const LONGEST_HISTORY: usize = 2_000;

impl Neighbours {
    /// Cosine between the columns of a person × item matrix; the best `keep` per item. `shrink` pulls pairs that few people share
    /// towards 0: cos · n / (n + shrink).
    pub fn build(matrix: &Csr, keep: usize, shrink: f32) -> Self {
        let by_item = matrix.transpose();
        let n = matrix.width();
        let norms: Vec<f32> = (0..n).map(|i| by_item.row(i).1.iter().map(|v| v * v).sum::<f32>().sqrt()).collect();
        let lists: Vec<Vec<(u32, f32)>> = (0..n)
            .into_par_iter()
            .map_init(
                || (vec![0.0_f32; n], vec![0_u32; n], Vec::<u32>::new()),
                |(sums, shared, touched), item| {
                    let (people, weights) = by_item.row(item);
                    for (person, weight) in people.iter().zip(weights) {
                        let (others, values) = matrix.row(*person as usize);
                        if others.len() > LONGEST_HISTORY {
                            continue;
                        }
                        for (other, value) in others.iter().zip(values) {
                            let at = *other as usize;
                            if shared[at] == 0 {
                                touched.push(*other);
                            }
                            shared[at] += 1;
                            sums[at] += weight * value;
                        }
                    }
                    let mut list: Vec<(u32, f32)> = Vec::with_capacity(touched.len());
                    for other in touched.drain(..) {
                        let at = other as usize;
                        let n = shared[at] as f32;
                        if at != item {
                            list.push((other, sums[at] / (norms[item] * norms[at]).max(1e-12) * n / (n + shrink)));
                        }
                        sums[at] = 0.0;
                        shared[at] = 0;
                    }
                    list.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    list.truncate(keep);
                    list
                },
            )
            .collect();
        let mut built = Self { starts: vec![0], ..Self::default() };
        for list in lists {
            for (item, cosine) in list {
                built.items.push(item);
                built.cosines.push(cosine);
            }
            built.starts.push(built.items.len() as u32);
        }
        built
    }

    pub fn of(&self, item: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let range = match (self.starts.get(item), self.starts.get(item + 1)) {
            (Some(from), Some(to)) => *from as usize..*to as usize,
            _ => 0..0,
        };
        self.items[range.clone()].iter().copied().zip(self.cosines[range].iter().copied())
    }

    /// Adds Σ_j c_j · cos(i, j) over a person's items j to `scores` (one per item).
    pub fn add_scores(&self, row: &[(u32, f32)], scores: &mut [f32]) {
        for (item, weight) in row {
            for (other, cosine) in self.of(*item as usize) {
                scores[other as usize] += weight * cosine;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_exact_and_sorted() {
        let rows = [vec![(0, 1.0), (1, 1.0)], vec![(0, 1.0), (1, 1.0), (2, 1.0)], vec![(0, 2.0)], vec![(3, 1.0)]];
        let n = Neighbours::build(&Csr::from_rows(rows.into_iter(), 4), 10, 0.0);
        let of_0: Vec<(u32, f32)> = n.of(0).collect();
        assert_eq!(of_0.len(), 2);
        assert!((of_0[0].1 - 2.0 / (6.0_f32.sqrt() * 2.0_f32.sqrt())).abs() < 1e-6 && of_0[0].0 == 1);
        assert!((of_0[1].1 - 1.0 / 6.0_f32.sqrt()).abs() < 1e-6 && of_0[1].0 == 2);
        assert_eq!(n.of(3).count() + n.of(99).count(), 0);
        let mut scores = [0.0; 4];
        n.add_scores(&[(0, 2.0)], &mut scores);
        assert!((scores[1] - 2.0 * of_0[0].1).abs() < 1e-6 && scores[0] == 0.0);
    }
}
