//! SQL of the catalogue.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};
use sqlx::types::Json;

use super::asset::{self, Asset, Picture, PictureError};
use super::figures;
use super::index;
use super::model::{CatalogError, NewProduct, Product};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::ProductId;
use crate::platform::money::{Currency, Money};
use crate::{on, read};

/// Rows in one statement; a transaction of one such statement stays well under 50 ms.
pub(super) const BATCH: usize = 1_000;

macro_rules! columns {
    () => {
        "id, sku, title, description, brand, category_path, price_minor, sale_price_minor, currency, stock, available, url, image_url, \
         image_hash, attributes, content_hash, created_at, updated_at, retired_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: ProductId,
    sku: String,
    title: String,
    description: String,
    brand: Option<String>,
    category_path: String,
    price_minor: i64,
    sale_price_minor: Option<i64>,
    currency: String,
    stock: Option<i64>,
    available: bool,
    url: Option<String>,
    image_url: Option<String>,
    image_hash: Option<String>,
    attributes: Json<Map<String, Value>>,
    content_hash: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    retired_at: Option<Timestamp>,
}

impl TryFrom<Row> for Product {
    type Error = sqlx::Error;
    fn try_from(r: Row) -> Result<Self, sqlx::Error> {
        let currency: Currency = r.currency.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok(Self {
            id: r.id,
            sku: r.sku,
            title: r.title,
            description: r.description,
            brand: r.brand,
            category_path: r.category_path,
            price: Money::new(r.price_minor, currency),
            sale_price: r.sale_price_minor.map(|minor| Money::new(minor, currency)),
            stock: r.stock,
            available: r.available,
            url: r.url,
            image_url: r.image_url,
            image_hash: r.image_hash,
            attributes: r.attributes.0,
            content_hash: r.content_hash,
            created_at: r.created_at,
            updated_at: r.updated_at,
            retired_at: r.retired_at,
        })
    }
}

fn products(rows: Vec<Row>) -> sqlx::Result<Vec<Product>> {
    rows.into_iter().map(Product::try_from).collect()
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM product WHERE id = $1");
const BY_SKU: &str = concat!("SELECT ", columns!(), " FROM product WHERE sku = $1");
const BY_IDS_SQLITE: &str = concat!("SELECT ", columns!(), " FROM product WHERE id IN (SELECT value FROM json_each($1))");
const BY_IDS_POSTGRES: &str = concat!("SELECT ", columns!(), " FROM product WHERE id = ANY($1)");
const ALL: &str = concat!("SELECT ", columns!(), " FROM product ORDER BY id");
const PAGE: &str = concat!("SELECT ", columns!(), " FROM product WHERE id > $1 ORDER BY id LIMIT $2");
const CHANGED: &str = concat!("SELECT ", columns!(), " FROM product WHERE updated_at >= $1 ORDER BY updated_at, id");
const PICTURELESS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM product WHERE image_hash IS NULL AND image_url IS NOT NULL AND retired_at IS NULL AND id > $1 ORDER BY id LIMIT $2"
);
const COUNT: &str = "SELECT COUNT(*) FROM product WHERE retired_at IS NULL";

/// The product with this id.
pub async fn get(db: &Db, id: ProductId) -> sqlx::Result<Option<Product>> {
    read!(*db, |c| sqlx::query_as::<_, Row>(BY_ID).bind(id).fetch_optional(c).await)?.map(Product::try_from).transpose()
}

/// The product with this sku, exactly as written.
pub async fn get_by_sku(db: &Db, sku: &str) -> sqlx::Result<Option<Product>> {
    read!(*db, |c| sqlx::query_as::<_, Row>(BY_SKU).bind(sku).fetch_optional(c).await)?.map(Product::try_from).transpose()
}

/// Those of the ids that exist, also retired ones.
pub async fn get_many(db: &Db, ids: &[ProductId]) -> sqlx::Result<HashMap<ProductId, Product>> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(10_000) {
        let plain: Vec<i64> = some.iter().map(|id| id.0).collect();
        let rows: Vec<Row> = match db {
            Db::Sqlite(s) => sqlx::query_as(BY_IDS_SQLITE).bind(Json(plain)).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(BY_IDS_POSTGRES).bind(plain).fetch_all(p).await?,
        };
        found.extend(products(rows)?.into_iter().map(|p| (p.id, p)));
    }
    Ok(found)
}

/// The whole catalogue, also what is retired, by id.
pub async fn all(db: &Db) -> sqlx::Result<Vec<Product>> {
    products(read!(*db, |c| sqlx::query_as::<_, Row>(ALL).fetch_all(c).await)?)
}

