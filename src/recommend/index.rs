//! Text neighbours: HNSW over many vectors, exact over few.
//!
//! The index is rebuilt at load (50,000 vectors take seconds) instead of stored: hnsw_rs cannot delete, and catalogues change.

use std::sync::Arc;

use hnsw_rs::prelude::{DistL2, Hnsw};

use super::als::dot;
use super::base::Side;
use super::metrics::top;
use super::ranker::TextIndex;

/// Up to this many items exact search is fast enough, and never misses.
const EXACT_UP_TO: usize = 5_000;
const CONNECTIONS: usize = 16;
const EF_BUILD: usize = 100;
const EF_SEARCH: usize = 96;

pub enum VectorIndex {
    /// No item has a vector.
    Empty,
    Exact(Arc<Side>),
    /// Distance L2, which orders vectors of length 1 as the cosine does.
    Hnsw(Box<Hnsw<'static, f32, DistL2>>),
}

impl VectorIndex {
    pub fn build(side: &Arc<Side>) -> Self {
        Self::build_with(side, EXACT_UP_TO)
    }

    fn build_with(side: &Arc<Side>, exact_up_to: usize) -> Self {
        if side.dim == 0 {
            return Self::Empty;
        }
        let n = side.vectors.len() / side.dim;
        if n <= exact_up_to {
            return Self::Exact(side.clone());
        }
        let hnsw = Hnsw::new(CONNECTIONS, n, 16, EF_BUILD, DistL2 {});
        // One after the other, so that the graph depends on nothing but the vectors and their order.
        for item in 0..n {
            let vector = side.vector(item as u32);
            if vector.iter().any(|v| *v != 0.0) {
                hnsw.insert((vector, item));
            }
        }
        Self::Hnsw(Box::new(hnsw))
    }
}

impl TextIndex for VectorIndex {
    fn nearest(&self, query: &[f32], n: usize) -> Vec<u32> {
        match self {
            Self::Empty => Vec::new(),
            Self::Exact(side) => {
                let scores: Vec<f32> = side.vectors.chunks_exact(side.dim).map(|v| dot(v, query)).collect();
                let mut best = top(&scores, n, &[]);
                best.retain(|i| scores[*i as usize] > 0.0);
                best
            }
            Self::Hnsw(hnsw) => hnsw.search(query, n, EF_SEARCH.max(2 * n)).into_iter().map(|found| found.d_id as u32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::inference::normalise;

    #[test]
    fn hnsw_finds_what_exact_search_finds() {
        let (n, dim) = (600, 24);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut vectors: Vec<f32> = (0..n * dim).map(|_| rng.random::<f32>() - 0.5).collect();
        vectors.chunks_exact_mut(dim).for_each(normalise);
        vectors[..dim].fill(0.0);
        let side = Arc::new(Side { vectors, dim, ..Side::default() });
        let (exact, hnsw) = (VectorIndex::build_with(&side, 1_000), VectorIndex::build_with(&side, 100));
        assert!(matches!((&exact, &hnsw), (VectorIndex::Exact(_), VectorIndex::Hnsw(_))));
        let (mut shared, mut all) = (0, 0);
        for query in 1..40 {
            let wanted = exact.nearest(side.vector(query), 10);
            let found = hnsw.nearest(side.vector(query), 10);
            assert_eq!((wanted[0], found[0]), (query, query));
            assert!(!found.contains(&0), "a product without a vector is nobody's neighbour");
            all += wanted.len();
            shared += wanted.iter().filter(|i| found.contains(i)).count();
        }
        assert!(shared * 100 >= all * 95, "{shared} of {all}");
        assert!(VectorIndex::build(&Arc::default()).nearest(&[], 5).is_empty());
    }
}
