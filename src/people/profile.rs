//! Profiles: merging what comes in into what is there, one by one or thousands at a time.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::model::{Channel, Consent, NewPerson, PeopleError, Person, Trust, check_attributes};
use super::resolve::{Request, resolve_many};
use super::{consent, store};
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::PersonId;

/// Attribute under which an address is kept that nobody vouched for.
const CLAIMED_EMAIL: &str = "claimed_email";

/// Finds or creates everybody and merges what is known of them; for imports and the API, so the shop itself vouches for the ids. Profiles
/// are not merged with each other here: where a row ties two together, the one with the external id gets it all and the address stays
/// where it is (`events::resolve` merges). Rows are cleaned first ([`NewPerson::clean`]); ids come back in the order given.
pub async fn bulk_upsert(tx: &mut Tx, people: &[NewPerson], now: Timestamp) -> Result<Vec<PersonId>, PeopleError> {
    let mut cleaned = Vec::with_capacity(people.len());
    for person in people {
        cleaned.push(person.clone().clean()?.0);
    }
    let requests = apart(tx, &cleaned, now).await?;
    let resolved = resolve_many(tx, &requests, now).await?;
    let ids: Vec<PersonId> = resolved.iter().map(|r| r.id).collect();
    let changes: Vec<_> = ids.iter().copied().zip(&cleaned).map(|(id, new)| (id, new, Trust::Server)).collect();
    match update_profiles(tx, &changes, now).await?.into_iter().flatten().next() {
        Some(refusal) => Err(refusal),
        None => Ok(ids),
    }
}

/// The requests, less those names that would make two profiles one.
async fn apart(tx: &mut Tx, people: &[NewPerson], now: Timestamp) -> Result<Vec<Request>, PeopleError> {
    use super::model::Identity;
    let names: Vec<Identity> = people
        .iter()
        .flat_map(|p| {
            let external = p.external_id.clone().map(Identity::External);
            let anonymous = p.anonymous_id.clone().map(Identity::Anonymous);
            [external, anonymous, p.email.as_deref().and_then(Identity::email)].into_iter().flatten()
        })
        .collect();
    let known: HashMap<Identity, PersonId> =
        store::known(tx, &names).await?.into_iter().filter_map(|k| Some((Identity::from_parts(&k.kind, k.value)?, k.person_id))).collect();
    let mut requests = Vec::with_capacity(people.len());
    for person in people {
        let mut ids = person.ids();
        let lead = ids.external_id.clone().and_then(|v| known.get(&Identity::External(v)).copied());
        let owner = ids.email.as_deref().and_then(Identity::email).and_then(|i| known.get(&i).copied());
        if let (Some(lead), Some(owner)) = (lead, owner)
            && lead != owner
        {
            ids.email = None;
        }
        let main = lead.or(owner);
        let device = ids.anonymous_id.clone().and_then(|v| known.get(&Identity::Anonymous(v)).copied());
        if main.is_some() && device.is_some() && main != device {
            ids.anonymous_id = None;
        }
        requests.push(Request { ids, trust: Trust::Server, seen_at: person.first_seen_at.unwrap_or(now) });
    }
    Ok(requests)
}

