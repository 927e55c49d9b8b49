//! What a page suggests while somebody types: names of events and of their properties, as they came lately.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::platform::db::Db;
use crate::read;

/// How many of the newest events are looked at (read backwards from event_time).
const LOOKED_AT: i64 = 3_000;
/// Most names in the answer.
const MOST: usize = 100;

const NEWEST: &str = "SELECT name, properties FROM event ORDER BY occurred_at DESC LIMIT $1";

/// Names among the newest events, the most frequent first.
#[derive(Clone, Debug, Default)]
pub struct EventNames {
    pub events: Vec<String>,
    pub properties: Vec<String>,
}

pub async fn recent_names(db: &Db) -> sqlx::Result<EventNames> {
    let rows: Vec<(String, Json<Map<String, Value>>)> = read!(*db, |c| sqlx::query_as(NEWEST).bind(LOOKED_AT).fetch_all(c).await)?;
    let (mut events, mut properties) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    for (name, Json(map)) in rows {
        *events.entry(name).or_default() += 1;
        for (key, value) in map {
            // What is nested cannot be compared.
            if !value.is_object() && !value.is_array() {
                *properties.entry(key).or_default() += 1;
            }
        }
    }
    Ok(EventNames { events: frequent(events), properties: frequent(properties) })
}

fn frequent(counts: BTreeMap<String, i64>) -> Vec<String> {
    let mut names: Vec<(String, i64)> = counts.into_iter().collect();
    names.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    names.into_iter().take(MOST).map(|(name, _)| name).collect()
}
