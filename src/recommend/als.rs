//! Implicit-feedback matrix factorisation (iALS) as in Rendle et al. 2021 (arXiv 2110.14037), solved by conjugate gradient.
//!
//! w_u = (Σ_{i∈S_u} c_ui h_i h_iᵀ + α₀ HᵀH + λ_u I)⁻¹ Σ c_ui h_i, λ_u = λ (|S_u| + α₀ |I|)^ν, ν = 1; start N(0, σ/√d).
//! Every row is solved by itself in one order, so the result is the same bits on any number of threads.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Normal};
use rayon::prelude::*;

/// A sparse matrix by rows.
#[derive(Clone, Debug, Default)]
pub struct Csr {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Csr {
    pub fn from_rows(rows: impl Iterator<Item = Vec<(u32, f32)>>, width: usize) -> Self {
        let mut csr = Self { starts: vec![0], width, ..Self::default() };
        for row in rows {
            for (column, value) in row {
                csr.columns.push(column);
                csr.values.push(value);
            }
            csr.starts.push(csr.columns.len());
        }
        csr
    }
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }
    pub fn width(&self) -> usize {
        self.width
    }
    pub fn entries(&self) -> usize {
        self.columns.len()
    }
    pub fn row(&self, r: usize) -> (&[u32], &[f32]) {
        let range = self.starts[r]..self.starts[r + 1];
        (&self.columns[range.clone()], &self.values[range])
    }
    pub fn transpose(&self) -> Self {
        let mut starts = vec![0_usize; self.width + 1];
        for c in &self.columns {
            starts[*c as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let (mut columns, mut values) = (vec![0; self.columns.len()], vec![0.0; self.values.len()]);
        for r in 0..self.rows() {
            let (row, weights) = self.row(r);
            for (c, v) in row.iter().zip(weights) {
                let at = &mut next[*c as usize];
                columns[*at] = r as u32;
                values[*at] = *v;
                *at += 1;
            }
        }
        Self { starts, columns, values, width: self.rows() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AlsParams {
    pub rank: usize,
    /// Weight of every pair that was not seen.
    pub alpha0: f32,
    pub lambda: f32,
    pub nu: f32,
    pub sigma: f32,
    pub epochs: usize,
    /// Steps of conjugate gradient per row and half epoch, from where the row stood.
    pub cg_steps: usize,
    pub seed: u64,
}
impl Default for AlsParams {
    fn default() -> Self {
        Self { rank: 64, alpha0: 0.1, lambda: 0.01, nu: 1.0, sigma: 0.1, epochs: 12, cg_steps: 3, seed: 1 }
    }
}

/// The item side of a trained model: enough to place any person, known or new, by [`Factors::fold_in`].
#[derive(Clone, Debug, Default)]
pub struct Factors {
    pub rank: usize,
    /// `[items, rank]`.
    pub items: Vec<f32>,
    /// α₀ HᵀH, `[rank, rank]`.
    gram: Vec<f32>,
    params: AlsParamsCore,
}

#[derive(Clone, Copy, Debug, Default)]
struct AlsParamsCore {
    alpha0: f32,
    lambda: f32,
    nu: f32,
}

impl Factors {
    /// From stored factors.
    pub fn new(items: Vec<f32>, params: &AlsParams) -> Self {
        let core = AlsParamsCore { alpha0: params.alpha0, lambda: params.lambda, nu: params.nu };
        let gram = gram(&items, params.rank, params.alpha0);
        Self { rank: params.rank, items, gram, params: core }
    }
    pub fn item(&self, i: usize) -> &[f32] {
        &self.items[i * self.rank..][..self.rank]
    }
    pub fn len(&self) -> usize {
        self.items.len() / self.rank.max(1)
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The vector of a person with these items, solved to convergence, without retraining. Zeros for an empty history.
    pub fn fold_in(&self, row: &[(u32, f32)]) -> Vec<f32> {
        let mut vector = vec![0.0; self.rank];
        let (columns, values): (Vec<u32>, Vec<f32>) =
            row.iter().filter(|(i, c)| (*i as usize) < self.len() && c.is_finite() && *c > 0.0).copied().unzip();
        if !columns.is_empty() {
            let mut scratch = Scratch::new(self.rank);
            let lambda = self.params.regulariser(columns.len(), self.len());
            solve((&columns, &values), &self.items, &self.gram, lambda, self.rank.max(16), &mut vector, &mut scratch);
        }
        vector
    }
    /// Scores of all items for a vector.
    pub fn scores(&self, person: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.items.chunks_exact(self.rank.max(1)).map(|item| dot(item, person)));
    }
}

impl AlsParamsCore {
    fn regulariser(&self, seen: usize, others: usize) -> f32 {
        self.lambda * (seen as f32 + self.alpha0 * others as f32).powf(self.nu)
    }
}

/// A trained model: people's vectors too, for tests and evaluation.
pub struct Trained {
    pub factors: Factors,
    /// `[people, rank]`.
    pub people: Vec<f32>,
}

/// Trains on a person × item matrix of confidences. `each_epoch` hears of every epoch (for progress and time).
pub fn train(matrix: &Csr, params: &AlsParams, mut each_epoch: impl FnMut(usize)) -> Trained {
    let d = params.rank.max(1);
    let core = AlsParamsCore { alpha0: params.alpha0, lambda: params.lambda, nu: params.nu };
    let by_item = matrix.transpose();
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let deviation = f64::from(params.sigma) / (d as f64).sqrt();
    let mut items = vec![0.0_f32; matrix.width() * d];
    if let Ok(normal) = Normal::new(0.0, deviation.max(1e-6)) {
        items.iter_mut().for_each(|v| *v = normal.sample(&mut rng) as f32);
    }
    let mut people = vec![0.0_f32; matrix.rows() * d];
    for epoch in 0..params.epochs {
        // The first time the people start from nothing, so they get more steps.
        let steps = if epoch == 0 { params.cg_steps.max(8) } else { params.cg_steps };
        half_epoch(matrix, &items, &mut people, d, &core, steps);
        half_epoch(&by_item, &people, &mut items, d, &core, params.cg_steps);
        each_epoch(epoch);
    }
    // Leave the people solved against the final items, as fold-in will.
    half_epoch(matrix, &items, &mut people, d, &core, params.cg_steps.max(8));
    Trained { factors: Factors::new(items, &AlsParams { rank: d, ..*params }), people }
}

fn half_epoch(rows: &Csr, fixed: &[f32], solved: &mut [f32], d: usize, core: &AlsParamsCore, steps: usize) {
    let gram = gram(fixed, d, core.alpha0);
    let others = fixed.len() / d;
    solved.par_chunks_mut(d).enumerate().with_min_len(64).for_each_init(
        || Scratch::new(d),
        |scratch, (r, vector)| {
            let row = rows.row(r);
            if row.0.is_empty() {
                vector.fill(0.0);
            } else {
                solve(row, fixed, &gram, core.regulariser(row.0.len(), others), steps, vector, scratch);
            }
        },
    );
}

/// α₀ FᵀF. Summed in fixed blocks, so that the order (and so the bits) does not depend on the threads.
fn gram(fixed: &[f32], d: usize, alpha0: f32) -> Vec<f32> {
    let d = d.max(1);
    let blocks: Vec<Vec<f32>> = fixed
        .par_chunks(d * 1024)
        .map(|block| {
            let mut sum = vec![0.0_f32; d * d];
            for row in block.chunks_exact(d) {
                for (a, out) in row.iter().zip(sum.chunks_exact_mut(d)) {
                    axpy(*a, row, out);
                }
            }
            sum
        })
        .collect();
    let mut total = vec![0.0_f32; d * d];
    for block in &blocks {
        axpy(alpha0, block, &mut total);
    }
    total
}

struct Scratch {
    residual: Vec<f32>,
    direction: Vec<f32>,
    product: Vec<f32>,
}
impl Scratch {
    fn new(d: usize) -> Self {
        Self { residual: vec![0.0; d], direction: vec![0.0; d], product: vec![0.0; d] }
    }
}

/// `out = (gram + λ I + Σ c h hᵀ) v`, without forming the matrix.
fn apply((columns, values): (&[u32], &[f32]), fixed: &[f32], gram: &[f32], lambda: f32, v: &[f32], out: &mut [f32]) {
    let d = v.len();
    out.iter_mut().zip(v).for_each(|(o, v)| *o = lambda * v);
    combine(v, gram, out);
    for (column, c) in columns.iter().zip(values) {
        let h = &fixed[*column as usize * d..][..d];
        axpy(c * dot(h, v), h, out);
    }
}

/// Conjugate gradient from where `vector` stands.
fn solve(row: (&[u32], &[f32]), fixed: &[f32], gram: &[f32], lambda: f32, steps: usize, vector: &mut [f32], s: &mut Scratch) {
    let d = vector.len();
    apply(row, fixed, gram, lambda, vector, &mut s.product);
    s.residual.iter_mut().zip(&s.product).for_each(|(r, p)| *r = -p);
    for (column, c) in row.0.iter().zip(row.1) {
        axpy(*c, &fixed[*column as usize * d..][..d], &mut s.residual);
    }
    s.direction.copy_from_slice(&s.residual);
    let mut square = dot(&s.residual, &s.residual);
    for _ in 0..steps {
        if square < 1e-14 {
            break;
        }
        apply(row, fixed, gram, lambda, &s.direction, &mut s.product);
        let curvature = dot(&s.direction, &s.product);
        if curvature <= 0.0 || !curvature.is_finite() {
            break;
        }
        let step = square / curvature;
        axpy(step, &s.direction, vector);
        axpy(-step, &s.product, &mut s.residual);
        let next = dot(&s.residual, &s.residual);
        let keep = next / square;
        s.direction.iter_mut().zip(&s.residual).for_each(|(p, r)| *p = r + keep * *p);
        square = next;
    }
}

/// Eight running sums, so that the compiler can use vector registers.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// `out += Σ_r v_r · matrix[r]`, four rows at a time: `out` is read and written a quarter as often as row by row.
fn combine(v: &[f32], matrix: &[f32], out: &mut [f32]) {
    let d = out.len().max(1);
    let mut rows = matrix.chunks_exact(4 * d);
    let mut weights = v.chunks_exact(4);
    for (four, w) in (&mut rows).zip(&mut weights) {
        let (a, rest) = four.split_at(d);
        let (b, rest) = rest.split_at(d);
        let (c, e) = rest.split_at(d);
        for ((((o, a), b), c), e) in out.iter_mut().zip(a).zip(b).zip(c).zip(e) {
            *o += w[0] * a + w[1] * b + w[2] * c + w[3] * e;
        }
    }
    for (row, w) in rows.remainder().chunks_exact(d).zip(weights.remainder()) {
        axpy(*w, row, out);
    }
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of people, each buying from its own half of the items.
    fn two_tastes() -> Csr {
        let rows = (0..40_u32).map(|person| {
            let half = (person % 2) * 10;
            (0..10).filter(|i| (i * 7 + person * 3) % 10 < 6).map(|i| (half + i, 1.0)).collect()
        });
        Csr::from_rows(rows, 20)
    }
    fn params() -> AlsParams {
        AlsParams { rank: 8, epochs: 15, ..AlsParams::default() }
    }

    #[test]
    fn planted_tastes_are_found() {
        let matrix = two_tastes();
        let trained = train(&matrix, &AlsParams { rank: 2, ..params() }, |_| {});
        let mut scores = Vec::new();
        for person in 0..40 {
            trained.factors.scores(&trained.people[person * 2..][..2], &mut scores);
            let own = (person % 2) * 10;
            let worst_own = (own..own + 10).map(|i| scores[i]).fold(f32::MAX, f32::min);
            let best_other = (0..20).filter(|i| i / 10 != own / 10).map(|i| scores[i]).fold(f32::MIN, f32::max);
            assert!(worst_own > best_other, "{person}: {worst_own} {best_other}");
        }
    }

    #[test]
    fn fold_in_equals_the_trained_person_and_solves_the_equation() {
        let matrix = two_tastes();
        let trained = train(&matrix, &params(), |_| {});
        for person in 0..40 {
            let (columns, values) = matrix.row(person);
            let row: Vec<(u32, f32)> = columns.iter().copied().zip(values.iter().copied()).collect();
            let folded = trained.factors.fold_in(&row);
            let known = &trained.people[person * 8..][..8];
            assert!(folded.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-3), "{folded:?} {known:?}");
            // The normal equation itself: A w = Σ c h.
            let f = &trained.factors;
            let mut left = vec![0.0; 8];
            apply((columns, values), &f.items, &f.gram, f.params.regulariser(columns.len(), 20), &folded, &mut left);
            let mut right = vec![0.0; 8];
            for (i, c) in &row {
                axpy(*c, f.item(*i as usize), &mut right);
            }
            assert!(left.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-3), "{left:?} {right:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
        let matrix = two_tastes();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            pool.install(|| train(&matrix, &params(), |_| {}).factors.items)
        };
        assert_eq!(on(1), on(3));
        assert_ne!(on(1), train(&matrix, &AlsParams { seed: 2, ..params() }, |_| {}).factors.items);
    }

    #[test]
    fn nothing_and_nonsense_stay_finite() {
        let empty = train(&Csr::from_rows(std::iter::empty(), 0), &params(), |_| {});
        assert!(empty.factors.is_empty() && empty.factors.fold_in(&[(3, 1.0)]).iter().all(|v| *v == 0.0));
        let lonely = train(&Csr::from_rows([vec![], vec![(1, 1.0)]].into_iter(), 3), &params(), |_| {});
        assert!(lonely.people.iter().chain(&lonely.factors.items).all(|v| v.is_finite()));
        assert!(lonely.people[..8].iter().all(|v| *v == 0.0));
        assert!(lonely.factors.fold_in(&[(1, f32::NAN), (7, 1.0)]).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn four_rows_at_a_time_is_the_plain_sum() {
        for d in [1, 3, 4, 6, 9] {
            let v: Vec<f32> = (0..d).map(|i| i as f32 - 1.5).collect();
            let matrix: Vec<f32> = (0..d * d).map(|i| (i * 7 % 11) as f32).collect();
            let (mut fast, mut plain) = (vec![1.0; d], vec![1.0; d]);
            combine(&v, &matrix, &mut fast);
            v.iter().zip(matrix.chunks_exact(d)).for_each(|(a, row)| axpy(*a, row, &mut plain));
            assert!(fast.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-3), "{d}: {fast:?} {plain:?}");
        }
    }

    #[test]
    fn transposing_twice_is_the_same() {
        let m = two_tastes();
        let t = m.transpose().transpose();
        assert_eq!((m.starts, m.columns, m.values), (t.starts, t.columns, t.values));
    }
}