/// The next `limit` products after an id (start with `ProductId(0)`), also retired ones.
pub async fn page(db: &Db, after: ProductId, limit: i64) -> sqlx::Result<Vec<Product>> {
    products(read!(*db, |c| sqlx::query_as::<_, Row>(PAGE).bind(after).bind(limit).fetch_all(c).await)?)
}

/// What was written at `since` or later: for snapshots in memory that follow the catalogue.
pub async fn changed_since(db: &Db, since: Timestamp) -> sqlx::Result<Vec<Product>> {
    products(read!(*db, |c| sqlx::query_as::<_, Row>(CHANGED).bind(since).fetch_all(c).await)?)
}

/// Products that name a picture which we do not hold.
pub async fn without_picture(db: &Db, after: ProductId, limit: i64) -> sqlx::Result<Vec<Product>> {
    products(read!(*db, |c| sqlx::query_as::<_, Row>(PICTURELESS).bind(after).bind(limit).fetch_all(c).await)?)
}

/// How many products are not retired.
pub async fn count(db: &Db) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar(COUNT).fetch_one(c).await)
}

const IDS_BY_SKU_SQLITE: &str = "SELECT sku, id FROM product WHERE sku IN (SELECT value FROM json_each($1))";
const IDS_BY_SKU_POSTGRES: &str = "SELECT sku, id FROM product WHERE sku = ANY($1)";

/// The ids of those skus that exist.
pub async fn by_sku(db: &Db, skus: &[&str]) -> sqlx::Result<HashMap<String, ProductId>> {
    let mut found = HashMap::with_capacity(skus.len());
    for some in skus.chunks(10_000) {
        let rows: Vec<(String, ProductId)> = match db {
            Db::Sqlite(s) => sqlx::query_as(IDS_BY_SKU_SQLITE).bind(Json(some)).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(IDS_BY_SKU_POSTGRES).bind(some).fetch_all(p).await?,
        };
        found.extend(rows);
    }
    Ok(found)
}

/// As [`by_sku`], inside an open transaction.
pub async fn by_sku_in(tx: &mut Tx, skus: &[&str]) -> sqlx::Result<HashMap<String, ProductId>> {
    let mut found = HashMap::with_capacity(skus.len());
    for some in skus.chunks(10_000) {
        let rows: Vec<(String, ProductId)> = match tx {
            Tx::Sqlite { tx, .. } => sqlx::query_as(IDS_BY_SKU_SQLITE).bind(Json(some)).fetch_all(&mut **tx).await?,
            Tx::Postgres(tx) => sqlx::query_as(IDS_BY_SKU_POSTGRES).bind(some).fetch_all(&mut **tx).await?,
        };
        found.extend(rows);
    }
    Ok(found)
}

/// What a bulk upsert did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkUpsert {
    /// One id for each product given, in the same order.
    pub ids: Vec<ProductId>,
    pub inserted: usize,
    pub updated: usize,
    /// Found as they were, and not touched.
    pub unchanged: usize,
}

