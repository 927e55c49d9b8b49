//! SQL of the choice: picks, trained models, product vectors.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::types::Json;

use super::Pick;
use crate::platform::ids::{ModelId, PersonId, ProductId};
use crate::platform::{Db, Timestamp, Tx};
use crate::{on, read};

/// Rows per statement: far below SQLite's limit of bound values.
const BATCH: usize = 5_000;

/// Ids travel as one JSON array on SQLite and one BIGINT[] on Postgres.
const PICKS_SQLITE: &str = "SELECT person_id, rank, product_id, score, reason FROM pick
     WHERE person_id IN (SELECT value FROM json_each($1)) AND rank <= $2 ORDER BY person_id, rank";
const PICKS_POSTGRES: &str = "SELECT person_id, rank, product_id, score, reason FROM pick
     WHERE person_id = ANY ($1) AND rank <= $2 ORDER BY person_id, rank";

#[derive(sqlx::FromRow)]
struct PickRow {
    person_id: PersonId,
    rank: i64,
    product_id: ProductId,
    score: f64,
    reason: String,
}

pub(super) async fn picks(db: &Db, people: &[PersonId], n: usize) -> sqlx::Result<HashMap<PersonId, Vec<Pick>>> {
    let mut found: HashMap<PersonId, Vec<Pick>> = HashMap::with_capacity(people.len());
    let limit = i64::try_from(n).unwrap_or(i64::MAX);
    for part in people.chunks(BATCH) {
        let ids: Vec<i64> = part.iter().map(|p| p.0).collect();
        let rows: Vec<PickRow> = match db {
            Db::Sqlite(s) => sqlx::query_as(PICKS_SQLITE).bind(Json(&ids)).bind(limit).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(PICKS_POSTGRES).bind(&ids).bind(limit).fetch_all(p).await?,
        };
        for row in rows {
            let pick = Pick { product_id: row.product_id, score: row.score, reason: row.reason, rank: row.rank };
            found.entry(row.person_id).or_default().push(pick);
        }
    }
    Ok(found)
}

const MOST_SQLITE: &str = "SELECT product_id, COUNT(*) FROM pick
     WHERE person_id IN (SELECT value FROM json_each($1)) AND rank <= $2 GROUP BY product_id";
const MOST_POSTGRES: &str = "SELECT product_id, COUNT(*) FROM pick WHERE person_id = ANY ($1) AND rank <= $2 GROUP BY product_id";

/// For how many of these people each product is among the best `n`.
pub(super) async fn picked_for(db: &Db, people: &[PersonId], n: usize) -> sqlx::Result<Vec<(ProductId, i64)>> {
    let limit = i64::try_from(n).unwrap_or(i64::MAX);
    let ids: Vec<i64> = people.iter().map(|p| p.0).collect();
    match db {
        Db::Sqlite(s) => sqlx::query_as(MOST_SQLITE).bind(Json(&ids)).bind(limit).fetch_all(&s.readers).await,
        Db::Postgres(p) => sqlx::query_as(MOST_POSTGRES).bind(&ids).bind(limit).fetch_all(p).await,
    }
}

const PICKS_DELETE: &str = "DELETE FROM pick WHERE person_id >= $1 AND person_id <= $2";
const PICKS_INSERT_SQLITE: &str = "INSERT INTO pick (person_id, rank, product_id, score, reason, model_id, as_of)
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
            json_extract(value, '$[4]'), $2, $3 FROM json_each($1)
     WHERE json_extract(value, '$[0]') = 0 OR json_extract(value, '$[0]') IN (SELECT id FROM person WHERE erased_at IS NULL)";
const PICKS_INSERT_POSTGRES: &str = "INSERT INTO pick (person_id, rank, product_id, score, reason, model_id, as_of)
     SELECT t.*, $6, $7 FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::DOUBLE PRECISION[], $5::TEXT[]) AS t (person_id, rank, product_id, score, reason)
     WHERE t.person_id = 0 OR t.person_id IN (SELECT id FROM person WHERE erased_at IS NULL)";

/// Puts new picks in the place of all picks of the people `from..=to`. Who was erased while they were chosen gets none.
pub(super) async fn replace_picks(
    tx: &mut Tx,
    from: i64,
    to: i64,
    picks: &[(PersonId, Pick)],
    model: ModelId,
    as_of: Timestamp,
) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(PICKS_DELETE).bind(from).bind(to).execute(&mut *c).await.map(|_| ()))?;
    insert_picks(tx, picks, model, as_of).await
}

