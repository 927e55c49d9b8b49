//! Recognising people: whom do these names mean, who is new, and which profiles turn out to be one person.

use std::collections::{HashMap, HashSet};

use super::model::{Identity, Ids, PeopleError, Person, Trust, bucket_of};
use super::{consent, store};
use crate::platform::clock::Timestamp;
use crate::platform::db::Tx;
use crate::platform::ids::PersonId;

/// One question to [`resolve_many`].
#[derive(Clone, Debug)]
pub struct Request {
    pub ids: Ids,
    pub trust: Trust,
    /// First seen, where the person is new.
    pub seen_at: Timestamp,
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "profiles in `merged` still own events, orders and touches: `events::resolve` moves them"]
pub struct Resolved {
    pub id: PersonId,
    pub created: bool,
    /// Profiles that were found to be this person and are now blank.
    pub merged: Vec<PersonId>,
    /// A name that was not taken over, and why.
    pub notes: Vec<&'static str>,
}

pub const NOTE_CLAIM: &str = "this key is public (it holds only the scope ingest), so it links no ids: the event went to the anonymous profile. A \
     server's key (ingest and manage) links them";
pub const NOTE_CLAIMED_EMAIL: &str =
    "this key is public (it holds only the scope ingest), so the address was kept as the attribute claimed_email; a server's key sets it";
pub const NOTE_EMAIL_TAKEN: &str = "the e-mail address belongs to another customer and was left there";

/// What is known of a profile that a name leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    external: bool,
    email_key: Option<String>,
}
impl Facts {
    fn known(&self) -> bool {
        self.external || self.email_key.is_some()
    }
}

#[derive(Clone, Debug)]
struct Candidate {
    id: PersonId,
    facts: Facts,
}

/// What has to be done so that the names mean one person.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decision {
    /// `None`: somebody new.
    primary: Option<PersonId>,
    merge: Vec<PersonId>,
    link_external: bool,
    link_anonymous: bool,
    link_email: bool,
    notes: Vec<&'static str>,
}

/// The rules. `external`, `email` and `anonymous` are whom the given names lead to so far.
fn decide(ids: &Ids, trust: Trust, external: Option<Candidate>, email: Option<Candidate>, anonymous: Option<Candidate>) -> Decision {
    match trust {
        Trust::Public => decide_claim(ids, external, anonymous),
        Trust::Server => decide_vouched(ids, external, email, anonymous),
    }
}

/// A claim adds events to the anonymous profile, or (without one) to the named one. It links nothing and merges nobody.
fn decide_claim(ids: &Ids, external: Option<Candidate>, anonymous: Option<Candidate>) -> Decision {
    let mut decision = Decision::default();
    if ids.email.is_some() {
        decision.notes.push(NOTE_CLAIMED_EMAIL);
    }
    if ids.anonymous_id.is_some() {
        decision.link_anonymous = anonymous.is_none();
        decision.primary = anonymous.map(|c| c.id);
        let same = external.as_ref().is_some_and(|e| Some(e.id) == decision.primary);
        if ids.external_id.is_some() && !same {
            decision.notes.push(NOTE_CLAIM);
        }
    } else {
        decision.link_external = external.is_none();
        decision.primary = external.map(|c| c.id);
    }
    decision
}

fn decide_vouched(ids: &Ids, external: Option<Candidate>, email: Option<Candidate>, anonymous: Option<Candidate>) -> Decision {
    let mut decision = Decision::default();
    // An address or a browser that already belongs to another customer does not make two customers one.
    let primary = external.clone().or_else(|| email.clone().filter(|m| ids.external_id.is_none() || !m.facts.external)).or_else(|| {
        anonymous.clone().filter(|a| match (ids.external_id.is_some(), ids.email.is_some()) {
            (true, _) => !a.facts.known(),
            (false, true) => a.facts.email_key.is_none(),
            (false, false) => true,
        })
    });
    decision.primary = primary.as_ref().map(|p| p.id);
    decision.link_external = ids.external_id.is_some() && external.is_none();
    if ids.email.is_some() {
        match email {
            None => decision.link_email = true,
            Some(m) if decision.primary == Some(m.id) => {
                decision.link_email = primary.as_ref().is_some_and(|p| p.facts.email_key != ids.email_key());
            }
            Some(m) if m.facts.external => decision.notes.push(NOTE_EMAIL_TAKEN),
            Some(m) => {
                decision.link_email = true;
                decision.merge.push(m.id);
            }
        }
    }
    if ids.anonymous_id.is_some() {
        match anonymous {
            Some(a) if decision.primary == Some(a.id) => {}
            // Somebody else signed in on this device: its id follows them, the earlier history stays where it is.
            Some(a) if a.facts.known() && !decision.merge.contains(&a.id) => decision.link_anonymous = true,
            Some(a) => {
                if !decision.merge.contains(&a.id) {
                    decision.merge.push(a.id);
                }
            }
            None => decision.link_anonymous = true,
        }
    }
    decision
}

