//! Inference: an encoder (text to vector) and a generator (prompt to text) behind two small traits; candle inside.
//!
//! Both are slow: never call them inside a transaction. [`Encoder`] blocks its thread, so callers on the async runtime use
//! `tokio::task::spawn_blocking`.

pub mod catalogue;
pub mod manifest;
pub mod minilm;

use async_trait::async_trait;

/// Text to vectors. All vectors of one encoder have the same length and live in the same space; vectors of two encoders (other
/// [`Encoder::id`]) must never be compared.
pub trait Encoder: Send + Sync {
    /// Names the weights, not only the architecture: `minilm-l6-v2@53aa51`, `catalogue@91c02e`.
    fn id(&self) -> &str;
    /// Components per vector.
    fn dim(&self) -> usize;
    /// One vector per text, in the order of the texts, of length 1 (all zeros where a text holds nothing that the encoder knows). Blocks.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError>;
}

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("the weights in {path} cannot be used: {why}")]
    Weights { path: String, why: String },
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    #[error("the encoder failed: {0}")]
    Compute(#[from] candle_core::Error),
    #[error("the encoder needs at least one text to learn from")]
    NothingToLearn,
}

/// What a generator is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// Who the model is and what rules hold.
    pub system: String,
    /// What is wanted now.
    pub user: String,
    /// Most tokens to answer with.
    pub max_tokens: usize,
    /// 0 = always the likeliest word.
    pub temperature: f32,
    /// Same seed, same answer, where the backend can promise that.
    pub seed: u64,
}

/// Prompt to text. Implemented by the words slice's backends.
#[async_trait]
pub trait Generator: Send + Sync {
    /// Names backend and weights: `grammar@1`, `openai:NAME`.
    fn id(&self) -> &str;
    async fn generate(&self, prompt: Prompt) -> Result<String, GenerateError>;
}

#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Worth trying again: network, overload.
    #[error("the generator is not reachable: {0}")]
    Unavailable(String),
    #[error("the generator took longer than {0} s")]
    Timeout(u64),
    /// Not worth trying again as it is.
    #[error("the generator refused: {0}")]
    Refused(String),
    #[error("the generator answered with nothing usable: {0}")]
    Unusable(String),
}

/// Scales a vector to length 1; leaves zeros (and anything not finite, which becomes zeros) alone.
pub fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if norm.is_finite() && norm > 1e-12 {
        let scale = (1.0 / norm) as f32;
        vector.iter_mut().for_each(|v| *v *= scale);
    } else {
        vector.fill(0.0);
    }
}

/// Cosine of two vectors of equal length; 0 where one is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| p * q).sum::<f32>();
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    if norm > 1e-12 { dot(a, b) / norm } else { 0.0 }
}
