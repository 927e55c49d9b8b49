//! SQL of the choice: picks, trained models, product vectors, and the facts it learns from.

use std::collections::HashMap;

use super::Pick;
use crate::platform::Db;
use crate::platform::ids::{PersonId, ProductId};

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
            Db::Sqlite(s) => sqlx::query_as(PICKS_SQLITE).bind(sqlx::types::Json(&ids)).bind(limit).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(PICKS_POSTGRES).bind(&ids).bind(limit).fetch_all(p).await?,
        };
        for row in rows {
            let pick = Pick { product_id: row.product_id, score: row.score, reason: row.reason, rank: row.rank };
            found.entry(row.person_id).or_default().push(pick);
        }
    }
    Ok(found)
}
