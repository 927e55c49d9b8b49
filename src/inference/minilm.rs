//! all-MiniLM-L6-v2 in candle: BERT, mean over the tokens, length 1.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config as BertConfig, HiddenAct, PositionEmbeddingType};
use tokenizers::Tokenizer;
use tokenizers::utils::truncation::TruncationParams;

use super::manifest::{self, Manifest, Shape};
use super::{EncodeError, Encoder, normalise};

/// Texts per forward pass. Larger batches win nothing on a CPU and pad more.
const BATCH: usize = 32;

pub struct MiniLm {
    id: String,
    dim: usize,
    tokenizer: Tokenizer,
    bert: BertModel,
}

impl MiniLm {
    /// Loads the pinned weights from `models_dir`; checks their SHA-256 on the way.
    pub fn open(models_dir: &Path) -> Result<Self, EncodeError> {
        let broken = |path: &Path, why: String| EncodeError::Weights { path: path.display().to_string(), why };
        let manifest: Manifest = manifest::get("minilm").map_err(|e| broken(models_dir, e.to_string()))?;
        let dir = manifest.dir(models_dir);
        manifest.verify(&dir).map_err(|e| broken(&dir, format!("{e}; run `marquee models fetch minilm`")))?;
        let pin = manifest.files.iter().find(|f| f.name == "model.safetensors").map_or("", |f| f.sha256.get(..6).unwrap_or(""));
        Self::load(&dir, &manifest.shape, format!("minilm-l6-v2@{pin}"))
    }

    /// Loads `model.safetensors` and `tokenizer.json` of any BERT of the given shape from a folder.
    pub fn load(dir: &Path, shape: &Shape, id: String) -> Result<Self, EncodeError> {
        let weights = dir.join("model.safetensors");
        let bytes =
            std::fs::read(&weights).map_err(|e| EncodeError::Weights { path: weights.display().to_string(), why: e.to_string() })?;
        // Read, not mapped: mapping a file that may change under us is what makes the other way unsafe.
        let variables = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
        let bert = BertModel::load(variables, &bert_config(shape))
            .map_err(|e| EncodeError::Weights { path: weights.display().to_string(), why: e.to_string() })?;
        let mut tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).map_err(|e| EncodeError::Tokenizer(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: shape.max_tokens, ..TruncationParams::default() }))
            .map_err(|e| EncodeError::Tokenizer(e.to_string()))?;
        Ok(Self { id, dim: shape.hidden, tokenizer, bert })
    }

    /// One forward pass over token lists of about equal length: `[batch, tokens] → [batch, hidden]`, mean over real tokens.
    fn forward(&self, batch: &[&[u32]]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let longest = batch.iter().map(|t| t.len()).max().unwrap_or(1).max(1);
        let mut ids = vec![0_u32; batch.len() * longest];
        let mut mask = vec![0_f32; batch.len() * longest];
        for (row, tokens) in batch.iter().enumerate() {
            ids[row * longest..][..tokens.len()].copy_from_slice(tokens);
            mask[row * longest..][..tokens.len()].fill(1.0);
        }
        let shape = (batch.len(), longest);
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let wide = mask.unsqueeze(2)?;
        let sum = hidden.broadcast_mul(&wide)?.sum(1)?;
        let count = wide.sum(1)?.clamp(1_f32, f32::MAX)?;
        let mut vectors: Vec<Vec<f32>> = sum.broadcast_div(&count)?.to_vec2()?;
        vectors.iter_mut().for_each(|v| normalise(v));
        Ok(vectors)
    }
}

fn bert_config(shape: &Shape) -> BertConfig {
    BertConfig {
        vocab_size: shape.vocabulary,
        hidden_size: shape.hidden,
        num_hidden_layers: shape.layers,
        num_attention_heads: shape.heads,
        intermediate_size: shape.intermediate,
        hidden_act: HiddenAct::Gelu,
        hidden_dropout_prob: 0.0,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        pad_token_id: 0,
        position_embedding_type: PositionEmbeddingType::Absolute,
        use_cache: false,
        classifier_dropout: None,
        model_type: Some("bert".into()),
    }
}