/// Merges profiles into people already resolved, in order. One result per change: what breaks a limit is refused and the others stand.
pub async fn update_profiles(
    tx: &mut Tx,
    changes: &[(PersonId, &NewPerson, Trust)],
    now: Timestamp,
) -> Result<Vec<Option<PeopleError>>, PeopleError> {
    let wanted: Vec<PersonId> = {
        let mut ids: Vec<_> = changes.iter().filter(|(_, new, _)| new.has_profile() || new.email.is_some()).map(|(id, ..)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let mut people: BTreeMap<PersonId, Person> = store::get_many_in(tx, &wanted).await?.into_iter().collect();
    let mut changed: BTreeMap<PersonId, bool> = BTreeMap::new();
    let answering: Vec<PersonId> = wanted_consents(changes);
    let mut ledger = consent::Ledger::load(tx, &answering).await?;
    let mut refusals = Vec::with_capacity(changes.len());
    for (id, new, trust) in changes {
        let Some(person) = people.get_mut(id) else {
            refusals.push(None);
            continue;
        };
        let before = person.clone();
        match fold(person, new, *trust, now, &mut ledger) {
            Ok(()) => {
                if *person != before {
                    person.updated_at = now;
                    changed.insert(*id, true);
                }
                refusals.push(None);
            }
            Err(e) => {
                *person = before;
                refusals.push(Some(e));
            }
        }
    }
    let written: Vec<Person> = changed.keys().filter_map(|id| people.remove(id)).collect();
    store::update(tx, &written).await?;
    ledger.save(tx).await?;
    Ok(refusals)
}

/// Whose consent is spoken of.
fn wanted_consents(changes: &[(PersonId, &NewPerson, Trust)]) -> Vec<PersonId> {
    let speaks = |new: &NewPerson| new.email_consent.is_some() || new.ads_consent.is_some();
    let mut ids: Vec<PersonId> = changes.iter().filter(|(_, new, trust)| *trust == Trust::Server && speaks(new)).map(|c| c.0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Folds one profile into a person. A claim fills only what is empty, and gives no consent.
fn fold(person: &mut Person, new: &NewPerson, trust: Trust, now: Timestamp, ledger: &mut consent::Ledger) -> Result<(), PeopleError> {
    let vouched = trust == Trust::Server;
    let anonymous = person.external_id.is_none() && person.email_key.is_none();
    let overwrite = vouched || anonymous;
    let set = |field: &mut Option<String>, value: &Option<String>| {
        if value.is_some() && (overwrite || field.is_none()) {
            field.clone_from(value);
        }
    };
    let mut attributes = person.attributes.0.clone();
    merge_attributes(&mut attributes, &new.attributes, overwrite);
    if !vouched && let Some(email) = &new.email {
        attributes.entry(CLAIMED_EMAIL).or_insert_with(|| Value::String(email.clone()));
    }
    check_attributes(&attributes)?;
    person.attributes.0 = attributes;
    set(&mut person.first_name, &new.first_name);
    set(&mut person.last_name, &new.last_name);
    set(&mut person.phone, &new.phone);
    set(&mut person.locale, &new.locale);
    set(&mut person.time_zone, &new.time_zone);
    set(&mut person.country, &new.country);
    set(&mut person.city, &new.city);
    if let Some(first) = new.first_seen_at.filter(|_| vouched) {
        person.first_seen_at = person.first_seen_at.min(first);
    }
    if vouched {
        let at = new.consent_at.unwrap_or(now);
        for (channel, state) in [(Channel::Email, new.email_consent), (Channel::Ads, new.ads_consent)] {
            let Some(state) = state else { continue };
            let source = if new.consent_source.is_empty() { "api" } else { new.consent_source.as_str() };
            // An older answer than the newest one known goes into the history, and changes nothing.
            let answer = consent::Answer { person: person.id, channel, state, source, at };
            if ledger.add(&answer, person.consent(channel)).changed {
                set_current(person, channel, ledger.current(person.id, channel).unwrap_or(state));
            }
        }
    }
    Ok(())
}

fn set_current(person: &mut Person, channel: Channel, state: Consent) {
    match channel {
        Channel::Email => person.email_consent = state,
        Channel::Ads => person.ads_consent = state,
    }
}

/// Null removes a key; anything else replaces it, or only adds it where `overwrite` is false.
fn merge_attributes(into: &mut Map<String, Value>, new: &Map<String, Value>, overwrite: bool) {
    for (key, value) in new {
        if value.is_null() {
            if overwrite {
                into.remove(key);
            }
        } else if overwrite || !into.contains_key(key) {
            into.insert(key.clone(), value.clone());
        }
    }
}

/// Widens the time in which people were seen: `(person, first, last)`, in any order, people may repeat.
pub async fn seen(tx: &mut Tx, times: &[(PersonId, Timestamp, Timestamp)]) -> sqlx::Result<()> {
    let mut by_person: BTreeMap<PersonId, (Timestamp, Timestamp)> = BTreeMap::new();
    for (id, first, last) in times {
        let span = by_person.entry(*id).or_insert((*first, *last));
        *span = (span.0.min(*first), span.1.max(*last));
    }
    let rows: Vec<_> = by_person.into_iter().map(|(id, (first, last))| store::Seen { id: id.0, first: first.0, last: last.0 }).collect();
    store::mark_seen(tx, &rows).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_only_adds() {
        let mut have: Map<_, _> = serde_json::from_str(r#"{"a":1,"b":2}"#).expect("json");
        let new: Map<_, _> = serde_json::from_str(r#"{"a":9,"b":null,"c":3}"#).expect("json");
        let mut claimed = have.clone();
        merge_attributes(&mut claimed, &new, false);
        assert_eq!(Value::Object(claimed), serde_json::json!({"a":1,"b":2,"c":3}));
        merge_attributes(&mut have, &new, true);
        assert_eq!(Value::Object(have), serde_json::json!({"a":9,"c":3}));
    }
}