/// Names as identities. A public key's address is no name.
fn identities(ids: &Ids, trust: Trust) -> Vec<Identity> {
    let external = ids.external_id.clone().map(Identity::External);
    let anonymous = ids.anonymous_id.clone().map(Identity::Anonymous);
    let email = (trust == Trust::Server).then(|| ids.email_key().map(Identity::Email)).flatten();
    [external, anonymous, email].into_iter().flatten().collect()
}

#[derive(Default)]
struct Register {
    by_name: HashMap<Identity, PersonId>,
    facts: HashMap<PersonId, Facts>,
}

impl Register {
    async fn load(tx: &mut Tx, requests: &[Request]) -> sqlx::Result<Self> {
        let wanted: Vec<Identity> = requests.iter().flat_map(|r| identities(&r.ids, r.trust)).collect::<HashSet<_>>().into_iter().collect();
        let mut register = Self::default();
        for row in store::known(tx, &wanted).await? {
            register.facts.insert(row.person_id, Facts { external: row.external_id.is_some(), email_key: row.email_key });
            if let Some(name) = Identity::from_parts(&row.kind, row.value) {
                register.by_name.insert(name, row.person_id);
            }
        }
        Ok(register)
    }

    fn candidate(&self, name: Option<Identity>) -> Option<Candidate> {
        let id = *self.by_name.get(&name?)?;
        Some(Candidate { id, facts: self.facts.get(&id).cloned().unwrap_or_default() })
    }

    fn decide(&self, request: &Request) -> Decision {
        let ids = &request.ids;
        decide(
            ids,
            request.trust,
            self.candidate(ids.external_id.clone().map(Identity::External)),
            self.candidate(ids.email_key().map(Identity::Email)),
            self.candidate(ids.anonymous_id.clone().map(Identity::Anonymous)),
        )
    }

    fn forget(&mut self, from: PersonId, into: PersonId) {
        for id in self.by_name.values_mut().filter(|id| **id == from) {
            *id = into;
        }
        self.facts.remove(&from);
    }
}

/// The names that a new person gets.
fn names_of_new(ids: &Ids, d: &Decision) -> Vec<Identity> {
    let external = ids.external_id.clone().filter(|_| d.link_external).map(Identity::External);
    let anonymous = ids.anonymous_id.clone().filter(|_| d.link_anonymous).map(Identity::Anonymous);
    let email = ids.email_key().filter(|_| d.link_email).map(Identity::Email);
    [external, anonymous, email].into_iter().flatten().collect()
}

/// Finds or creates one person. See [`resolve_many`].
pub async fn resolve(tx: &mut Tx, ids: &Ids, trust: Trust, now: Timestamp) -> Result<Resolved, PeopleError> {
    let request = Request { ids: ids.clone(), trust, seen_at: now };
    resolve_many(tx, std::slice::from_ref(&request), now).await?.pop().ok_or(PeopleError::NoIdentity)
}

/// Finds or creates everybody that the requests speak of, in their order (a later one sees what an earlier one linked). An anonymous
/// profile, and one that has only an address, become part of the customer whom a server's key ties them to; two customers with external
/// ids are never made one. On Postgres a unique violation means that somebody else created the same person: try the transaction again.
pub async fn resolve_many(tx: &mut Tx, requests: &[Request], now: Timestamp) -> Result<Vec<Resolved>, PeopleError> {
    if requests.iter().any(|r| identities(&r.ids, r.trust).is_empty()) {
        return Err(PeopleError::NoIdentity);
    }
    let mut register = Register::load(tx, requests).await?;
    let mut born = create_unknown(tx, &mut register, requests, now).await?;
    let mut answers = Vec::with_capacity(requests.len());
    for (i, request) in requests.iter().enumerate() {
        let decision = register.decide(request);
        let created = born.remove(&i);
        answers.push(settle(tx, &mut register, request, decision, created, now).await?);
    }
    Ok(answers)
}

/// Creates, in few statements, everybody whose names are all new. Returns the requests that brought somebody new.
async fn create_unknown(tx: &mut Tx, register: &mut Register, requests: &[Request], now: Timestamp) -> Result<HashSet<usize>, PeopleError> {
    let mut taken: HashSet<Identity> = HashSet::new();
    let mut fresh = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let all = identities(&request.ids, request.trust);
        if all.iter().any(|n| register.by_name.contains_key(n) || taken.contains(n)) {
            continue;
        }
        let names = names_of_new(&request.ids, &register.decide(request));
        taken.extend(all);
        fresh.push((i, names));
    }
    create(tx, register, requests, &fresh, now).await?;
    Ok(fresh.into_iter().map(|(i, _)| i).collect())
}

