//! Consent: its history, its current state on the person, and the addresses that must never be written to again.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model::{Channel, Consent, PeopleError, email_key};
use super::store::json;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::PersonId;
use crate::{on, read};

/// Somebody's answer to "may we write to you?".
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub person: PersonId,
    pub channel: Channel,
    pub state: Consent,
    /// Where it comes from; kept in the history.
    pub source: &'a str,
    /// When it was given.
    pub at: Timestamp,
}

/// What an answer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// It differs from the answer before it, so the history has a line more.
    pub logged: bool,
    /// The person's state is another one now.
    pub changed: bool,
    /// An answer given later stands against it.
    pub superseded: bool,
}

/// One line of the history: the state from `at` on, given again until `confirmed_at`.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Line {
    id: i64,
    person_id: PersonId,
    channel: String,
    state: String,
    at: Timestamp,
    confirmed_at: Timestamp,
    #[sqlx(skip)]
    source: String,
    #[sqlx(skip)]
    touched: bool,
}

/// The histories of some people while answers are added to them: only changes become lines, and the newest answer holds.
pub(super) struct Ledger {
    lines: HashMap<(PersonId, &'static str), Vec<Line>>,
}

const LINES_SQLITE: &str = "SELECT id, person_id, channel, state, at, confirmed_at FROM consent_log
     WHERE person_id IN (SELECT value FROM json_each($1)) ORDER BY at, id";
const LINES_POSTGRES: &str = "SELECT id, person_id, channel, state, at, confirmed_at FROM consent_log
     WHERE person_id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) ORDER BY at, id";
const LOG_SQLITE: &str = "INSERT INTO consent_log (person_id, channel, state, source, at, confirmed_at)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1)";
const LOG_POSTGRES: &str = "INSERT INTO consent_log (person_id, channel, state, source, at, confirmed_at)
     SELECT (value ->> 0)::bigint, value ->> 1, value ->> 2, value ->> 3, (value ->> 4)::bigint, (value ->> 5)::bigint
     FROM json_array_elements($1::json)";
const CONFIRM_SQLITE: &str = "UPDATE consent_log SET confirmed_at = d.at
     FROM (SELECT value ->> 0 AS id, value ->> 1 AS at FROM json_each($1)) d WHERE consent_log.id = d.id AND confirmed_at < d.at";
const CONFIRM_POSTGRES: &str = "UPDATE consent_log SET confirmed_at = d.at
     FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS at FROM json_array_elements($1::json)) d
     WHERE consent_log.id = d.id AND confirmed_at < d.at";

