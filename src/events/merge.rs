//! Merging and forgetting people, through every slice that holds facts about them.

use super::model::EventError;
use super::{orders, store};
use crate::people::{self, Ids, Trust};
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::PersonId;
use crate::touches;

/// Finds or creates one person, moving everything of profiles that turn out to be the same.
pub async fn resolve(tx: &mut Tx, ids: &Ids, trust: Trust, now: Timestamp) -> Result<PersonId, EventError> {
    let resolved = people::resolve(tx, ids, trust, now).await?;
    for from in &resolved.merged {
        merged(tx, *from, resolved.id, now).await?;
    }
    Ok(resolved.id)
}

/// Makes `from` part of `into`, with events, orders and touches.
pub async fn merge(tx: &mut Tx, from: PersonId, into: PersonId, now: Timestamp) -> Result<(), EventError> {
    people::merge(tx, from, into, now).await?;
    merged(tx, from, into, now).await
}

/// After `people` made `from` part of `into`: events, orders and touches follow.
pub(super) async fn merged(tx: &mut Tx, from: PersonId, into: PersonId, now: Timestamp) -> Result<(), EventError> {
    store::move_person(tx, from, into).await?;
    orders::move_person(tx, from, into, now).await?;
    touches::reassign_person(tx, from, into, now).await?;
    Ok(())
}

/// An erased person's part of this slice and of `touches`: events keep what happened and when, orders their money without the person, and
/// what was planned is cancelled. `privacy::erase` calls this.
pub async fn forget_person(tx: &mut Tx, person: PersonId, now: Timestamp) -> sqlx::Result<()> {
    store::blank_person(tx, person).await?;
    orders::forget_person(tx, person, now).await?;
    touches::forget_person(tx, person, now).await
}