async fn create(
    tx: &mut Tx,
    register: &mut Register,
    requests: &[Request],
    fresh: &[(usize, Vec<Identity>)],
    now: Timestamp,
) -> Result<(), PeopleError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let ids = store::reserve_ids(tx, fresh.len()).await?;
    let mut rows = Vec::with_capacity(fresh.len());
    let mut links = Vec::with_capacity(fresh.len());
    for ((i, names), id) in fresh.iter().zip(ids) {
        let request = &requests[*i];
        let external_id = names.iter().find_map(|n| if let Identity::External(v) = n { Some(v.clone()) } else { None });
        let email_key = names.iter().find_map(|n| if let Identity::Email(v) = n { Some(v.clone()) } else { None });
        let email = email_key.as_ref().and(request.ids.email.as_deref()).map(|e| e.trim().to_owned());
        register.facts.insert(id, Facts { external: external_id.is_some(), email_key: email_key.clone() });
        for name in names {
            register.by_name.insert(name.clone(), id);
            links.push((name.clone(), id));
        }
        rows.push(store::Born {
            id: id.0,
            external_id,
            email,
            email_key,
            bucket: bucket_of(id),
            seen_at: request.seen_at.min(now).0,
            created_at: now.0,
        });
    }
    store::insert(tx, &rows).await?;
    store::link(tx, &links, true).await?;
    Ok(())
}

/// Carries a decision out.
async fn settle(
    tx: &mut Tx,
    register: &mut Register,
    request: &Request,
    decision: Decision,
    created: bool,
    now: Timestamp,
) -> Result<Resolved, PeopleError> {
    let ids = &request.ids;
    let Some(id) = decision.primary else {
        // A name that leads elsewhere so far (a device that changed hands) is pointed here below.
        let names = names_of_new(ids, &decision).into_iter().filter(|n| !register.by_name.contains_key(n)).collect();
        create(tx, register, std::slice::from_ref(request), &[(0, names)], now).await?;
        let again = register.decide(request);
        let id = again.primary.ok_or(PeopleError::NoIdentity)?;
        let merged = carry_out(tx, register, ids, &again, id, now).await?;
        return Ok(Resolved { id, created: true, merged, notes: decision.notes });
    };
    let merged = carry_out(tx, register, ids, &decision, id, now).await?;
    Ok(Resolved { id, created, merged, notes: decision.notes })
}

async fn carry_out(
    tx: &mut Tx,
    register: &mut Register,
    ids: &Ids,
    decision: &Decision,
    id: PersonId,
    now: Timestamp,
) -> Result<Vec<PersonId>, PeopleError> {
    for from in &decision.merge {
        merge(tx, *from, id, now).await?;
        register.forget(*from, id);
    }
    let names = names_of_new(ids, decision);
    if !names.is_empty() {
        let links: Vec<_> = names.iter().map(|n| (n.clone(), id)).collect();
        store::link(tx, &links, false).await?;
    }
    let facts = register.facts.entry(id).or_default();
    for name in names {
        match &name {
            Identity::External(value) if !facts.external => {
                store::set_external(tx, id, value, now.0).await?;
                facts.external = true;
            }
            Identity::Email(key) => {
                if let Some(old) = facts.email_key.replace(key.clone()).filter(|old| old != key) {
                    register.by_name.remove(&Identity::Email(old));
                }
                store::set_email(tx, id, ids.email.as_deref().unwrap_or(key).trim(), key, now.0).await?;
            }
            _ => {}
        }
        register.by_name.insert(name, id);
    }
    Ok(decision.merge.clone())
}

/// Makes `from` part of `into`: names, consent history and profile (the survivor's own fields win). `from` stays as a blank row that says
/// where it went. Events, orders and touches are moved by `events::resolve`, which calls this.
pub async fn merge(tx: &mut Tx, from: PersonId, into: PersonId, now: Timestamp) -> Result<(), PeopleError> {
    if from == into {
        return Ok(());
    }
    let mut both = store::get_many_in(tx, &[from, into]).await?;
    let (Some(loser), Some(mut kept)) = (both.remove(&from), both.remove(&into)) else {
        return Err(PeopleError::NotFound);
    };
    store::fold_into(tx, from, into, now.0).await?;
    if let (None, Some(external)) = (&kept.external_id, &loser.external_id) {
        store::set_external(tx, into, external, now.0).await?;
    }
    if kept.email_key.is_none()
        && let (Some(email), Some(key)) = (&loser.email, &loser.email_key)
    {
        store::set_email(tx, into, email, key, now.0).await?;
    }
    fold_profile(&mut kept, loser, now);
    (kept.email_consent, kept.ads_consent) = consent::current(tx, into, (kept.email_consent, kept.ads_consent)).await?;
    store::update(tx, &[kept]).await?;
    Ok(())
}

