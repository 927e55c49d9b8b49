//! The encoder that is fitted on the shop's own catalogue: TF-IDF over character n-grams, projected on the leading right singular
//! subspace. Needs no download, serves any language, and is deterministic.
//!
//! Words give n-grams of 3 to 5 characters with their boundaries marked (`<oak>`), and themselves; Chinese, Japanese and Korean characters give
//! single characters and pairs. The subspace comes from block power iteration on the TF-IDF matrix (a randomised truncated SVD without
//! the final rotation, which cosines would not notice; Halko, Martinsson & Tropp 2011).

use std::collections::HashMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use super::{EncodeError, Encoder, normalise};

/// Most n-grams that are kept: those in the most texts.
const VOCABULARY: usize = 20_000;
/// Most dimensions. Fewer where the catalogue is small.
const DIMENSIONS: usize = 128;
const ITERATIONS: usize = 3;
const MAGIC: &[u8; 8] = b"MQCATEN1";

#[derive(Clone)]
pub struct CatalogueEncoder {
    id: String,
    dim: usize,
    /// N-gram → row of `basis`.
    vocabulary: HashMap<String, u32>,
    idf: Vec<f32>,
    /// `[vocabulary, dim]`, orthonormal columns.
    basis: Vec<f32>,
    /// Mean of the fitted projections: taken off, so that what all products share does not make them alike.
    mean: Vec<f32>,
}

/// A sparse row: (n-gram, weight), length 1.
type Sparse = Vec<(u32, f32)>;

impl CatalogueEncoder {
    /// Learns from the catalogue's texts. The same texts in the same order give the same encoder, bit by bit.
    pub fn fit(texts: &[&str]) -> Result<Self, EncodeError> {
        let grams: Vec<HashMap<String, f32>> = texts.par_iter().map(|t| count(t)).collect();
        let mut seen_in: HashMap<&str, u32> = HashMap::new();
        for text in &grams {
            for gram in text.keys() {
                *seen_in.entry(gram).or_default() += 1;
            }
        }
        let mut kept: Vec<(&str, u32)> = seen_in.iter().map(|(g, n)| (*g, *n)).collect();
        // A gram of a single text says nothing about likeness, unless the catalogue is tiny.
        if texts.len() > 50 {
            kept.retain(|(_, n)| *n > 1);
        }
        kept.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        kept.truncate(VOCABULARY);
        if kept.is_empty() {
            return Err(EncodeError::NothingToLearn);
        }
        kept.sort_by(|a, b| a.0.cmp(b.0));
        let total = texts.len() as f32;
        let idf = kept.iter().map(|(_, n)| ((1.0 + total) / (1.0 + *n as f32)).ln() + 1.0).collect();
        let vocabulary = kept.iter().enumerate().map(|(i, (g, _))| ((*g).to_owned(), i as u32)).collect();
        let mut fitted = Self { id: String::new(), dim: 0, vocabulary, idf, basis: Vec::new(), mean: Vec::new() };
        let rows: Vec<Sparse> = grams.par_iter().map(|g| fitted.weigh(g)).collect();
        fitted.dim = DIMENSIONS.min(rows.len()).min(fitted.vocabulary.len()).max(1);
        fitted.basis = leading_subspace(&rows, fitted.vocabulary.len(), fitted.dim);
        fitted.mean = vec![0.0; fitted.dim];
        if rows.len() > 2 {
            let mut mean = vec![0.0_f64; fitted.dim];
            for row in &rows {
                fitted.project(row).iter().zip(&mut mean).for_each(|(v, m)| *m += f64::from(*v));
            }
            fitted.mean = mean.iter().map(|m| (m / rows.len() as f64) as f32).collect();
        }
        let hash = Sha256::digest(fitted.to_bytes());
        fitted.id = format!("catalogue@{}", hex::encode(&hash[..3]));
        Ok(fitted)
    }

