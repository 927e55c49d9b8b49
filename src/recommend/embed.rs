//! Product texts to vectors: which encoder is in use, and what is new or changed since.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::store;
use crate::catalog::{self, Product};
use crate::inference::catalogue::CatalogueEncoder;
use crate::inference::minilm::MiniLm;
use crate::inference::{Encoder, manifest};
use crate::platform::queue::JobContext;
use crate::platform::{Platform, Timestamp};

/// Texts encoded between two transactions: a vector of 384 numbers is 1.5 kB, so a transaction writes well under a megabyte.
const PIECE: usize = 256;
/// The fitted encoder is fitted anew when more than this share of the catalogue is new or changed since.
const REFIT_SHARE: f64 = 0.25;
const KIND: &str = "encoder";

/// What is said about a product to an encoder.
pub fn text_of(product: &Product) -> String {
    let brand = product.brand.as_deref().unwrap_or_default();
    let description: String = product.description.chars().take(600).collect();
    [product.title.as_str(), brand, product.category_path.as_str(), description.as_str()]
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .collect::<Vec<_>>()
        .join(". ")
}

fn hash_of(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The id of the encoder that vectors are made with now, without loading it. `None`: none was fitted yet.
pub async fn encoder_id(platform: &Platform) -> anyhow::Result<Option<String>> {
    if uses_minilm(platform)? {
        let manifest = manifest::get("minilm")?;
        let pin = manifest.files.iter().find(|f| f.name == "model.safetensors").and_then(|f| f.sha256.get(..6)).unwrap_or_default();
        return Ok(Some(format!("minilm-l6-v2@{pin}")));
    }
    let stored = store::latest_params(&platform.db, KIND).await?;
    Ok(stored.and_then(|params| params["id"].as_str().map(ToOwned::to_owned)))
}

/// By `models.encoder`: `auto` takes MiniLM where it was fetched.
fn uses_minilm(platform: &Platform) -> anyhow::Result<bool> {
    let models = &platform.config.models;
    Ok(match models.encoder.as_str() {
        "minilm" => true,
        "catalogue" => false,
        "auto" => manifest::get("minilm")?.present(&models.dir),
        other => anyhow::bail!("models.encoder is “{other}”: write auto, minilm or catalogue"),
    })
}

/// The encoder in use. Fits the catalogue's own where it is wanted and missing, or where much of the catalogue has changed since.
pub async fn open_encoder(platform: &Platform, products: &[Product], now: Timestamp) -> anyhow::Result<Option<Arc<dyn Encoder>>> {
    if uses_minilm(platform)? {
        let dir = platform.config.models.dir.clone();
        let loaded = tokio::task::spawn_blocking(move || MiniLm::open(&dir)).await?;
        return match loaded {
            Ok(encoder) => Ok(Some(Arc::new(encoder))),
            Err(error) if platform.config.models.encoder == "auto" => {
                anyhow::bail!("{error}. Or set models.encoder = \"catalogue\" to do without it.")
            }
            Err(error) => Err(error.into()),
        };
    }
    let texts: Vec<String> = products.iter().filter(|p| p.retired_at.is_none()).map(text_of).filter(|t| !t.is_empty()).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    if let Some(row) = store::latest_model(&platform.db, KIND).await? {
        let known: std::collections::HashSet<&str> =
            row.metrics.0["texts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fresh = texts.iter().filter(|t| !known.contains(&hash_of(t)[..8])).count();
        if fresh as f64 <= REFIT_SHARE * texts.len() as f64
            && let Some(bytes) = &row.artifact
        {
            return Ok(Some(Arc::new(CatalogueEncoder::from_bytes(bytes)?)));
        }
    }
    let (encoder, texts) = tokio::task::spawn_blocking(move || {
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        CatalogueEncoder::fit(&refs).map(|e| (e, texts))
    })
    .await??;
    let hashes: Vec<String> = texts.iter().map(|t| hash_of(t)[..8].to_owned()).collect();
    let params = json!({ "id": encoder.id(), "dim": encoder.dim() });
    let mut tx = platform.db.begin().await?;
    store::insert_model(&mut tx, KIND, now, &params, &json!({ "texts": hashes }), &encoder.to_bytes(), now).await?;
    store::drop_stale_vectors(&mut tx, encoder.id()).await?;
    tx.commit().await?;
    Ok(Some(Arc::new(encoder)))
}

/// What an embedding run did.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Embedded {
    pub encoder: String,
    pub products: usize,
    /// New or changed, and so encoded now.
    pub encoded: usize,
    pub unchanged: usize,
}

/// Embeds what is new or changed. A product whose text is the same as when it was embedded with this encoder is never encoded again.
pub async fn embed_with(
    platform: &Platform,
    encoder: Arc<dyn Encoder>,
    products: &[Product],
    context: &JobContext,
) -> anyhow::Result<Embedded> {
    let id = encoder.id().to_owned();
    let known: HashMap<_, String> = store::vector_hashes(&platform.db, &id).await?;
    let mut todo: Vec<(crate::platform::ids::ProductId, String, String)> = Vec::new();
    let mut unchanged = 0;
    for product in products {
        let text = text_of(product);
        let hash = hash_of(&text);
        if known.get(&product.id) == Some(&hash) {
            unchanged += 1;
        } else if product.retired_at.is_none() {
            todo.push((product.id, hash, text));
        }
    }
    context.progress.total(todo.len() as i64);
    let mut encoded = 0;
    for piece in todo.chunks(PIECE) {
        if context.stop.is_cancelled() {
            anyhow::bail!("stopped after {encoded} of {} products; the rest comes with the next run", todo.len());
        }
        let texts: Vec<String> = piece.iter().map(|(_, _, text)| text.clone()).collect();
        let worker = encoder.clone();
        let vectors = tokio::task::spawn_blocking(move || {
            let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
            worker.encode(&refs)
        })
        .await??;
        let rows: Vec<_> = piece.iter().zip(&vectors).map(|((p, hash, _), v)| (*p, hash.as_str(), v.as_slice())).collect();
        let mut tx = platform.db.begin().await?;
        store::put_vectors(&mut tx, &id, &rows, platform.now()).await?;
        tx.commit().await?;
        encoded += piece.len();
        context.progress.add(piece.len() as i64);
    }
    Ok(Embedded { encoder: id, products: products.len(), encoded, unchanged })
}

/// The job `recommend.embed`.
pub async fn embed(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(embed_all(&platform, &context).await?)?)
}

/// Embeds the catalogue with the encoder in use.
pub async fn embed_all(platform: &Platform, context: &JobContext) -> anyhow::Result<Embedded> {
    let products = catalog::all(&platform.db).await?;
    match open_encoder(platform, &products, context.scheduled_at).await? {
        Some(encoder) => embed_with(platform, encoder, &products, context).await,
        None => Ok(Embedded::default()),
    }
}
