//! A person's rights: everything that is kept about them, and its erasure. `events::privacy` adds events and orders.

use serde::Serialize;

use super::consent::{self, ConsentLine, Suppression};
use super::model::{Consent, PeopleError, Person};
use super::store;
use super::traits::{Traits, traits_many};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::PersonId;

/// What this slice keeps about one person.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Export {
    pub person: Person,
    /// Pairs of kind (external, anonymous, email) and value.
    pub identities: Vec<(String, String)>,
    pub consent_history: Vec<ConsentLine>,
    pub suppression: Option<Suppression>,
    pub traits: Option<Traits>,
}

pub async fn export(db: &Db, id: PersonId) -> Result<Export, PeopleError> {
    let person = store::get(db, id).await?.ok_or(PeopleError::NotFound)?;
    let suppression = match &person.email_key {
        Some(key) => consent::suppression(db, key).await?,
        None => None,
    };
    Ok(Export {
        identities: store::identities_of(db, id).await?,
        consent_history: consent::history(db, id).await?,
        suppression,
        traits: traits_many(db, &[id]).await?.remove(&id),
        person,
    })
}

/// Blanks a person: fields, names and traits go; of an address that must not be written to only a hash stays. The row remains, so that
/// counts and references stand. Events, orders and touches are blanked by `events::privacy::erase`, which calls this. Idempotent.
pub async fn erase(tx: &mut Tx, id: PersonId, now: Timestamp) -> Result<(), PeopleError> {
    let person = store::get_many_in(tx, &[id]).await?.remove(&id).ok_or(PeopleError::NotFound)?;
    if let Some(key) = &person.email_key {
        consent::hide_address(tx, key, person.email_consent == Consent::Unsubscribed, now).await?;
    }
    store::blank(tx, id, now.0).await?;
    Ok(())
}