    /// TF-IDF of one text, length 1.
    fn weigh(&self, grams: &HashMap<String, f32>) -> Sparse {
        let mut row: Sparse =
            grams.iter().filter_map(|(gram, n)| self.vocabulary.get(gram).map(|i| (*i, (1.0 + n.ln()) * self.idf[*i as usize]))).collect();
        row.sort_unstable_by_key(|(i, _)| *i);
        let norm = row.iter().map(|(_, w)| w * w).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|(_, w)| *w /= norm);
        }
        row
    }

    fn project(&self, row: &Sparse) -> Vec<f32> {
        let mut out = vec![0.0; self.dim];
        for (i, w) in row {
            axpy(*w, &self.basis[*i as usize * self.dim..][..self.dim], &mut out);
        }
        out
    }

    /// For the `model` table; [`CatalogueEncoder::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut grams: Vec<(&String, &u32)> = self.vocabulary.iter().collect();
        grams.sort_by_key(|(_, i)| **i);
        let mut out = Vec::with_capacity(16 + grams.len() * 16 + self.basis.len() * 4);
        out.extend_from_slice(MAGIC);
        out.extend((grams.len() as u32).to_le_bytes());
        out.extend((self.dim as u32).to_le_bytes());
        for (gram, _) in grams {
            out.extend((gram.len() as u16).to_le_bytes());
            out.extend_from_slice(gram.as_bytes());
        }
        for value in self.idf.iter().chain(&self.basis).chain(&self.mean) {
            out.extend(value.to_le_bytes());
        }
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodeError> {
        let broken = || EncodeError::Weights { path: "the stored catalogue encoder".into(), why: "it is cut short or not one".into() };
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(broken)?;
        let mut take = |n: usize| -> Result<&[u8], EncodeError> {
            let (head, tail) = rest.split_at_checked(n).ok_or_else(broken)?;
            rest = tail;
            Ok(head)
        };
        let word = |b: &[u8]| b.iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte));
        let (size, dim) = (word(take(4)?), word(take(4)?));
        if size > VOCABULARY || dim > DIMENSIONS {
            return Err(broken());
        }
        let mut vocabulary = HashMap::with_capacity(size);
        for i in 0..size {
            let length = word(take(2)?);
            let gram = std::str::from_utf8(take(length)?).map_err(|_| broken())?;
            vocabulary.insert(gram.to_owned(), i as u32);
        }
        let mut floats = |n: usize| -> Result<Vec<f32>, EncodeError> {
            let bytes = take(n * 4)?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let (idf, basis, mean) = (floats(size)?, floats(size * dim)?, floats(dim)?);
        let id = format!("catalogue@{}", hex::encode(&Sha256::digest(bytes)[..3]));
        Ok(Self { id, dim, vocabulary, idf, basis, mean })
    }
}

impl Encoder for CatalogueEncoder {
    fn id(&self) -> &str {
        &self.id
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let one = |text: &&str| {
            let row = self.weigh(&count(text));
            if row.is_empty() {
                return vec![0.0; self.dim];
            }
            let mut vector = self.project(&row);
            vector.iter_mut().zip(&self.mean).for_each(|(v, m)| *v -= m);
            normalise(&mut vector);
            vector
        };
        Ok(texts.par_iter().map(one).collect())
    }
}

/// The n-grams of a text with their counts.
fn count(text: &str) -> HashMap<String, f32> {
    let mut grams: HashMap<String, f32> = HashMap::new();
    let mut add = |gram: String| *grams.entry(gram).or_default() += 1.0;
    let mut word: Vec<char> = Vec::new();
    let mut ideographs: Vec<char> = Vec::new();
    // A space at the end flushes the last run. NFKC folds full-width forms; lower case folds the rest.
    for c in text.nfkc().flat_map(char::to_lowercase).chain(std::iter::once(' ')) {
        let cjk = is_cjk(c);
        if !cjk && !ideographs.is_empty() {
            ideographs.iter().for_each(|c| add(c.to_string()));
            ideographs.windows(2).for_each(|pair| add(pair.iter().collect()));
            ideographs.clear();
        }
        if (cjk || !c.is_alphanumeric()) && !word.is_empty() {
            let marked: Vec<char> = std::iter::once('<').chain(word.drain(..)).chain(std::iter::once('>')).collect();
            for n in 3..=5 {
                marked.windows(n).for_each(|w| add(w.iter().collect()));
            }
            if marked.len() > 5 {
                add(marked.iter().take(64).collect());
            }
        }
        if cjk {
            ideographs.push(c);
        } else if c.is_alphanumeric() {
            word.push(c);
        }
    }
    grams
}

fn is_cjk(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x323af)
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// An orthonormal basis (`[columns, k]`) of about the k leading right singular vectors of a sparse matrix: `Q ← orth(AᵀA Q)`.
fn leading_subspace(rows: &[Sparse], columns: usize, k: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(0x6d71);
    let mut basis: Vec<f32> = (0..columns * k).map(|_| rng.random::<f32>() - 0.5).collect();
    // Aᵀ by column, so that each output row is summed by one thread in one order: the same bits however many threads there are.
    let mut by_column: Vec<Vec<(u32, f32)>> = vec![Vec::new(); columns];
    for (r, row) in rows.iter().enumerate() {
        for (c, w) in row {
            by_column[*c as usize].push((r as u32, *w));
        }
    }
    orthonormalise(&mut basis, k);
    for _ in 0..ITERATIONS {
        let product = multiply(rows, &basis, k);
        basis = multiply(&by_column, &product, k);
        orthonormalise(&mut basis, k);
    }
    basis
}

/// Sparse × dense, row by row in parallel.
fn multiply(rows: &[Sparse], dense: &[f32], k: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() * k];
    out.par_chunks_mut(k).zip(rows).for_each(|(out, row)| {
        for (c, w) in row {
            axpy(*w, &dense[*c as usize * k..][..k], out);
        }
    });
    out
}

