//! The choice: which products suit a person.
//!
//! Candidates come from implicit-feedback matrix factorisation (iALS), item-to-item cosine, text embeddings and popularity; a blend
//! learned on a later time window orders them; rules (stock, bought already, shown lately, diversity) have the last word. Jobs
//! `recommend.embed`, `recommend.train` and `recommend.pick` keep it fresh.

mod about;
pub mod als;
mod artifact;
pub mod base;
pub mod blend;
mod chooser;
pub mod embed;
pub mod evaluate;
mod facts;
pub mod history;
mod index;
pub mod metrics;
pub mod neighbours;
pub mod ranker;
mod rules;
mod store;
pub mod train;

use std::collections::HashMap;

use actix_web::web::ServiceConfig;
use serde::Serialize;

use crate::job;
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::queue::JobSpec;
use crate::platform::{Db, Platform, Timestamp};

pub use about::{Similar, picked_by, picked_count, picked_everywhere, similar};
pub use chooser::Chooser;
pub use rules::ChoiceRules;
pub use store::forget_people;

/// One product chosen for one person.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Pick {
    #[schema(value_type = String)]
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

/// The stored picks of one person's own, for the file of everything that is kept about them.
pub async fn own_picks(db: &Db, person: PersonId) -> sqlx::Result<Vec<Pick>> {
    Ok(store::picks(db, &[person], usize::from(u16::MAX)).await?.remove(&person).unwrap_or_default())
}

/// For how many of these people each product is among the stored best `n`. At most some thousand people at a time.
pub async fn picked_for(db: &Db, people: &[PersonId], n: usize) -> sqlx::Result<Vec<(ProductId, i64)>> {
    store::picked_for(db, people, n).await
}

/// What suits anybody: the best of what sells now, best first, at most `n`.
pub async fn popular(db: &Db, n: usize) -> sqlx::Result<Vec<Pick>> {
    Ok(store::picks(db, &[PersonId(0)], n).await?.remove(&PersonId(0)).unwrap_or_default())
}

/// Chooses products for these people as of an instant, from the model in memory and their newest events: stock, purchases and what they
/// were shown lately are checked now. People without a history get what is popular; nobody is missing from the answer (a list may be
/// empty where nothing may be shown). Ask for some hundred people at a time.
pub async fn choose(
    platform: &Platform,
    rules: &ChoiceRules,
    people: &[PersonId],
    as_of: Timestamp,
) -> anyhow::Result<HashMap<PersonId, Vec<Pick>>> {
    Chooser::load(platform, as_of).await?.choose(platform, rules, people, as_of).await
}

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("recommend.embed", embed::embed), job!("recommend.train", train::train), job!("recommend.pick", train::pick)]
}