macro_rules! insert_from {
    ($source:expr, $conflict:expr) => {
        concat!(
            "INSERT INTO product (sku, title, description, brand, category_path, price_minor, sale_price_minor, currency, stock, available,
                 url, image_url, image_hash, attributes, content_hash, created_at, updated_at) ",
            $source,
            " ON CONFLICT (sku) ",
            $conflict,
            " RETURNING sku, id"
        )
    };
}
macro_rules! from_sqlite {
    () => {
        "SELECT value ->> 'sku', value ->> 'title', value ->> 'description', value ->> 'brand', value ->> 'category_path',
             value ->> 'price_minor', value ->> 'sale_price_minor', value ->> 'currency', value ->> 'stock', value ->> 'available',
             value ->> 'url', value ->> 'image_url', value ->> 'image_hash', value -> 'attributes', value ->> 'content_hash', $2, $2
         FROM json_each($1) WHERE true"
    };
}
macro_rules! from_postgres {
    () => {
        "SELECT sku, title, description, brand, category_path, price_minor, sale_price_minor, currency, stock, available, url, image_url,
             image_hash, attributes, content_hash, $2, $2
         FROM jsonb_to_recordset($1) AS r (sku TEXT, title TEXT, description TEXT, brand TEXT, category_path TEXT, price_minor BIGINT,
             sale_price_minor BIGINT, currency TEXT, stock BIGINT, available BOOLEAN, url TEXT, image_url TEXT, image_hash TEXT,
             attributes JSONB, content_hash TEXT)"
    };
}
// The picture we hold stays for as long as the address it came from does.
macro_rules! replace {
    () => {
        "DO UPDATE SET title = excluded.title, description = excluded.description, brand = excluded.brand,
             category_path = excluded.category_path, price_minor = excluded.price_minor, sale_price_minor = excluded.sale_price_minor,
             currency = excluded.currency, stock = excluded.stock, available = excluded.available, url = excluded.url,
             image_url = excluded.image_url, attributes = excluded.attributes, content_hash = excluded.content_hash,
             image_hash = COALESCE(excluded.image_hash,
                 CASE WHEN excluded.image_url IS NOT DISTINCT FROM product.image_url THEN product.image_hash END),
             updated_at = excluded.updated_at
         WHERE product.content_hash <> excluded.content_hash OR product.price_minor <> excluded.price_minor
             OR product.sale_price_minor IS DISTINCT FROM excluded.sale_price_minor OR product.currency <> excluded.currency
             OR product.stock IS DISTINCT FROM excluded.stock OR product.available <> excluded.available
             OR product.url IS DISTINCT FROM excluded.url OR product.image_url IS DISTINCT FROM excluded.image_url
             OR (excluded.image_hash IS NOT NULL AND product.image_hash IS DISTINCT FROM excluded.image_hash)
             OR product.attributes <> excluded.attributes"
    };
}
const UPSERT_SQLITE: &str = insert_from!(from_sqlite!(), replace!());
const UPSERT_POSTGRES: &str = insert_from!(from_postgres!(), replace!());
const INSERT_SQLITE: &str = insert_from!(from_sqlite!(), "DO NOTHING");
const INSERT_POSTGRES: &str = insert_from!(from_postgres!(), "DO NOTHING");

/// Inserts or replaces by sku; rows that would not change are not written. Of a sku given twice the last one counts. A retired product
/// stays retired ([`restore`]).
///
/// # Errors
/// [`CatalogError::Invalid`] names the first product that breaks a rule; nothing was written then.
pub async fn bulk_upsert(tx: &mut Tx, new: &[NewProduct], now: Timestamp) -> Result<BulkUpsert, CatalogError> {
    write(tx, new, now, UPSERT_SQLITE, UPSERT_POSTGRES).await
}

/// Inserts the products whose sku is not known yet and leaves all others as they are (counted as unchanged).
pub async fn insert_missing(tx: &mut Tx, new: &[NewProduct], now: Timestamp) -> Result<BulkUpsert, CatalogError> {
    write(tx, new, now, INSERT_SQLITE, INSERT_POSTGRES).await
}

async fn write(
    tx: &mut Tx,
    new: &[NewProduct],
    now: Timestamp,
    sqlite: &'static str,
    postgres: &'static str,
) -> Result<BulkUpsert, CatalogError> {
    let mut checked = Vec::with_capacity(new.len());
    for (index, product) in new.iter().enumerate() {
        checked.push(product.clone().checked().map_err(|(field, why)| CatalogError::Invalid {
            index,
            sku: product.sku.chars().take(super::model::MAX_SKU).collect(),
            field,
            why,
        })?);
    }
    let mut done = BulkUpsert::default();
    for some in checked.chunks(BATCH) {
        let skus: Vec<&str> = some.iter().map(|p| p.sku.as_str()).collect();
        let mut ids = by_sku_in(tx, &skus).await?;
        let known: HashSet<String> = ids.keys().cloned().collect();
        // One row per sku, and always in the same order: two writers at once cannot wait for each other in a circle.
        let last: BTreeMap<&str, &NewProduct> = some.iter().map(|p| (p.sku.as_str(), p)).collect();
        let rows: Vec<Value> = last.values().map(|p| as_row(p)).collect();
        let distinct = rows.len();
        let texts = index::text_hashes(tx, &skus).await?;
        let rows = Json(rows);
        let written: Vec<(String, ProductId)> = match tx {
            Tx::Sqlite { tx, .. } => sqlx::query_as(sqlite).bind(&rows).bind(now).fetch_all(&mut **tx).await?,
            Tx::Postgres(tx) => sqlx::query_as(postgres).bind(&rows).bind(now).fetch_all(&mut **tx).await?,
        };
        done.unchanged += distinct - written.len();
        let (mut reworded, mut fresh) = (Vec::new(), Vec::new());
        for (sku, id) in written {
            if let Some(product) = last.get(sku.as_str()).filter(|p| texts.get(&sku) != Some(&p.content_hash())) {
                reworded.push((id, product.words()));
            }
            if known.contains(&sku) {
                done.updated += 1;
            } else {
                done.inserted += 1;
                fresh.push(id.0);
            }
            ids.insert(sku, id);
        }
        index::put_words(tx, &reworded).await?;
        figures::make(tx, &fresh).await?;
        for sku in skus {
            done.ids.push(*ids.get(sku).ok_or(sqlx::Error::RowNotFound)?);
        }
    }
    Ok(done)
}

