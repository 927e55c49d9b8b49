//! The group commit: deduplicates, recognises people, stores facts and orders, in few statements per thousand messages.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::message::Message;
use crate::catalog;
use crate::events::commerce::Commerce;
use crate::events::merge::merged;
use crate::events::model::{EventError, NewEvent};
use crate::events::orders::{self, Adjusted, NewOrder};
use crate::events::store;
use crate::people::{self, Identity, NewPerson, Request, Trust};
use crate::platform::Platform;
use crate::platform::clock::{MINUTE_US, Timestamp};
use crate::platform::db::{Tx, Urgency};
use crate::platform::ids::{EventId, PersonId, ProductId};
use crate::platform::token::Signer;

/// Messages in one transaction: keeps it short on SQLite, which has one writer.
const MESSAGES_PER_COMMIT: usize = 1000;
const ATTEMPTS: u32 = 6;
/// Skus remembered; when full, all are forgotten.
const CACHED_SKUS: usize = 50_000;
/// How long "the catalogue has no such sku" is believed.
const MISS_FOR_US: i64 = MINUTE_US;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored; the notes say what of it was left out.
    Accepted(Vec<String>),
    /// Its message id had been stored before.
    Duplicate,
    Refused(String),
}

type SkuCache = HashMap<String, (Option<ProductId>, Timestamp)>;

#[derive(Clone)]
pub(super) struct Committer {
    platform: Platform,
    skus: Arc<Mutex<SkuCache>>,
}

impl Committer {
    pub(super) fn new(platform: Platform) -> Self {
        Self { platform, skus: Arc::default() }
    }

    /// Commits the messages of several calls; one list of outcomes per call.
    pub(super) async fn commit(&self, calls: Vec<Vec<Message>>) -> Result<Vec<Vec<Outcome>>, EventError> {
        let sizes: Vec<usize> = calls.iter().map(Vec::len).collect();
        let messages: Vec<Message> = calls.into_iter().flatten().collect();
        let products = self.products(&messages).await?;
        let mut outcomes = Vec::with_capacity(messages.len());
        for part in messages.chunks(MESSAGES_PER_COMMIT) {
            outcomes.extend(self.commit_part(part, &products).await?);
        }
        metrics::counter!("marquee_ingest_messages_total").increment(u64::try_from(messages.len()).unwrap_or(0));
        let mut rest = outcomes.into_iter();
        Ok(sizes.into_iter().map(|n| rest.by_ref().take(n).collect()).collect())
    }

    /// One transaction, tried again where another replica was in the way.
    async fn commit_part(&self, messages: &[Message], products: &HashMap<String, ProductId>) -> Result<Vec<Outcome>, EventError> {
        let mut attempt = 1;
        loop {
            let mut tx = self.platform.db.begin_as(Urgency::Tracking).await?;
            let done = match store_all(&mut tx, messages, products, &self.platform).await {
                Ok(outcomes) => tx.commit().await.map(|()| outcomes).map_err(EventError::from),
                Err(e) => {
                    tx.rollback().await.ok();
                    Err(e)
                }
            };
            match done {
                Err(e) if e.is_conflict() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(u64::from(rand::random_range(1..=attempt * 8)))).await;
                }
                other => return other,
            }
        }
    }

    /// The products behind the skus in the messages, through a small cache.
    async fn products(&self, messages: &[Message]) -> Result<HashMap<String, ProductId>, EventError> {
        let now = self.platform.now();
        let wanted: HashSet<&str> = messages.iter().flat_map(skus_of).collect();
        let mut found = HashMap::new();
        let mut ask = Vec::new();
        if let Ok(cache) = self.skus.lock() {
            for sku in wanted {
                match cache.get(sku) {
                    Some((Some(id), _)) => {
                        found.insert(sku.to_owned(), *id);
                    }
                    Some((None, at)) if now.since(*at) < MISS_FOR_US => {}
                    _ => ask.push(sku),
                }
            }
        }
        if !ask.is_empty() {
            let fresh = catalog::by_sku(&self.platform.db, &ask).await?;
            if let Ok(mut cache) = self.skus.lock() {
                if cache.len() + ask.len() > CACHED_SKUS {
                    cache.clear();
                }
                cache.extend(ask.iter().map(|sku| ((*sku).to_owned(), (fresh.get(*sku).copied(), now))));
            }
            found.extend(fresh);
        }
        Ok(found)
    }
}

