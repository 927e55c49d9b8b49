//! A person's rights across all slices: everything that is kept about them handed out, and erased.
//!
//! Who erases here knows every slice that holds something about a person; a new table with a `person_id` has its line in [`erase`].

mod api;

use actix_web::web::ServiceConfig;
use serde::Serialize;

use crate::events::orders::Order;
use crate::events::{Event, EventError};
use crate::platform::Platform;
use crate::platform::db::Db;
use crate::platform::ids::PersonId;
use crate::recommend::Pick;
use crate::{audience, delivery, events, people, recommend, touches, webhooks};

pub use api::openapi;

/// Most rows of each kind in an export; beyond any person, short of any trouble.
const MAX_ROWS: i64 = 100_000;

/// Everything that is kept about one person.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PersonFile {
    #[serde(flatten)]
    pub profile: people::Export,
    /// Newest first.
    pub events: Vec<Event>,
    pub orders: Vec<Order>,
    /// Mails and ads planned, sent and shown.
    #[schema(value_type = Vec<Object>)]
    pub touches: Vec<touches::Touch>,
    /// What was chosen for them, and why.
    pub picks: Vec<Pick>,
}

pub async fn export(db: &Db, id: PersonId) -> Result<PersonFile, EventError> {
    Ok(PersonFile {
        profile: people::export(db, id).await?,
        events: events::timeline(db, id, None, MAX_ROWS).await?,
        orders: events::orders::of_person(db, id, MAX_ROWS).await?,
        touches: touches::page_of_person(db, id, None, MAX_ROWS).await?,
        picks: recommend::own_picks(db, id).await?,
    })
}

/// Erases a person everywhere, in one transaction: profile, names, traits, properties of events, picks (their reasons name purchases),
/// segment membership, bounces' hashes; orders keep their money and lose the person; what was planned for them is cancelled. What stays is
/// a row without content, and a keyed hash of each name so that no old file brings them back. Idempotent.
pub async fn erase(platform: &Platform, person: PersonId) -> Result<(), EventError> {
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let erased = people::erase(&mut tx, &platform.signer, person, now).await?;
    for id in &erased.ids {
        events::forget_person(&mut tx, *id, now).await?;
    }
    audience::forget_people(&mut tx, &erased.ids).await?;
    recommend::forget_people(&mut tx, &erased.ids).await?;
    delivery::forget_addresses(&mut tx, &erased.emails).await?;
    webhooks::forget_people(&mut tx, &erased.ids).await?;
    tx.commit().await?;
    Ok(())
}

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}