fn as_row(p: &NewProduct) -> Value {
    json!({
        "sku": p.sku, "title": p.title, "description": p.description, "brand": p.brand, "category_path": p.category_path,
        "price_minor": p.price.minor, "sale_price_minor": p.sale_price.map(|m| m.minor), "currency": p.price.currency, "stock": p.stock,
        "available": p.available, "url": p.url, "image_url": p.image_url, "image_hash": p.image_hash, "attributes": p.attributes,
        "content_hash": p.content_hash(),
    })
}

const RETIRE: &str = "UPDATE product SET retired_at = $2, updated_at = $2 WHERE id = $1 AND retired_at IS NULL";
const RESTORE: &str = "UPDATE product SET retired_at = NULL, updated_at = $2 WHERE id = $1 AND retired_at IS NOT NULL";

/// Takes a product out of every choice; orders and touches keep pointing at it. `false` where it was retired already.
pub async fn retire(tx: &mut Tx, id: ProductId, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(RETIRE).bind(id).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

/// Offers a retired product again. `false` where it was not retired.
pub async fn restore(tx: &mut Tx, id: ProductId, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(RESTORE).bind(id).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

const SET_STOCK: &str = "UPDATE product SET stock = $2, updated_at = $3 WHERE id = $1 AND stock IS DISTINCT FROM $2";
const MOVE_STOCK: &str = "UPDATE product SET stock = CASE WHEN stock + $2 < 0 THEN 0 ELSE stock + $2 END, updated_at = $3
     WHERE id = $1 AND stock IS NOT NULL";

/// Sets what is counted; `None` stops counting. `false` where nothing changed.
pub async fn set_stock(tx: &mut Tx, id: ProductId, stock: Option<i64>, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(SET_STOCK).bind(id).bind(stock).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

/// Adds (or, below zero, takes) pieces of a counted stock, which never falls below zero. `false` where stock is not counted.
pub async fn move_stock(tx: &mut Tx, id: ProductId, pieces: i64, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(MOVE_STOCK).bind(id).bind(pieces).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

const SET_AVAILABLE: &str = "UPDATE product SET available = $2, updated_at = $3 WHERE id = $1 AND available <> $2";

/// Says whether the shop sells it. `false` where nothing changed.
pub async fn set_available(tx: &mut Tx, id: ProductId, available: bool, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(SET_AVAILABLE).bind(id).bind(available).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

const SET_IMAGE: &str = "UPDATE product SET image_hash = $2, updated_at = $3 WHERE id = $1 AND image_hash IS DISTINCT FROM $2";

/// Names the stored picture of a product.
pub async fn set_image(tx: &mut Tx, id: ProductId, hash: Option<&str>, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(SET_IMAGE).bind(id).bind(hash).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

const PUT_ASSET: &str =
    "INSERT INTO asset (hash, mime, bytes, width, height, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (hash) DO NOTHING";
const ASSET: &str = "SELECT hash, mime, bytes, width, height FROM asset WHERE hash = $1";

/// Keeps bytes whose kind and size the caller knows (drawn by us); returns their SHA-256 (hex). For bytes from outside use
/// [`Picture::inspect`] and [`put_picture`].
pub async fn put_asset(tx: &mut Tx, mime: &str, bytes: &[u8], width: u32, height: u32, now: Timestamp) -> Result<String, CatalogError> {
    if !asset::servable(mime) {
        return Err(PictureError::Mime(mime.to_owned()).into());
    }
    let hash = asset::hash_of(bytes);
    on!(tx, |c| sqlx::query(PUT_ASSET)
        .bind(&hash)
        .bind(mime)
        .bind(bytes)
        .bind(i64::from(width))
        .bind(i64::from(height))
        .bind(now)
        .execute(&mut *c)
        .await
        .map(|_| ()))?;
    Ok(hash)
}

/// Keeps an inspected picture; returns its SHA-256 (hex).
pub async fn put_picture(tx: &mut Tx, picture: &Picture, now: Timestamp) -> Result<String, CatalogError> {
    put_asset(tx, picture.mime, &picture.bytes, picture.width, picture.height, now).await
}

/// The stored bytes behind a hash.
pub async fn asset(db: &Db, hash: &str) -> sqlx::Result<Option<Asset>> {
    read!(*db, |c| sqlx::query_as(ASSET).bind(hash).fetch_optional(c).await)
}
