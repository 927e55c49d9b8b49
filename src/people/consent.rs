//! Consent: its history, its current state on the person, and the addresses that must never be written to again.

use std::collections::HashSet;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model::{Channel, Consent, PeopleError, email_key};
use super::store::json;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::PersonId;
use crate::{on, read};

/// One line of the history.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    person_id: i64,
    channel: &'static str,
    state: &'static str,
    source: String,
    at: i64,
}

impl Entry {
    pub(super) fn new(person: PersonId, channel: Channel, state: Consent, source: &str, at: Timestamp) -> Self {
        let source = source.replace('\0', "").chars().take(100).collect();
        Self { person_id: person.0, channel: channel.name(), state: state.name(), source, at: at.0 }
    }
}

const LOG_SQLITE: &str = "INSERT INTO consent_log (person_id, channel, state, source, at)
     SELECT value ->> 'person_id', value ->> 'channel', value ->> 'state', value ->> 'source', value ->> 'at' FROM json_each($1)";
const LOG_POSTGRES: &str = "INSERT INTO consent_log (person_id, channel, state, source, at)
     SELECT person_id, channel, state, source, at
     FROM json_to_recordset($1::json) AS d(person_id bigint, channel text, state text, source text, at bigint)";

pub(super) async fn log(tx: &mut Tx, entries: &[Entry]) -> sqlx::Result<()> {
    for part in entries.chunks(1000) {
        let sql = match tx.dialect() {
            Dialect::Sqlite => LOG_SQLITE,
            Dialect::Postgres => LOG_POSTGRES,
        };
        let rows = json(part)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const NEWEST: &str = "SELECT state FROM consent_log WHERE person_id = $1 AND channel = $2 ORDER BY at DESC, id DESC LIMIT 1";
const HISTORY: &str = "SELECT channel, state, source, at FROM consent_log WHERE person_id = $1 ORDER BY at, id";
const CURRENT: &str = "SELECT email_consent, ads_consent FROM person WHERE id = $1";
const SET_EMAIL: &str = "UPDATE person SET email_consent = $2, updated_at = $3 WHERE id = $1";
const SET_ADS: &str = "UPDATE person SET ads_consent = $2, updated_at = $3 WHERE id = $1";

/// The newest state per channel (email, ads), or the fallback where there is no history.
pub(super) async fn newest(tx: &mut Tx, person: PersonId, fallback: (Consent, Consent)) -> sqlx::Result<(Consent, Consent)> {
    let mut states = [fallback.0, fallback.1];
    for (i, channel) in [Channel::Email, Channel::Ads].into_iter().enumerate() {
        let state: Option<String> =
            on!(tx, |c| sqlx::query_scalar(NEWEST).bind(person).bind(channel.name()).fetch_optional(&mut *c).await)?;
        if let Some(state) = state.and_then(|s| s.parse().ok()) {
            states[i] = state;
        }
    }
    Ok((states[0], states[1]))
}

/// Sets one channel's consent. An answer older than the newest one known goes into the history only. Returns whether the state changed.
pub async fn set_consent(
    tx: &mut Tx,
    person: PersonId,
    channel: Channel,
    state: Consent,
    source: &str,
    at: Timestamp,
) -> Result<bool, PeopleError> {
    let current: Option<(String, String)> = on!(tx, |c| sqlx::query_as(CURRENT).bind(person).fetch_optional(&mut *c).await)?;
    let (email, ads) = current.ok_or(PeopleError::NotFound)?;
    let before: Consent = if channel == Channel::Email { email } else { ads }.parse()?;
    log(tx, &[Entry::new(person, channel, state, source, at)]).await?;
    let (email, ads) = newest(tx, person, (before, before)).await?;
    let (after, sql) = if channel == Channel::Email { (email, SET_EMAIL) } else { (ads, SET_ADS) };
    if after == before {
        return Ok(false);
    }
    on!(tx, |c| sqlx::query(sql).bind(person).bind(after.name()).bind(at).execute(&mut *c).await.map(|_| ()))?;
    Ok(true)
}

/// As [`set_consent`] for many people.
pub async fn set_consents(
    tx: &mut Tx,
    people: &[PersonId],
    channel: Channel,
    state: Consent,
    source: &str,
    at: Timestamp,
) -> Result<(), PeopleError> {
    for person in people {
        set_consent(tx, *person, channel, state, source, at).await?;
    }
    Ok(())
}

/// A line of a person's consent history.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ConsentLine {
    pub channel: String,
    pub state: String,
    pub source: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
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