fn skus_of(message: &Message) -> impl Iterator<Item = &str> {
    let lines = match &message.commerce {
        Some(Commerce::Completed(order) | Commerce::Updated(order)) => order.lines.as_slice(),
        _ => &[],
    };
    let events = message.event.iter().flat_map(|e| e.skus.iter().map(String::as_str));
    events.chain(lines.iter().map(|l| l.sku.as_str())).filter(|s| !s.is_empty())
}

async fn store_all(
    tx: &mut Tx,
    messages: &[Message],
    products: &HashMap<String, ProductId>,
    platform: &Platform,
) -> Result<Vec<Outcome>, EventError> {
    let now = platform.now();
    let keys: Vec<_> = messages.iter().map(|m| m.key).collect();
    let mut fresh = store::take_keys(tx, &keys, now).await?;
    // The first message of a key is the one that counts.
    let new: Vec<usize> = (0..messages.len()).filter(|i| fresh.remove(&messages[*i].key)).collect();
    let mut outcomes = vec![Outcome::Duplicate; messages.len()];
    let (new, nameless) = erased_apart(tx, &platform.signer, messages, new).await?;
    for i in &nameless {
        outcomes[*i] = Outcome::Accepted(vec![NOTE_ERASED.to_owned()]);
    }
    let requests: Vec<Request> = new
        .iter()
        .map(|i| Request { ids: messages[*i].ids.clone(), trust: messages[*i].trust, seen_at: messages[*i].occurred_at })
        .collect();
    let mut people = Vec::with_capacity(new.len());
    let mut moved: HashMap<PersonId, PersonId> = HashMap::new();
    for (i, resolved) in new.iter().zip(people::resolve_many(tx, &requests, now).await?) {
        for from in &resolved.merged {
            merged(tx, *from, resolved.id, now).await?;
            moved.insert(*from, resolved.id);
        }
        let mut notes = messages[*i].notes.clone();
        notes.extend(resolved.notes.iter().map(|n| (*n).to_owned()));
        outcomes[*i] = Outcome::Accepted(notes);
        people.push(resolved.id);
    }
    // Somebody resolved early in this commit may have been merged away by a later message.
    for id in &mut people {
        while let Some(into) = moved.get(id) {
            *id = *into;
        }
    }
    aliases(tx, messages, &new, &mut people, now).await?;
    profiles(tx, messages, &new, &people, &mut outcomes, now).await?;
    events(tx, messages, &new, &people, products).await?;
    let mut buyers: Vec<(usize, Option<PersonId>)> = new.into_iter().zip(people.into_iter().map(Some)).collect();
    buyers.extend(nameless.into_iter().map(|i| (i, None)));
    buyers.sort_unstable_by_key(|(i, _)| *i);
    commerce(tx, messages, &buyers, products, &mut outcomes, now).await?;
    Ok(outcomes)
}

const NOTE_ERASED: &str = "this person was erased: of this message only an order's or a refund's money was kept, without them. An identify call \
     about a time after the erasure is a new sign-up, and begins with an empty profile";

/// The names by which a message would find or make a person.
fn names_of(message: &Message) -> Vec<Identity> {
    let ids = &message.ids;
    // What a public key says of an id beside an anonymous one links nothing, and needs no look.
    let external = ids.external_id.clone().filter(|_| message.trust == Trust::Server || ids.anonymous_id.is_none());
    let previous = message.previous_id.clone();
    let names = external.into_iter().chain(previous).map(Identity::External);
    names.chain(ids.email.as_deref().and_then(Identity::email)).collect()
}

/// Sets apart the messages that speak of somebody erased. A sign-up after the erasure brings its names back into use, for itself and for what
/// follows.
async fn erased_apart(tx: &mut Tx, signer: &Signer, messages: &[Message], new: Vec<usize>) -> Result<(Vec<usize>, Vec<usize>), EventError> {
    let names: Vec<Identity> = new.iter().flat_map(|i| names_of(&messages[*i])).collect();
    let mut erased = people::erased_among_in(tx, signer, &names).await?;
    if erased.is_empty() {
        return Ok((new, Vec::new()));
    }
    let (mut kept, mut nameless) = (Vec::with_capacity(new.len()), Vec::new());
    for i in new {
        let message = &messages[i];
        let hits: Vec<Identity> = names_of(message).into_iter().filter(|n| erased.contains_key(n)).collect();
        if hits.is_empty() {
            kept.push(i);
        } else if message.signs_up && hits.iter().all(|n| erased.get(n).is_some_and(|at| message.occurred_at > *at)) {
            people::welcome_back(tx, signer, &hits).await?;
            erased.retain(|n, _| !hits.contains(n));
            kept.push(i);
        } else {
            nameless.push(i);
        }
    }
    Ok((kept, nameless))
}

