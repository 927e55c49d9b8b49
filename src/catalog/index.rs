//! SQL of `product_word`: written with the products, and once for those that were there before it.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use sqlx::types::Json;

use super::words;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::ProductId;
use crate::platform::queue::JobContext;
use crate::platform::{Platform, setting};
use crate::{on, read};

const HASHES_SQLITE: &str = "SELECT sku, content_hash FROM product WHERE sku IN (SELECT value FROM json_each($1))";
const HASHES_POSTGRES: &str = "SELECT sku, content_hash FROM product WHERE sku = ANY($1)";

/// The content hashes of those skus that exist: products whose texts stay keep their words.
pub(super) async fn text_hashes(tx: &mut Tx, skus: &[&str]) -> sqlx::Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = match tx {
        Tx::Sqlite { tx, .. } => sqlx::query_as(HASHES_SQLITE).bind(Json(skus)).fetch_all(&mut **tx).await?,
        Tx::Postgres(tx) => sqlx::query_as(HASHES_POSTGRES).bind(skus).fetch_all(&mut **tx).await?,
    };
    Ok(rows.into_iter().collect())
}

const FORGET_SQLITE: &str = "DELETE FROM product_word WHERE product_id IN (SELECT value FROM json_each($1))";
const FORGET_POSTGRES: &str = "DELETE FROM product_word WHERE product_id = ANY($1)";
const PUT_SQLITE: &str = "INSERT INTO product_word (word, product_id) SELECT value ->> 1, value ->> 0 FROM json_each($1) WHERE true
     ON CONFLICT (word, product_id) DO NOTHING";
const PUT_POSTGRES: &str =
    "INSERT INTO product_word (word, product_id) SELECT * FROM UNNEST($1::TEXT[], $2::BIGINT[]) ON CONFLICT (word, product_id) DO NOTHING";
/// Rows in one statement.
const ROWS: usize = 5_000;

/// Puts the words of these products in the place of those they had.
pub(super) async fn put_words(tx: &mut Tx, products: &[(ProductId, BTreeSet<String>)]) -> sqlx::Result<()> {
    if products.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = products.iter().map(|(id, _)| id.0).collect();
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(FORGET_SQLITE).bind(Json(&ids)).execute(&mut **tx).await.map(|_| ())?,
        Tx::Postgres(tx) => sqlx::query(FORGET_POSTGRES).bind(&ids).execute(&mut **tx).await.map(|_| ())?,
    }
    // In the order of the key: neighbours on the page of the table are written together.
    let mut rows: Vec<(i64, &str)> = products.iter().flat_map(|(id, words)| words.iter().map(|w| (id.0, w.as_str()))).collect();
    rows.sort_unstable_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)));
    for some in rows.chunks(ROWS) {
        match tx {
            Tx::Sqlite { tx, .. } => sqlx::query(PUT_SQLITE).bind(Json(some)).execute(&mut **tx).await.map(|_| ())?,
            Tx::Postgres(tx) => {
                let (ids, words): (Vec<i64>, Vec<&str>) = some.iter().copied().unzip();
                sqlx::query(PUT_POSTGRES).bind(words).bind(ids).execute(&mut **tx).await.map(|_| ())?;
            }
        }
    }
    Ok(())
}

/// Up to which product the words of a catalogue that was there before its index are written.
const CURSOR: &str = "catalog.words";
const PIECE: i64 = 500;
const TEXTS: &str = "SELECT id, sku, title, description, brand, category_path FROM product WHERE id > $1 ORDER BY id LIMIT $2";

#[derive(sqlx::FromRow)]
struct Texts {
    id: ProductId,
    sku: String,
    title: String,
    description: String,
    brand: Option<String>,
    category_path: String,
}

async fn texts(db: &Db, after: ProductId) -> sqlx::Result<Vec<Texts>> {
    read!(*db, |c| sqlx::query_as(TEXTS).bind(after).bind(PIECE).fetch_all(c).await)
}

/// Writes the words of all products once, in short transactions; resumable. Later changes write theirs themselves.
///
/// # Errors
/// Those of the database; what was committed stays.
pub async fn index_words(platform: &Platform, mut stop: impl FnMut() -> bool) -> anyhow::Result<usize> {
    let mut after: i64 = setting::get(&platform.db, CURSOR).await?.unwrap_or_default();
    let mut done = 0;
    while !stop() {
        let some = texts(&platform.db, ProductId(after)).await?;
        let Some(last) = some.last() else { break };
        after = last.id.0;
        let products: Vec<(ProductId, BTreeSet<String>)> = some
            .iter()
            .map(|t| (t.id, words::of_product(&t.sku, &t.title, &t.description, t.brand.as_deref(), &t.category_path)))
            .collect();
        done += products.len();
        let mut tx = platform.db.begin().await?;
        put_words(&mut tx, &products).await?;
        setting::put(&mut tx, CURSOR, &after, platform.now()).await?;
        tx.commit().await?;
    }
    Ok(done)
}

/// The job `catalog.words`.
pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let products = index_words(&platform, || context.stop.is_cancelled()).await?;
    Ok(json!({ "products": products }))
}

/// The distinct words that begin with a marker, without it, in order: categories and brands. `on!` is for transactions, this only reads.
async fn marked(db: &Db, marker: &str, limit: i64) -> sqlx::Result<Vec<String>> {
    // A loose index scan: one step per distinct word, not per product.
    const MARKED: &str = "WITH RECURSIVE w (word) AS (
             SELECT (SELECT MIN(word) FROM product_word WHERE word >= $1 AND word < $2)
             UNION ALL SELECT (SELECT MIN(p.word) FROM product_word p WHERE p.word > w.word AND p.word < $2) FROM w WHERE w.word IS NOT NULL)
         SELECT word FROM w WHERE word IS NOT NULL LIMIT $3";
    let end = format!("{marker}\u{10ffff}");
    let rows: Vec<String> = read!(*db, |c| sqlx::query_scalar(MARKED).bind(marker).bind(&end).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().filter_map(|w| w.strip_prefix(marker).map(ToOwned::to_owned)).collect())
}

/// Category paths with all their steps, in order; at most `limit`.
pub async fn categories(db: &Db, limit: i64) -> sqlx::Result<Vec<String>> {
    marked(db, "#c:", limit).await
}

/// Brands in order; at most `limit`.
pub async fn brands(db: &Db, limit: i64) -> sqlx::Result<Vec<String>> {
    marked(db, "#b:", limit).await
}

const EMPTIED: &str = "DELETE FROM product_word";

/// Drops all words, so that [`index_words`] writes them anew: after the way of finding words has changed.
pub async fn forget_words(tx: &mut Tx, now: crate::platform::Timestamp) -> sqlx::Result<()> {
    on!(&mut *tx, |c| sqlx::query(EMPTIED).execute(&mut *c).await.map(|_| ()))?;
    setting::put(tx, CURSOR, &0_i64, now).await
}
