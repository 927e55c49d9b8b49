//! An epoch of iALS (rank 64, conjugate gradient) beside the textbook's: normal equations and Cholesky for every row, on the same threads.

use marquee::recommend::als::{self, AlsParams, Csr};
use rand::{Rng as _, SeedableRng as _};
use rayon::prelude::*;

use crate::support;

const PEOPLE: usize = 10_000;
const ITEMS: usize = 5_000;
const PER_PERSON: usize = 40;
const RANK: usize = 64;

pub fn run() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let rows: Vec<Vec<(u32, f32)>> = (0..PEOPLE)
        .map(|_| {
            // Popular items are met more often, as in shops.
            let mut row: Vec<u32> = (0..PER_PERSON).map(|_| (rng.random::<f32>().powi(3) * ITEMS as f32) as u32).collect();
            row.sort_unstable();
            row.dedup();
            row.into_iter().map(|i| (i.min(ITEMS as u32 - 1), 1.0)).collect()
        })
        .collect();
    let matrix = Csr::from_rows(rows.into_iter(), ITEMS);
    let transposed = matrix.transpose();
    let pairs = matrix.entries();
    // Training of two lengths: the difference is what the epochs between them cost.
    let seconds = |epochs: usize| {
        let begun = std::time::Instant::now();
        als::train(&matrix, &AlsParams { rank: RANK, epochs, ..AlsParams::default() }, |_| {});
        begun.elapsed().as_secs_f64()
    };
    let mut items: Vec<f32> = (0..ITEMS * RANK).map(|_| rng.random::<f32>() * 0.01).collect();
    let mut people = vec![0.0_f32; PEOPLE * RANK];
    support::compare(
        &format!("iALS epoch, {}k pairs, rank {RANK}", pairs / 1_000),
        "pairs/s",
        "textbook Cholesky, same threads",
        5,
        || {
            support::rate(pairs, || {
                textbook(&matrix, &items, &mut people);
                textbook(&transposed, &people, &mut items);
            })
        },
        || pairs as f64 / ((seconds(9) - seconds(1)) / 8.0),
    );
}

/// x = (Σ h hᵀ + α₀ HᵀH + λ I)⁻¹ Σ h for every row, solved exactly.
fn textbook(rows: &Csr, fixed: &[f32], solved: &mut [f32]) {
    let mut gram = vec![0.0_f32; RANK * RANK];
    for h in fixed.chunks_exact(RANK) {
        add_outer(&mut gram, h, 0.1);
    }
    solved.par_chunks_mut(RANK).enumerate().with_min_len(64).for_each(|(r, x)| {
        let (columns, values) = rows.row(r);
        let (mut a, mut b) = (gram.clone(), vec![0.0_f32; RANK]);
        for (column, value) in columns.iter().zip(values) {
            let h = &fixed[*column as usize * RANK..][..RANK];
            add_outer(&mut a, h, *value);
            b.iter_mut().zip(h).for_each(|(b, h)| *b += value * h);
        }
        (0..RANK).for_each(|i| a[i * RANK + i] += 0.01 * columns.len() as f32 + 1.0);
        cholesky_solve(&mut a, &mut b);
        x.copy_from_slice(&b);
    });
}

fn add_outer(a: &mut [f32], h: &[f32], weight: f32) {
    for (i, row) in a.chunks_exact_mut(RANK).enumerate() {
        let w = weight * h[i];
        // The lower triangle is all that Cholesky reads.
        row[..=i].iter_mut().zip(h).for_each(|(a, h)| *a += w * h);
    }
}

fn cholesky_solve(a: &mut [f32], b: &mut [f32]) {
    for i in 0..RANK {
        for j in 0..=i {
            let dot: f32 = (0..j).map(|k| a[i * RANK + k] * a[j * RANK + k]).sum();
            let value = a[i * RANK + j] - dot;
            a[i * RANK + j] = if i == j { value.max(1e-9).sqrt() } else { value / a[j * RANK + j] };
        }
    }
    for i in 0..RANK {
        let dot: f32 = (0..i).map(|k| a[i * RANK + k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * RANK + i];
    }
    for i in (0..RANK).rev() {
        let dot: f32 = (i + 1..RANK).map(|k| a[k * RANK + i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * RANK + i];
    }
}