/// Alias calls: the previous id becomes a name of the person, with everything behind it.
async fn aliases(tx: &mut Tx, messages: &[Message], new: &[usize], people: &mut [PersonId], now: Timestamp) -> Result<(), EventError> {
    for (n, i) in new.iter().enumerate() {
        let Some(previous) = &messages[*i].previous_id else { continue };
        let into = people[n];
        let mut from = people::find_in(tx, &Identity::External(previous.clone())).await?;
        if from.is_none() {
            from = people::find_in(tx, &Identity::Anonymous(previous.clone())).await?;
        }
        match from {
            Some(from) if from != into => {
                people::merge(tx, from, into, now).await?;
                merged(tx, from, into, now).await?;
                for id in people.iter_mut().filter(|id| **id == from) {
                    *id = into;
                }
            }
            Some(_) => {}
            None => people::link_name(tx, Identity::Anonymous(previous.clone()), into).await?,
        }
    }
    Ok(())
}

async fn profiles(
    tx: &mut Tx,
    messages: &[Message],
    new: &[usize],
    people: &[PersonId],
    outcomes: &mut [Outcome],
    now: Timestamp,
) -> Result<(), EventError> {
    let with_profile: Vec<(usize, PersonId)> = new
        .iter()
        .zip(people)
        .filter(|(i, _)| messages[**i].profile.has_profile() || messages[**i].profile.email.is_some())
        .map(|(i, id)| (*i, *id))
        .collect();
    let changes: Vec<(PersonId, &NewPerson, Trust)> =
        with_profile.iter().map(|(i, id)| (*id, &messages[*i].profile, messages[*i].trust)).collect();
    let refusals = people::update_profiles(tx, &changes, now).await?;
    for ((i, _), refusal) in with_profile.iter().zip(refusals) {
        if let Some(e) = refusal {
            outcomes[*i] = Outcome::Refused(e.to_string());
        }
    }
    let times: Vec<_> = new.iter().zip(people).map(|(i, id)| (*id, messages[*i].occurred_at, messages[*i].occurred_at)).collect();
    people::seen(tx, &times).await?;
    Ok(())
}

async fn events(
    tx: &mut Tx,
    messages: &[Message],
    new: &[usize],
    people: &[PersonId],
    products: &HashMap<String, ProductId>,
) -> Result<(), EventError> {
    let facts: Vec<NewEvent> = new
        .iter()
        .zip(people)
        .filter_map(|(i, person)| {
            let message = &messages[*i];
            let part = message.event.as_ref()?;
            let product_id = match part.skus.as_slice() {
                [one] => products.get(one).copied(),
                _ => None,
            };
            Some(NewEvent {
                id: EventId::new(message.received_at),
                person_id: *person,
                kind: part.kind,
                name: part.name.clone(),
                product_id,
                occurred_at: message.occurred_at,
                received_at: message.received_at,
                properties: part.properties.clone(),
            })
        })
        .collect();
    store::insert_many(tx, &facts).await?;
    Ok(())
}

/// Orders in the order they came: what was completed in one go, adjustments after them.
async fn commerce(
    tx: &mut Tx,
    messages: &[Message],
    buyers: &[(usize, Option<PersonId>)],
    products: &HashMap<String, ProductId>,
    outcomes: &mut [Outcome],
    now: Timestamp,
) -> Result<(), EventError> {
    let whole = |order: &NewOrder, person: Option<PersonId>| {
        let mut order = NewOrder { person_id: person, ..order.clone() };
        for line in &mut order.lines {
            line.product_id = products.get(&line.sku).copied();
        }
        order
    };
    let mut completed = Vec::new();
    for (i, person) in buyers {
        if let Some(Commerce::Completed(order)) = &messages[*i].commerce {
            completed.push(whole(order, *person));
        }
    }
    if !completed.is_empty() {
        orders::bulk_record(tx, &completed, now).await?;
    }
    for (i, person) in buyers {
        match &messages[*i].commerce {
            Some(Commerce::Updated(order)) => {
                orders::update(tx, &whole(order, *person), now).await?;
            }
            Some(Commerce::Adjusted(adjustment)) => {
                if let (Adjusted::Refused(why), Outcome::Accepted(notes)) = (orders::adjust(tx, adjustment, now).await?, &mut outcomes[*i])
                {
                    notes.push(why.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(())
}
