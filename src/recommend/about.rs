//! What the choice knows about one product: what is like it, and for whom it was picked.

use std::collections::HashMap;

use super::als::dot;
use super::{Chooser, embed, store};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::{Db, Platform};
use crate::read;

/// Without a trained model, vectors are compared one by one up to this many.
const MOST_COMPARED: i64 = 20_000;
/// Picks that are looked at where people are counted or sampled.
const MOST_PICKS: i64 = 50_000;

/// A product whose text and picture say much the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similar {
    pub product_id: ProductId,
    /// Cosine of the two vectors: 1 says the same.
    pub cosine: f64,
}

/// The products most like one, best first; from the index of vectors in memory where a model is trained, else from the vectors as they are
/// stored. Empty where the product has no vector yet.
///
/// # Errors
/// Those of the database and of loading the choice.
pub async fn similar(platform: &Platform, product: ProductId, n: usize) -> anyhow::Result<Vec<Similar>> {
    if store::latest_model_id(&platform.db, super::train::KIND).await?.is_some() {
        return Ok(Chooser::load(platform, platform.now()).await?.similar(product, n));
    }
    let Some(encoder) = embed::encoder_id(platform).await? else { return Ok(Vec::new()) };
    if store::vectors_count(&platform.db, &encoder).await? > MOST_COMPARED {
        return Ok(Vec::new());
    }
    let vectors = store::vectors(&platform.db, &encoder).await?;
    Ok(nearest(&vectors, product, n))
}

fn nearest(vectors: &HashMap<ProductId, Vec<f32>>, product: ProductId, n: usize) -> Vec<Similar> {
    let Some(own) = vectors.get(&product) else { return Vec::new() };
    let mut all: Vec<Similar> = vectors
        .iter()
        .filter(|(id, v)| **id != product && v.len() == own.len())
        .map(|(id, v)| Similar { product_id: *id, cosine: f64::from(dot(own, v)) })
        .filter(|s| s.cosine > 0.0)
        .collect();
    all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.product_id.cmp(&b.product_id)));
    all.truncate(n);
    all
}

const PICKED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM pick WHERE product_id = $1 AND person_id > 0 LIMIT $2) few";
const PICKERS: &str =
    "SELECT person_id FROM (SELECT person_id FROM pick WHERE product_id = $1 AND person_id > 0 ORDER BY person_id LIMIT $2) few
     WHERE person_id % $3 = 0 ORDER BY person_id LIMIT $4";

/// For how many people a product is among the stored picks; counting stops at 50,000.
pub async fn picked_count(db: &Db, product: ProductId) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar(PICKED).bind(product).bind(MOST_PICKS).fetch_one(c).await)
}

/// Up to `limit` of the people for whom a product was picked, spread evenly over them.
pub async fn picked_by(db: &Db, product: ProductId, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    let every = (picked_count(db, product).await? / limit.max(1)).max(1);
    read!(*db, |c| sqlx::query_scalar(PICKERS).bind(product).bind(MOST_PICKS).bind(every).bind(limit).fetch_all(c).await)
}

const EVERYWHERE: &str = "SELECT product_id, COUNT(*) FROM pick WHERE person_id > 0 GROUP BY product_id";

/// For how many people each product is among the stored picks. Reads a whole index: for jobs.
pub async fn picked_everywhere(db: &Db) -> sqlx::Result<HashMap<ProductId, i64>> {
    let rows: Vec<(ProductId, i64)> = read!(*db, |c| sqlx::query_as(EVERYWHERE).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_never_the_product_itself() {
        let vectors = HashMap::from([
            (ProductId(1), vec![1.0, 0.0]),
            (ProductId(2), vec![0.8, 0.6]),
            (ProductId(3), vec![0.0, 1.0]),
            (ProductId(4), vec![0.6, 0.8]),
            (ProductId(5), vec![1.0]),
        ]);
        let found: Vec<i64> = nearest(&vectors, ProductId(1), 5).iter().map(|s| s.product_id.0).collect();
        assert_eq!(found, [2, 4], "what shares nothing, or comes from another encoder, is not similar");
        assert!(nearest(&vectors, ProductId(9), 5).is_empty());
    }
}
