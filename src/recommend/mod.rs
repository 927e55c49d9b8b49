//! The choice: which products suit a person.
//!
//! Candidates come from implicit-feedback matrix factorisation (iALS), item-to-item cosine, text embeddings and popularity; a blend
//! learned on a later time window orders them; rules (stock, bought already, shown lately, diversity) have the last word. Jobs
//! `recommend.embed`, `recommend.train` and `recommend.pick` keep it fresh.

pub mod als;
pub mod base;
pub mod blend;
pub mod evaluate;
pub mod history;
pub mod metrics;
pub mod neighbours;
pub mod ranker;
mod store;

use std::collections::HashMap;

use actix_web::web::ServiceConfig;
use serde::Serialize;

use crate::platform::Db;
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::queue::JobSpec;

/// One product chosen for one person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pick {
    pub product_id: ProductId,
    /// Comparable within one person's list only; higher is better.
    pub score: f64,
    /// Why, in words for a marketer: `Because you bought Oak table`, `Popular in Garden`. Reveals purchases: never shown to strangers.
    pub reason: String,
    /// 1 = best.
    pub rank: i64,
}

/// The newest stored picks of each person, best first, at most `n`. People without picks of their own get what is popular.
/// Stock and purchases may have changed since they were made: [`choose`] checks again.
pub async fn picks_for(db: &Db, people: &[PersonId], n: usize) -> sqlx::Result<HashMap<PersonId, Vec<Pick>>> {
    let mut found = store::picks(db, people, n).await?;
    if found.len() < people.len() {
        let popular = popular(db, n).await?;
        if !popular.is_empty() {
            for person in people {
                found.entry(*person).or_insert_with(|| popular.clone());
            }
        }
    }
    Ok(found)
}

/// What suits anybody: the best of what sells now, best first, at most `n`.
pub async fn popular(db: &Db, n: usize) -> sqlx::Result<Vec<Pick>> {
    Ok(store::picks(db, &[PersonId(0)], n).await?.remove(&PersonId(0)).unwrap_or_default())
}

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