fn fold_profile(kept: &mut Person, loser: Person, now: Timestamp) {
    kept.first_name = kept.first_name.take().or(loser.first_name);
    kept.last_name = kept.last_name.take().or(loser.last_name);
    kept.phone = kept.phone.take().or(loser.phone);
    kept.locale = kept.locale.take().or(loser.locale);
    kept.time_zone = kept.time_zone.take().or(loser.time_zone);
    kept.country = kept.country.take().or(loser.country);
    kept.city = kept.city.take().or(loser.city);
    for (key, value) in loser.attributes.0 {
        kept.attributes.0.entry(key).or_insert(value);
    }
    // Two full profiles may exceed the limit together: the survivor's attributes come first, the rest is cut.
    while super::model::check_attributes(&kept.attributes.0).is_err() {
        let Some(last) = kept.attributes.0.keys().next_back().cloned() else { break };
        kept.attributes.0.remove(&last);
    }
    kept.first_seen_at = kept.first_seen_at.min(loser.first_seen_at);
    kept.last_seen_at = kept.last_seen_at.max(loser.last_seen_at);
    kept.updated_at = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, external: bool, email: Option<&str>) -> Option<Candidate> {
        Some(Candidate { id: PersonId(id), facts: Facts { external, email_key: email.map(Into::into) } })
    }
    fn ids(external: bool, anonymous: bool, email: bool) -> Ids {
        Ids {
            external_id: external.then(|| "e".into()),
            anonymous_id: anonymous.then(|| "a".into()),
            email: email.then(|| "m@example.test".into()),
        }
    }

    #[test]
    fn an_anonymous_profile_becomes_part_of_the_customer() {
        let d = decide(&ids(true, true, false), Trust::Server, candidate(1, true, None), None, candidate(2, false, None));
        assert_eq!((d.primary, d.merge), (Some(PersonId(1)), vec![PersonId(2)]));
        // The customer is new: the anonymous profile takes the name on.
        let d = decide(&ids(true, true, false), Trust::Server, None, None, candidate(2, false, None));
        assert_eq!((d.primary, d.merge.len(), d.link_external), (Some(PersonId(2)), 0, true));
    }

    #[test]
    fn two_customers_are_never_made_one() {
        for trust in [Trust::Public, Trust::Server] {
            let d = decide(
                &ids(true, true, true),
                trust,
                candidate(1, true, None),
                candidate(2, true, Some("m@example.test")),
                candidate(3, true, None),
            );
            assert!(d.merge.is_empty() && !d.link_email, "{trust:?}: {d:?}");
        }
    }

    #[test]
    fn a_claim_links_nothing() {
        let d = decide(
            &ids(true, true, true),
            Trust::Public,
            candidate(1, true, None),
            candidate(2, false, Some("m@example.test")),
            candidate(3, false, None),
        );
        assert_eq!((d.primary, d.merge.len()), (Some(PersonId(3)), 0));
        assert!(!d.link_external && !d.link_email && !d.link_anonymous);
        let d = decide(&ids(true, true, false), Trust::Public, None, None, None);
        assert!(d.primary.is_none() && d.link_anonymous && !d.link_external);
    }

    #[test]
    fn a_device_that_changes_hands_follows_its_new_owner() {
        let d = decide(&ids(true, true, false), Trust::Server, candidate(1, true, None), None, candidate(2, true, None));
        assert_eq!((d.primary, d.merge.len(), d.link_anonymous), (Some(PersonId(1)), 0, true));
    }

    #[test]
    fn an_address_only_profile_joins_the_customer_who_is_vouched_for() {
        let d = decide(
            &ids(true, false, true),
            Trust::Server,
            candidate(1, true, Some("old@example.test")),
            candidate(2, false, Some("m@example.test")),
            None,
        );
        assert_eq!((d.primary, d.merge, d.link_email), (Some(PersonId(1)), vec![PersonId(2)], true));
        let d = decide(&ids(true, false, true), Trust::Server, None, candidate(2, false, Some("m@example.test")), None);
        assert_eq!((d.primary, d.link_external), (Some(PersonId(2)), true));
    }
}