impl Encoder for MiniLm {
    fn id(&self) -> &str {
        &self.id
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let encodings = self.tokenizer.encode_batch(texts.to_vec(), true).map_err(|e| EncodeError::Tokenizer(e.to_string()))?;
        // Sorted by length, a batch holds hardly any padding.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|i| encodings[*i].get_ids().len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for part in order.chunks(BATCH) {
            let batch: Vec<&[u32]> = part.iter().map(|i| encodings[*i].get_ids()).collect();
            for (at, vector) in part.iter().zip(self.forward(&batch)?) {
                vectors[*at] = vector;
            }
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::inference::cosine;

    /// A tiny BERT with random weights and a word-level vocabulary, so that the loading code runs everywhere.
    fn tiny(dir: &Path) -> Shape {
        let shape = Shape {
            architecture: "bert".into(),
            layers: 2,
            heads: 2,
            hidden: 16,
            intermediate: 32,
            vocabulary: 12,
            max_tokens: 8,
            pooling: "mean".into(),
        };
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        let mut seed = 7_u32;
        let mut add = |name: String, dims: &[usize], value: Option<f32>| {
            let n: usize = dims.iter().product();
            let data: Vec<f32> = (0..n)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    value.unwrap_or((seed >> 8) as f32 / 8_388_608.0 - 1.0)
                })
                .collect();
            tensors.insert(name, Tensor::from_vec(data, dims, &Device::Cpu).expect("tensor"));
        };
        let (h, i) = (shape.hidden, shape.intermediate);
        add("embeddings.word_embeddings.weight".into(), &[shape.vocabulary, h], None);
        add("embeddings.position_embeddings.weight".into(), &[512, h], Some(0.0));
        add("embeddings.token_type_embeddings.weight".into(), &[2, h], None);
        let mut norm = |name: &str| {
            add(format!("{name}.weight"), &[h], Some(1.0));
            add(format!("{name}.bias"), &[h], Some(0.0));
        };
        norm("embeddings.LayerNorm");
        for layer in 0..shape.layers {
            norm(&format!("encoder.layer.{layer}.attention.output.LayerNorm"));
            norm(&format!("encoder.layer.{layer}.output.LayerNorm"));
        }
        for layer in 0..shape.layers {
            let prefix = format!("encoder.layer.{layer}");
            for (name, out, input) in [
                ("attention.self.query", h, h),
                ("attention.self.key", h, h),
                ("attention.self.value", h, h),
                ("attention.output.dense", h, h),
                ("intermediate.dense", i, h),
                ("output.dense", h, i),
            ] {
                add(format!("{prefix}.{name}.weight"), &[out, input], None);
                add(format!("{prefix}.{name}.bias"), &[out], None);
            }
        }
        candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).expect("weights");
        let words = ["[PAD]", "[UNK]", "oak", "table", "garden", "rose", "lamp", "brass", "chair", "red", "blue", "tea"];
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            words.iter().enumerate().map(|(i, w)| ((*w).to_owned(), i.into())).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
        });
        std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).expect("tokenizer");
        shape
    }

    #[test]
    fn a_tiny_bert_loads_and_a_batch_equals_one_by_one() {
        let folder = tempfile::tempdir().expect("folder");
        let shape = tiny(folder.path());
        let encoder = MiniLm::load(folder.path(), &shape, "tiny@1".into()).expect("loads");
        let texts = ["oak table", "red", "", "garden rose lamp brass chair red blue tea oak oak oak oak", "oak table"];
        let together = encoder.encode(&texts).expect("encodes");
        assert_eq!(together.len(), texts.len());
        for (text, vector) in texts.iter().zip(&together) {
            assert_eq!(vector.len(), encoder.dim());
            let alone = encoder.encode(&[text]).expect("encodes").remove(0);
            // Padding and position in the batch must not matter.
            assert!(alone.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-5), "{text}: {alone:?} {vector:?}");
            let length = vector.iter().map(|v| v * v).sum::<f32>();
            assert!(text.is_empty() || (length - 1.0).abs() < 1e-4, "{text}: {length}");
        }
        assert!(cosine(&together[0], &together[4]) > 0.999_9 && cosine(&together[0], &together[1]) < 0.999);
    }

    #[test]
    fn broken_weights_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let shape = tiny(folder.path());
        std::fs::write(folder.path().join("model.safetensors"), b"not weights").expect("write");
        assert!(MiniLm::load(folder.path(), &shape, "x".into()).is_err());
        let refused = MiniLm::open(folder.path()).err().expect("nothing fetched there").to_string();
        assert!(refused.contains("models fetch"), "{refused}");
    }

    #[test]
    fn the_real_weights_know_what_is_alike() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        if !manifest::get("minilm").expect("manifest").present(&models) {
            eprintln!("skipped: run `marquee models fetch minilm` to test the real weights");
            return;
        }
        let encoder = MiniLm::open(&models).expect("loads");
        assert_eq!((encoder.id(), encoder.dim()), ("minilm-l6-v2@53aa51", 384));
        // Expected cosine from the reference implementation (sentence-transformers' model card example).
        let v = encoder.encode(&["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]);
        let v = v.expect("encodes");
        for (other, expected) in [(1, 0.695), (2, 0.943), (3, 0.257)] {
            let found = cosine(&v[0], &v[other]);
            assert!((found - expected).abs() < 0.002, "{other}: {found} against {expected}");
        }
    }
}
