//! What a page suggests while somebody types: names of attributes that people carry.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::platform::db::Db;
use crate::read;

/// How many of the newest people are looked at.
const LOOKED_AT: i64 = 500;
/// Most names in the answer.
const MOST: usize = 100;

const NEWEST: &str = "SELECT attributes FROM person WHERE erased_at IS NULL ORDER BY id DESC LIMIT $1";

/// Names of open attributes among the newest people, the most frequent first.
pub async fn attribute_names(db: &Db) -> sqlx::Result<Vec<String>> {
    let rows: Vec<Json<Map<String, Value>>> = read!(*db, |c| sqlx::query_scalar(NEWEST).bind(LOOKED_AT).fetch_all(c).await)?;
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for Json(map) in rows {
        for key in map.keys() {
            *counts.entry(key.clone()).or_default() += 1;
        }
    }
    let mut names: Vec<(String, i64)> = counts.into_iter().collect();
    names.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    Ok(names.into_iter().take(MOST).map(|(name, _)| name).collect())
}