impl Ledger {
    pub(super) async fn load(tx: &mut Tx, people: &[PersonId]) -> sqlx::Result<Self> {
        let sql = match tx.dialect() {
            Dialect::Sqlite => LINES_SQLITE,
            Dialect::Postgres => LINES_POSTGRES,
        };
        let mut ledger = Self { lines: HashMap::new() };
        for part in people.chunks(1000) {
            let wanted = json(&part.iter().map(|p| p.0).collect::<Vec<_>>())?;
            let rows: Vec<Line> = on!(tx, |c| sqlx::query_as(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
            for line in rows {
                let channel = if line.channel == Channel::Email.name() { Channel::Email } else { Channel::Ads };
                ledger.lines.entry((line.person_id, channel.name())).or_default().push(line);
            }
        }
        Ok(ledger)
    }

    /// What holds: the state of the line that was confirmed last. `None` without a history.
    pub(super) fn current(&self, person: PersonId, channel: Channel) -> Option<Consent> {
        newest(self.lines.get(&(person, channel.name()))?)?.state.parse().ok()
    }

    /// Takes an answer in, `before` being the person's state so far; `changed` in the result says whether it must be written.
    pub(super) fn add(&mut self, answer: &Answer<'_>, before: Consent) -> Answered {
        let lines = self.lines.entry((answer.person, answer.channel.name())).or_default();
        let superseded = newest(lines).is_some_and(|l| l.confirmed_at > answer.at && l.state != answer.state.name());
        // Lines are in order of their beginning.
        let next = lines.partition_point(|l| l.at <= answer.at);
        let repeats = match next.checked_sub(1).and_then(|at| lines.get_mut(at)) {
            Some(previous) if previous.state == answer.state.name() => {
                if answer.at > previous.confirmed_at {
                    previous.confirmed_at = answer.at;
                    previous.touched = true;
                }
                true
            }
            Some(_) => false,
            None => answer.state == Consent::Never && lines.is_empty(),
        };
        if !repeats {
            let source = answer.source.replace('\0', "").chars().take(100).collect();
            let line = Line {
                id: 0,
                person_id: answer.person,
                channel: answer.channel.name().to_owned(),
                state: answer.state.name().to_owned(),
                at: answer.at,
                confirmed_at: answer.at,
                source,
                touched: true,
            };
            lines.insert(next, line);
        }
        let after = self.current(answer.person, answer.channel).unwrap_or(before);
        Answered { logged: !repeats, changed: after != before, superseded }
    }

    /// Writes what was added.
    pub(super) async fn save(self, tx: &mut Tx) -> sqlx::Result<()> {
        let mut touched: Vec<Line> = self.lines.into_values().flatten().filter(|l| l.touched).collect();
        touched.sort_by_key(|l| (l.person_id, l.at));
        let (new, confirmed): (Vec<Line>, Vec<Line>) = touched.into_iter().partition(|l| l.id == 0);
        let (log, confirm) = match tx.dialect() {
            Dialect::Sqlite => (LOG_SQLITE, CONFIRM_SQLITE),
            Dialect::Postgres => (LOG_POSTGRES, CONFIRM_POSTGRES),
        };
        for part in new.chunks(1000) {
            let rows: Vec<_> = part.iter().map(|l| (l.person_id.0, &l.channel, &l.state, &l.source, l.at.0, l.confirmed_at.0)).collect();
            let rows = json(&rows)?;
            on!(tx, |c| sqlx::query(log).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
        }
        for part in confirmed.chunks(1000) {
            let rows = json(&part.iter().map(|l| (l.id, l.confirmed_at.0)).collect::<Vec<_>>())?;
            on!(tx, |c| sqlx::query(confirm).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
        }
        Ok(())
    }
}

/// The line that was confirmed last; of two at the same instant the later one.
fn newest(lines: &[Line]) -> Option<&Line> {
    lines.iter().max_by_key(|l| l.confirmed_at)
}

const HISTORY: &str = "SELECT channel, state, source, at, confirmed_at FROM consent_log WHERE person_id = $1 ORDER BY at, id";
const CURRENT_SQLITE: &str = "SELECT id, email_consent, ads_consent FROM person WHERE id IN (SELECT value FROM json_each($1))";
const CURRENT_POSTGRES: &str =
    "SELECT id, email_consent, ads_consent FROM person WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json))";
const SET_EMAIL: &str = "UPDATE person SET email_consent = $2,
       updated_at = CASE WHEN updated_at > $3 THEN updated_at ELSE $3 END WHERE id = $1";
const SET_ADS: &str = "UPDATE person SET ads_consent = $2,
       updated_at = CASE WHEN updated_at > $3 THEN updated_at ELSE $3 END WHERE id = $1";

/// What the history says per channel (email, ads), or the fallback where there is none.
pub(super) async fn current(tx: &mut Tx, person: PersonId, fallback: (Consent, Consent)) -> sqlx::Result<(Consent, Consent)> {
    let ledger = Ledger::load(tx, &[person]).await?;
    Ok((ledger.current(person, Channel::Email).unwrap_or(fallback.0), ledger.current(person, Channel::Ads).unwrap_or(fallback.1)))
}

/// Takes answers in, in order: a change becomes a line of the history, a repetition only confirms, and an answer older than the newest one
/// known changes nothing else. One result per answer.
pub async fn answer(tx: &mut Tx, answers: &[Answer<'_>], now: Timestamp) -> Result<Vec<Answered>, PeopleError> {
    let mut people: Vec<PersonId> = answers.iter().map(|a| a.person).collect();
    people.sort_unstable();
    people.dedup();
    let sql = match tx.dialect() {
        Dialect::Sqlite => CURRENT_SQLITE,
        Dialect::Postgres => CURRENT_POSTGRES,
    };
    let mut states: HashMap<PersonId, [Consent; 2]> = HashMap::with_capacity(people.len());
    for part in people.chunks(1000) {
        let wanted = json(&part.iter().map(|p| p.0).collect::<Vec<_>>())?;
        let rows: Vec<(PersonId, String, String)> = on!(tx, |c| sqlx::query_as(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
        for (id, email, ads) in rows {
            states.insert(id, [email.parse()?, ads.parse()?]);
        }
    }
    let mut ledger = Ledger::load(tx, &people).await?;
    let mut done = Vec::with_capacity(answers.len());
    for answer in answers {
        let at = usize::from(answer.channel == Channel::Ads);
        let state = &mut states.get_mut(&answer.person).ok_or(PeopleError::NotFound)?[at];
        let answered = ledger.add(answer, *state);
        if answered.changed {
            *state = ledger.current(answer.person, answer.channel).unwrap_or(*state);
            let sql = if answer.channel == Channel::Email { SET_EMAIL } else { SET_ADS };
            let (person, name) = (answer.person, state.name());
            on!(tx, |c| sqlx::query(sql).bind(person).bind(name).bind(now).execute(&mut *c).await.map(|_| ()))?;
        }
        done.push(answered);
    }
    ledger.save(tx).await?;
    Ok(done)
}

/// One person's answer for one channel, as [`answer`]. Returns whether the state changed.
pub async fn set_consent(
    tx: &mut Tx,
    person: PersonId,
    channel: Channel,
    state: Consent,
    source: &str,
    at: Timestamp,
) -> Result<bool, PeopleError> {
    Ok(answer(tx, &[Answer { person, channel, state, source, at }], at).await?.iter().any(|a| a.changed))
}

/// The same answer of many people.
pub async fn set_consents(
    tx: &mut Tx,
    people: &[PersonId],
    channel: Channel,
    state: Consent,
    source: &str,
    at: Timestamp,
) -> Result<(), PeopleError> {
    let answers: Vec<_> = people.iter().map(|person| Answer { person: *person, channel, state, source, at }).collect();
    answer(tx, &answers, at).await.map(|_| ())
}

/// A line of a person's consent history.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ConsentLine {
    pub channel: String,
    pub state: String,
    pub source: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When the same answer was given last.
    #[schema(value_type = String, format = DateTime)]
    pub confirmed_at: Timestamp,
}

pub(super) async fn history(db: &Db, person: PersonId) -> sqlx::Result<Vec<ConsentLine>> {
    read!(*db, |c| sqlx::query_as::<_, ConsentLine>(HISTORY).bind(person).fetch_all(c).await)
}

/// An address that is never written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Suppression {
    /// The address lower-cased; of an erased person only `sha256:…`.
    pub email_key: String,
    /// `bounce`, `complaint`, `unsubscribe`, `manual`, `erased` …
    pub reason: String,
    pub detail: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

const SUPPRESS: &str = "INSERT INTO suppression (email_key, reason, detail, at) VALUES ($1, $2, $3, $4) ON CONFLICT (email_key) DO NOTHING";
const RELEASE: &str = "DELETE FROM suppression WHERE email_key = $1 OR email_key = $2";
const ONE: &str = "SELECT email_key, reason, detail, at FROM suppression WHERE email_key = $1 OR email_key = $2";
const AMONG_SQLITE: &str = "SELECT email_key FROM suppression WHERE email_key IN (SELECT value FROM json_each($1))";
const AMONG_POSTGRES: &str = "SELECT email_key FROM suppression WHERE email_key IN (SELECT value FROM json_array_elements_text($1::json))";

/// What is kept of an erased person's address.
fn hashed(key: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes())))
}

/// Puts an address on the list for good. The first reason stays. `email` may be written in any case; what is no address is ignored.
pub async fn suppress(tx: &mut Tx, email: &str, reason: &str, detail: Option<&str>, at: Timestamp) -> sqlx::Result<bool> {
    let Some(key) = email_key(email) else { return Ok(false) };
    let detail = detail.map(|d| d.replace('\0', "").chars().take(500).collect::<String>());
    on!(tx, |c| sqlx::query(SUPPRESS).bind(key).bind(reason).bind(detail).bind(at).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

/// As [`suppress`], for somebody who was erased: only the hash is kept.
pub async fn suppress_hidden(tx: &mut Tx, email: &str, reason: &str, at: Timestamp) -> sqlx::Result<bool> {
    let Some(key) = email_key(email) else { return Ok(false) };
    let hash = hashed(&key);
    on!(tx, |c| {
        sqlx::query(SUPPRESS).bind(hash).bind(reason).bind(None::<String>).bind(at).execute(&mut *c).await.map(|r| r.rows_affected() == 1)
    })
}

/// Takes an address off the list. Returns whether it was on it.
pub async fn release(tx: &mut Tx, email: &str) -> sqlx::Result<bool> {
    let Some(key) = email_key(email) else { return Ok(false) };
    on!(tx, |c| sqlx::query(RELEASE).bind(key.as_str()).bind(hashed(&key)).execute(&mut *c).await.map(|r| r.rows_affected() > 0))
}

/// Why an address is on the list, if it is.
pub async fn suppression(db: &Db, email: &str) -> sqlx::Result<Option<Suppression>> {
    let Some(key) = email_key(email) else { return Ok(None) };
    read!(*db, |c| sqlx::query_as::<_, Suppression>(ONE).bind(key.as_str()).bind(hashed(&key)).fetch_optional(c).await)
}

/// Which of these addresses (as given, in any case) are on the list.
pub async fn suppressed(db: &Db, emails: &[&str]) -> sqlx::Result<HashSet<String>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => AMONG_SQLITE,
        Dialect::Postgres => AMONG_POSTGRES,
    };
    let mut found = HashSet::new();
    for part in emails.chunks(1000) {
        let keys: Vec<(String, &str)> =
            part.iter().filter_map(|e| email_key(e).map(|k| (k, *e))).flat_map(|(k, e)| [(hashed(&k), e), (k, e)]).collect();
        let wanted = json(&keys.iter().map(|(k, _)| k).collect::<Vec<_>>())?;
        let hits: HashSet<String> =
            read!(*db, |c| sqlx::query_scalar::<_, String>(sql).bind(wanted.as_str()).fetch_all(c).await)?.into_iter().collect();
        found.extend(keys.into_iter().filter(|(k, _)| hits.contains(k)).map(|(_, e)| e.to_owned()));
    }
    Ok(found)
}

const TO_HASH: &str = "UPDATE suppression SET email_key = $2, detail = NULL WHERE email_key = $1";
const DROP: &str = "DELETE FROM suppression WHERE email_key = $1";
const SUPPRESS_HASH: &str =
    "INSERT INTO suppression (email_key, reason, detail, at) VALUES ($1, 'erased', NULL, $2) ON CONFLICT (email_key) DO NOTHING";
const IS_ON: &str = "SELECT COUNT(*) FROM suppression WHERE email_key = $1";

/// Of an erased person's address only the hash stays, and only where it must not be written to again.
pub(super) async fn hide_address(tx: &mut Tx, key: &str, unsubscribed: bool, now: Timestamp) -> sqlx::Result<()> {
    let hash = hashed(key);
    on!(tx, |c| {
        let hash_is_on: i64 = sqlx::query_scalar(IS_ON).bind(hash.as_str()).fetch_one(&mut *c).await?;
        if hash_is_on > 0 {
            return sqlx::query(DROP).bind(key).execute(&mut *c).await.map(|_| ());
        }
        let moved = sqlx::query(TO_HASH).bind(key).bind(hash.as_str()).execute(&mut *c).await?.rows_affected();
        if moved == 0 && unsubscribed {
            sqlx::query(SUPPRESS_HASH).bind(hash.as_str()).bind(now).execute(&mut *c).await?;
        }
        Ok(())
    })
}