/// Modified Gram–Schmidt over the columns, twice (once is not enough in f32). A column without a direction of its own becomes zero.
fn orthonormalise(matrix: &mut [f32], k: usize) {
    let n = matrix.len() / k;
    let mut columns: Vec<Vec<f32>> = (0..k).map(|c| (0..n).map(|r| matrix[r * k + c]).collect()).collect();
    for c in 0..k {
        let (before, rest) = columns.split_at_mut(c);
        let column = &mut rest[0];
        let size = column.iter().map(|v| v * v).sum::<f32>().sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let dot: f32 = other.iter().zip(column.iter()).map(|(a, b)| a * b).sum();
                axpy(-dot, other, column);
            }
        }
        let left = column.iter().map(|v| v * v).sum::<f32>().sqrt();
        if left > 1e-5 * size && left > 0.0 {
            column.iter_mut().for_each(|v| *v /= left);
        } else {
            column.fill(0.0);
        }
    }
    for (c, column) in columns.iter().enumerate() {
        for (r, value) in column.iter().enumerate() {
            matrix[r * k + c] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::cosine;

    const SHOP: [&str; 12] = [
        "Oak dining table, solid wood furniture",
        "Oak coffee table, small wooden furniture",
        "Pine dining table for six, wood",
        "Walnut wooden chair, dining furniture",
        "Rose bush for the garden",
        "Garden rose, red climbing roses",
        "Watering can for garden roses",
        "Garden spade, steel",
        "红色 玫瑰 花园 植物",
        "花园 玫瑰 种子",
        "橡木 餐桌 实木 家具",
        "实木 橡木 椅子",
    ];

    #[test]
    fn alike_texts_lie_close_in_any_script_and_with_typing_errors() {
        let encoder = CatalogueEncoder::fit(&SHOP).expect("fits");
        let v = encoder
            .encode(&["oak wood tables", "rosebush in gardens", "玫瑰花", "实木餐桌", "oka dinning tabel", "", "Ωψ"])
            .expect("encodes");
        let shop = encoder.encode(&SHOP).expect("encodes");
        let nearest = |v: &[f32]| {
            let best = (0..SHOP.len()).max_by(|a, b| cosine(v, &shop[*a]).total_cmp(&cosine(v, &shop[*b])));
            best.expect("some")
        };
        assert!(nearest(&v[0]) <= 2, "{}", SHOP[nearest(&v[0])]);
        assert!((4..=7).contains(&nearest(&v[1])));
        assert!((8..=9).contains(&nearest(&v[2])));
        assert!((10..=11).contains(&nearest(&v[3])));
        assert!(nearest(&v[4]) <= 3);
        assert!(v[5].iter().chain(&v[6]).all(|x| *x == 0.0));
        assert!(shop.iter().all(|v| v.len() == encoder.dim() && (cosine(v, v) - 1.0).abs() < 1e-4));
    }

    #[test]
    fn fitting_is_repeatable_and_survives_storage() {
        let a = CatalogueEncoder::fit(&SHOP).expect("fits");
        let b = CatalogueEncoder::fit(&SHOP).expect("fits");
        assert_eq!(a.to_bytes(), b.to_bytes());
        let c = CatalogueEncoder::from_bytes(&a.to_bytes()).expect("reads");
        assert_eq!((a.id(), a.encode(&SHOP).expect("a")), (c.id(), c.encode(&SHOP).expect("c")));
        assert_ne!(CatalogueEncoder::fit(&SHOP[1..]).expect("fits").id(), a.id());
        for cut in [0, 7, 20, a.to_bytes().len() - 1] {
            assert!(CatalogueEncoder::from_bytes(&a.to_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn the_subspace_is_the_leading_one() {
        // Two blocks of three rows: rank 2, singular vectors known.
        let rows: Vec<Sparse> = vec![vec![(0, 3.0), (1, 3.0)], vec![(0, 3.0), (1, 3.0)], vec![(2, 2.0)], vec![(2, 2.0)], vec![(3, 0.1)]];
        let basis = leading_subspace(&rows, 4, 2);
        let length = |row: usize| basis[row * 2].powi(2) + basis[row * 2 + 1].powi(2);
        // Rows 0 and 1 share one direction, row 2 is one itself, row 3 is outside.
        assert!((length(0) - 0.5).abs() < 1e-2 && (length(2) - 1.0).abs() < 1e-2 && length(3) < 1e-2, "{basis:?}");
    }

    #[test]
    fn an_empty_catalogue_is_an_error_and_one_product_is_not() {
        assert!(matches!(CatalogueEncoder::fit(&[]), Err(EncodeError::NothingToLearn)));
        assert!(matches!(CatalogueEncoder::fit(&["", "!"]), Err(EncodeError::NothingToLearn)));
        assert!(CatalogueEncoder::fit(&["Lamp"]).expect("fits").encode(&["Lamp"]).expect("encodes")[0].iter().any(|v| *v != 0.0));
    }
}
