//! A person's rights: everything that is kept about them, and its erasure. `privacy` adds what the other slices hold.

use serde::Serialize;

use super::consent::{self, ConsentLine, Suppression};
use super::model::{Consent, Identity, PeopleError, Person};
use super::traits::{Traits, traits_many};
use super::{store, tombstone};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::PersonId;
use crate::platform::token::Signer;

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

/// A person merged into one who was merged, and so on: longer chains do not come about by hand, and a circle must end.
const MAX_MERGES: u32 = 100;

/// What an erase took away, for the slices that hold more about the person.
#[derive(Clone, Debug)]
pub struct Erased {
    /// The person, and everybody who had become part of them.
    pub ids: Vec<PersonId>,
    /// The addresses they went by, as keys.
    pub emails: Vec<String>,
}

/// Blanks a person: fields, names and traits go; of an address that must not be written to only a hash stays, and of every name a keyed
/// hash, so that an old file does not bring them back. The row remains, so that counts and references stand. An id that was merged into
/// another means that one. The other slices' part is done by `privacy::erase`, which calls this. Idempotent.
pub async fn erase(tx: &mut Tx, signer: &Signer, id: PersonId, now: Timestamp) -> Result<Erased, PeopleError> {
    let mut person = store::get_many_in(tx, &[id]).await?.remove(&id).ok_or(PeopleError::NotFound)?;
    let mut steps = 0;
    while let Some(into) = person.merged_into.filter(|_| steps < MAX_MERGES) {
        steps += 1;
        person = store::get_many_in(tx, &[into]).await?.remove(&into).ok_or(PeopleError::NotFound)?;
    }
    let mut names = store::names_in(tx, person.id).await?;
    names.extend(person.external_id.clone().map(Identity::External));
    names.extend(person.email_key.clone().map(Identity::Email));
    names.sort();
    names.dedup();
    tombstone::bury(tx, signer, &names, now).await?;
    let emails: Vec<String> = names.into_iter().filter_map(|n| if let Identity::Email(key) = n { Some(key) } else { None }).collect();
    for key in &emails {
        consent::hide_address(tx, key, person.email_consent == Consent::Unsubscribed, now).await?;
    }
    store::blank(tx, person.id, now.0).await?;
    Ok(Erased { ids: store::with_merged(tx, person.id).await?, emails })
}