async fn insert_picks(tx: &mut Tx, picks: &[(PersonId, Pick)], model: ModelId, as_of: Timestamp) -> sqlx::Result<()> {
    match tx {
        Tx::Sqlite { tx, .. } => {
            let rows: Vec<(i64, i64, i64, f64, &str)> =
                picks.iter().map(|(p, k)| (p.0, k.rank, k.product_id.0, k.score, k.reason.as_str())).collect();
            sqlx::query(PICKS_INSERT_SQLITE).bind(Json(rows)).bind(model).bind(as_of).execute(&mut **tx).await?;
        }
        Tx::Postgres(tx) => {
            let column = |f: fn(&(PersonId, Pick)) -> i64| picks.iter().map(f).collect::<Vec<i64>>();
            sqlx::query(PICKS_INSERT_POSTGRES)
                .bind(column(|(p, _)| p.0))
                .bind(column(|(_, k)| k.rank))
                .bind(column(|(_, k)| k.product_id.0))
                .bind(picks.iter().map(|(_, k)| k.score).collect::<Vec<f64>>())
                .bind(picks.iter().map(|(_, k)| k.reason.clone()).collect::<Vec<String>>())
                .bind(model)
                .bind(as_of)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

const PICKS_FORGET: &str = "DELETE FROM pick WHERE person_id = $1";

/// Drops the picks of erased people: their reasons name purchases.
pub async fn forget_people(tx: &mut Tx, people: &[PersonId]) -> sqlx::Result<()> {
    for person in people {
        on!(&mut *tx, |c| sqlx::query(PICKS_FORGET).bind(*person).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const PICKS_DELETE_OF_SQLITE: &str = "DELETE FROM pick WHERE person_id IN (SELECT value FROM json_each($1))";
const PICKS_DELETE_OF_POSTGRES: &str = "DELETE FROM pick WHERE person_id = ANY ($1)";

/// Puts new picks in the place of all picks of these people.
pub(super) async fn replace_picks_of(
    tx: &mut Tx,
    people: &[PersonId],
    picks: &[(PersonId, Pick)],
    model: ModelId,
    as_of: Timestamp,
) -> sqlx::Result<()> {
    let ids: Vec<i64> = people.iter().map(|p| p.0).collect();
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(PICKS_DELETE_OF_SQLITE).bind(Json(ids)).execute(&mut **tx).await.map(|_| ())?,
        Tx::Postgres(tx) => sqlx::query(PICKS_DELETE_OF_POSTGRES).bind(ids).execute(&mut **tx).await.map(|_| ())?,
    }
    insert_picks(tx, picks, model, as_of).await
}

/// A trained model as it lies in the table.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ModelRow {
    pub id: ModelId,
    pub metrics: Json<Value>,
    pub artifact: Option<Vec<u8>>,
}

const MODEL_LATEST: &str = "SELECT id, metrics, artifact FROM model
     WHERE kind = $1 AND status = 'ready' ORDER BY id DESC LIMIT 1";
const MODEL_LATEST_INFO: &str = "SELECT as_of, params, metrics FROM model WHERE kind = $1 AND status = 'ready' ORDER BY id DESC LIMIT 1";
const MODEL_LATEST_PARAMS: &str = "SELECT params FROM model WHERE kind = $1 AND status = 'ready' ORDER BY id DESC LIMIT 1";
const MODEL_LATEST_ID: &str = "SELECT id FROM model WHERE kind = $1 AND status = 'ready' ORDER BY id DESC LIMIT 1";
const MODEL_INSERT: &str = "INSERT INTO model (kind, status, as_of, params, metrics, artifact, created_at)
     VALUES ($1, 'ready', $2, $3, $4, $5, $6) RETURNING id";
const MODEL_PRUNE: &str = "DELETE FROM model WHERE kind = $1 AND id < $2
     AND id NOT IN (SELECT id FROM model WHERE kind = $1 ORDER BY id DESC LIMIT 3)
     AND NOT EXISTS (SELECT 1 FROM pick WHERE pick.model_id = model.id)";

pub(super) async fn latest_model(db: &Db, kind: &str) -> sqlx::Result<Option<ModelRow>> {
    read!(*db, |c| sqlx::query_as(MODEL_LATEST).bind(kind).fetch_optional(c).await)
}

/// The parameters of the newest model, without its weights.
pub(super) async fn latest_params(db: &Db, kind: &str) -> sqlx::Result<Option<Value>> {
    let found: Option<Json<Value>> = read!(*db, |c| sqlx::query_scalar(MODEL_LATEST_PARAMS).bind(kind).fetch_optional(c).await)?;
    Ok(found.map(|Json(v)| v))
}

/// When and from what the newest model was made.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct ModelInfo {
    pub as_of: Timestamp,
    pub params: Json<Value>,
    pub metrics: Json<Value>,
}

pub(super) async fn latest_info(db: &Db, kind: &str) -> sqlx::Result<Option<ModelInfo>> {
    read!(*db, |c| sqlx::query_as(MODEL_LATEST_INFO).bind(kind).fetch_optional(c).await)
}

pub(super) async fn latest_model_id(db: &Db, kind: &str) -> sqlx::Result<Option<ModelId>> {
    read!(*db, |c| sqlx::query_scalar(MODEL_LATEST_ID).bind(kind).fetch_optional(c).await)
}

/// Stores a model and drops old ones of its kind that nothing refers to.
pub(super) async fn insert_model(
    tx: &mut Tx,
    kind: &str,
    as_of: Timestamp,
    params: &Value,
    metrics: &Value,
    artifact: &[u8],
    now: Timestamp,
) -> sqlx::Result<ModelId> {
    let id: ModelId = on!(tx, |c| {
        sqlx::query_scalar(MODEL_INSERT)
            .bind(kind)
            .bind(as_of)
            .bind(Json(params))
            .bind(Json(metrics))
            .bind(artifact)
            .bind(now)
            .fetch_one(&mut *c)
            .await
    })?;
    on!(tx, |c| sqlx::query(MODEL_PRUNE).bind(kind).bind(id).execute(&mut *c).await.map(|_| ()))?;
    Ok(id)
}

const VECTOR_HASHES: &str = "SELECT product_id, content_hash FROM product_vector WHERE encoder = $1";
const VECTORS: &str = "SELECT product_id, vector FROM product_vector WHERE encoder = $1";
const VECTOR_COUNT: &str = "SELECT COUNT(*) FROM product_vector WHERE encoder = $1";
const VECTOR_PUT: &str = "INSERT INTO product_vector (product_id, encoder, content_hash, vector, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (encoder, product_id) DO UPDATE SET content_hash = excluded.content_hash, vector = excluded.vector, created_at = excluded.created_at";
const VECTORS_DROP_OTHERS: &str = "DELETE FROM product_vector WHERE encoder LIKE 'catalogue@%' AND encoder <> $1";

/// Which text each product was last embedded with.
pub(super) async fn vector_hashes(db: &Db, encoder: &str) -> sqlx::Result<HashMap<ProductId, String>> {
    let rows: Vec<(ProductId, String)> = read!(*db, |c| sqlx::query_as(VECTOR_HASHES).bind(encoder).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

/// All vectors of an encoder.
pub(super) async fn vectors(db: &Db, encoder: &str) -> sqlx::Result<HashMap<ProductId, Vec<f32>>> {
    let rows: Vec<(ProductId, Vec<u8>)> = read!(*db, |c| sqlx::query_as(VECTORS).bind(encoder).fetch_all(c).await)?;
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(rows.into_iter().map(|(id, bytes)| (id, floats(&bytes))).collect())
}

/// How many vectors there are: answered by the index alone.
pub(super) async fn vectors_count(db: &Db, encoder: &str) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar(VECTOR_COUNT).bind(encoder).fetch_one(c).await)
}

/// Stores vectors. At most some hundred per transaction.
pub(super) async fn put_vectors(tx: &mut Tx, encoder: &str, rows: &[(ProductId, &str, &[f32])], now: Timestamp) -> sqlx::Result<()> {
    for (product, hash, vector) in rows {
        let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
        on!(tx, |c| {
            sqlx::query(VECTOR_PUT).bind(*product).bind(encoder).bind(*hash).bind(bytes).bind(now).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Vectors of earlier fits of the catalogue encoder, which nobody can compare with any more.
pub(super) async fn drop_stale_vectors(tx: &mut Tx, encoder: &str) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(VECTORS_DROP_OTHERS).bind(encoder).execute(&mut *c).await.map(|_| ()))
}

const UNSELLABLE: &str = "SELECT id FROM product WHERE retired_at IS NOT NULL OR NOT available OR (stock IS NOT NULL AND stock <= 0)
     OR COALESCE(sale_price_minor, price_minor) <= 0";

/// Products that may not be shown now (the same rule as `Product::sellable`), asked freshly for every choice: stock moves.
pub(super) async fn unsellable(db: &Db) -> sqlx::Result<HashSet<ProductId>> {
    let ids: Vec<ProductId> = read!(*db, |c| sqlx::query_scalar(UNSELLABLE).fetch_all(c).await)?;
    Ok(ids.into_iter().collect())
}

const PRODUCTS_STAMP: &str = "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM product";

/// Changes whenever a product is added.
pub(super) async fn products_stamp(db: &Db) -> sqlx::Result<(i64, i64)> {
    read!(*db, |c| sqlx::query_as(PRODUCTS_STAMP).fetch_one(c).await)
}
