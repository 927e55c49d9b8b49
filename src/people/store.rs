//! SQL of `person` and `person_identity`. Lists of rows and ids travel as one JSON parameter on both engines.

use std::collections::HashMap;

use serde::Serialize;

use super::model::{Identity, Person};
use crate::platform::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::PersonId;
use crate::{on, read};

pub(super) const BY_ID: &str = "SELECT * FROM person WHERE id = $1";
const BY_IDS_SQLITE: &str = "SELECT * FROM person WHERE id IN (SELECT value FROM json_each($1))";
const BY_IDS_POSTGRES: &str = "SELECT * FROM person WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json))";
const BY_IDENTITY: &str = "SELECT p.* FROM person_identity i JOIN person p ON p.id = i.person_id WHERE i.kind = $1 AND i.value = $2";
const COUNT: &str = "SELECT COUNT(*) FROM person WHERE erased_at IS NULL";
const IDS_AFTER: &str = "SELECT id FROM person WHERE id > $1 AND erased_at IS NULL ORDER BY id LIMIT $2";
const LIST: &str = "SELECT * FROM person WHERE id > $1 AND erased_at IS NULL
       AND ($2 = '' OR email_key LIKE $2 ESCAPE '!' OR LOWER(external_id) LIKE $2 ESCAPE '!'
            OR LOWER(first_name) LIKE $2 ESCAPE '!' OR LOWER(last_name) LIKE $2 ESCAPE '!')
     ORDER BY id LIMIT $3";
const IDENTITIES_SQLITE: &str = "SELECT i.kind, i.value, i.person_id, p.external_id, p.email_key
     FROM json_each($1) w JOIN person_identity i ON i.kind = w.value ->> 'kind' AND i.value = w.value ->> 'value'
     JOIN person p ON p.id = i.person_id";
const IDENTITIES_POSTGRES: &str = "SELECT i.kind, i.value, i.person_id, p.external_id, p.email_key
     FROM json_to_recordset($1::json) AS w(kind text, value text) JOIN person_identity i ON i.kind = w.kind AND i.value = w.value
     JOIN person p ON p.id = i.person_id";
const IDENTITIES_OF: &str = "SELECT kind, value FROM person_identity WHERE person_id = $1 ORDER BY kind, value";

/// Rows as one JSON parameter.
pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> sqlx::Result<String> {
    serde_json::to_string(rows).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn pick(dialect: Dialect, sqlite: &'static str, postgres: &'static str) -> &'static str {
    match dialect {
        Dialect::Sqlite => sqlite,
        Dialect::Postgres => postgres,
    }
}

pub async fn get(db: &Db, id: PersonId) -> sqlx::Result<Option<Person>> {
    read!(*db, |c| sqlx::query_as::<_, Person>(BY_ID).bind(id).fetch_optional(c).await)
}

/// Those of the people that exist, erased ones among them.
pub async fn get_many(db: &Db, ids: &[PersonId]) -> sqlx::Result<HashMap<PersonId, Person>> {
    let mut found = HashMap::with_capacity(ids.len());
    for part in ids.chunks(1000) {
        let sql = pick(db.dialect(), BY_IDS_SQLITE, BY_IDS_POSTGRES);
        let wanted = json(&part.iter().map(|id| id.0).collect::<Vec<_>>())?;
        let rows = read!(*db, |c| sqlx::query_as::<_, Person>(sql).bind(wanted.as_str()).fetch_all(c).await)?;
        found.extend(rows.into_iter().map(|p| (p.id, p)));
    }
    Ok(found)
}

pub(super) async fn get_many_in(tx: &mut Tx, ids: &[PersonId]) -> sqlx::Result<HashMap<PersonId, Person>> {
    let mut found = HashMap::with_capacity(ids.len());
    for part in ids.chunks(1000) {
        let sql = pick(tx.dialect(), BY_IDS_SQLITE, BY_IDS_POSTGRES);
        let wanted = json(&part.iter().map(|id| id.0).collect::<Vec<_>>())?;
        let rows = on!(tx, |c| sqlx::query_as::<_, Person>(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
        found.extend(rows.into_iter().map(|p| (p.id, p)));
    }
    Ok(found)
}

/// Whoever goes by this name.
pub async fn find(db: &Db, identity: &Identity) -> sqlx::Result<Option<Person>> {
    read!(*db, |c| sqlx::query_as::<_, Person>(BY_IDENTITY).bind(identity.kind()).bind(identity.value()).fetch_optional(c).await)
}

const ID_OF: &str = "SELECT person_id FROM person_identity WHERE kind = $1 AND value = $2";

/// As [`find`], inside an open transaction, and only the id.
pub async fn find_in(tx: &mut Tx, identity: &Identity) -> sqlx::Result<Option<PersonId>> {
    on!(tx, |c| sqlx::query_scalar(ID_OF).bind(identity.kind()).bind(identity.value()).fetch_optional(&mut *c).await)
}

/// Makes a name lead to a person, whomever it led to before.
pub async fn link_name(tx: &mut Tx, identity: Identity, person: PersonId) -> sqlx::Result<()> {
    link(tx, &[(identity, person)], false).await
}

/// Ids of those who go by these names; names that nobody goes by are left out.
pub async fn find_many(db: &Db, identities: &[Identity]) -> sqlx::Result<HashMap<Identity, PersonId>> {
    let mut found = HashMap::with_capacity(identities.len());
    for part in identities.chunks(1000) {
        let sql = pick(db.dialect(), IDENTITIES_SQLITE, IDENTITIES_POSTGRES);
        let wanted = json(&part.iter().map(Wanted::of).collect::<Vec<_>>())?;
        let rows = read!(*db, |c| sqlx::query_as::<_, Known>(sql).bind(wanted.as_str()).fetch_all(c).await)?;
        found.extend(rows.into_iter().filter_map(|r| Some((Identity::from_parts(&r.kind, r.value)?, r.person_id))));
    }
    Ok(found)
}

pub async fn count(db: &Db) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(COUNT).fetch_one(c).await)
}

const LOCALES_SQLITE: &str = "SELECT DISTINCT locale FROM person WHERE id IN (SELECT value FROM json_each($1)) ORDER BY 1";
const LOCALES_POSTGRES: &str =
    "SELECT DISTINCT locale FROM person WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) ORDER BY 1";

/// The locales of these people, `None` for those who told none. At most some thousand people at a time.
pub async fn locales(db: &Db, ids: &[PersonId]) -> sqlx::Result<Vec<Option<String>>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => LOCALES_SQLITE,
        Dialect::Postgres => LOCALES_POSTGRES,
    };
    let wanted = json(&ids.iter().map(|id| id.0).collect::<Vec<_>>())?;
    read!(*db, |c| sqlx::query_scalar::<_, Option<String>>(sql).bind(wanted.as_str()).fetch_all(c).await)
}

/// The next ids in order: for work that goes through everybody in pieces. Start with `PersonId(0)`.
pub async fn ids_after(db: &Db, after: PersonId, limit: i64) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar::<_, PersonId>(IDS_AFTER).bind(after).bind(limit).fetch_all(c).await)
}

const ANONYMOUS_PAGE: &str = "SELECT value, person_id FROM person_identity WHERE kind = 'anonymous' AND value > $1 ORDER BY value LIMIT $2";

/// The next anonymous ids in order, with whom they belong to. Start with an empty text.
pub async fn anonymous_page(db: &Db, after: &str, limit: i64) -> sqlx::Result<Vec<(String, PersonId)>> {
    read!(*db, |c| sqlx::query_as::<_, (String, PersonId)>(ANONYMOUS_PAGE).bind(after).bind(limit).fetch_all(c).await)
}

/// One page of people in order of id. `search` is the beginning of an address, external id or name; empty for everybody.
pub async fn list(db: &Db, search: &str, after: PersonId, limit: i64) -> sqlx::Result<Vec<Person>> {
    let search = search.trim().to_lowercase();
    let pattern = if search.is_empty() { String::new() } else { format!("{}%", escape_like(&search)) };
    read!(*db, |c| sqlx::query_as::<_, Person>(LIST).bind(after).bind(pattern.as_str()).bind(limit).fetch_all(c).await)
}

const CHANGED: &str = "SELECT * FROM person WHERE updated_at > $1 OR (updated_at = $1 AND id > $2) ORDER BY updated_at, id LIMIT $3";
const LAST_CHANGE: &str = "SELECT COALESCE(MAX(updated_at), 0) FROM person";

/// People, erased ones among them, in order of their last change, after a place in that order.
pub async fn changed_after(db: &Db, at: Timestamp, id: PersonId, limit: i64) -> sqlx::Result<Vec<Person>> {
    read!(*db, |c| sqlx::query_as::<_, Person>(CHANGED).bind(at).bind(id).bind(limit).fetch_all(c).await)
}
/// When anybody changed last.
pub async fn last_change(db: &Db) -> sqlx::Result<Timestamp> {
    read!(*db, |c| sqlx::query_scalar::<_, Timestamp>(LAST_CHANGE).fetch_one(c).await)
}

const ANONYMOUS_OF_SQLITE: &str = "SELECT value, person_id FROM person_identity
     WHERE kind = 'anonymous' AND person_id IN (SELECT value FROM json_each($1))";
const ANONYMOUS_OF_POSTGRES: &str = "SELECT value, person_id FROM person_identity
     WHERE kind = 'anonymous' AND person_id IN (SELECT value::bigint FROM json_array_elements_text($1::json))";

/// The anonymous ids of some people.
pub async fn anonymous_of(db: &Db, ids: &[PersonId]) -> sqlx::Result<Vec<(String, PersonId)>> {
    let mut found = Vec::new();
    for part in ids.chunks(1000) {
        let sql = pick(db.dialect(), ANONYMOUS_OF_SQLITE, ANONYMOUS_OF_POSTGRES);
        let wanted = json(&part.iter().map(|id| id.0).collect::<Vec<_>>())?;
        found.extend(read!(*db, |c| sqlx::query_as::<_, (String, PersonId)>(sql).bind(wanted.as_str()).fetch_all(c).await)?);
    }
    Ok(found)
}

pub(super) fn escape_like(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c])).collect()
}

pub(super) async fn identities_of(db: &Db, id: PersonId) -> sqlx::Result<Vec<(String, String)>> {
    read!(*db, |c| sqlx::query_as::<_, (String, String)>(IDENTITIES_OF).bind(id).fetch_all(c).await)
}

#[derive(Serialize)]
struct Wanted<'a> {
    kind: &'a str,
    value: &'a str,
}
impl<'a> Wanted<'a> {
    fn of(identity: &'a Identity) -> Self {
        Self { kind: identity.kind(), value: identity.value() }
    }
}

/// A known identity and what decides about merging.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Known {
    pub kind: String,
    pub value: String,
    pub person_id: PersonId,
    pub external_id: Option<String>,
    pub email_key: Option<String>,
}

pub(super) async fn known(tx: &mut Tx, identities: &[Identity]) -> sqlx::Result<Vec<Known>> {
    let mut found = Vec::with_capacity(identities.len());
    for part in identities.chunks(2000) {
        let sql = pick(tx.dialect(), IDENTITIES_SQLITE, IDENTITIES_POSTGRES);
        let wanted = json(&part.iter().map(Wanted::of).collect::<Vec<_>>())?;
        found.extend(on!(tx, |c| sqlx::query_as::<_, Known>(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?);
    }
    Ok(found)
}

const LAST_ID: &str = "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'person'), 0)";
const NEXT_IDS: &str = "SELECT nextval(pg_get_serial_sequence('person', 'id')) FROM generate_series(1, $1)";

/// Ids for new people, known before the rows are written so that the bucket can be computed from them.
pub(super) async fn reserve_ids(tx: &mut Tx, n: usize) -> sqlx::Result<Vec<PersonId>> {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    match tx {
        // One writer: nobody else takes these. AUTOINCREMENT follows explicit ids.
        Tx::Sqlite { tx, .. } => {
            let last: i64 = sqlx::query_scalar(LAST_ID).fetch_one(&mut **tx).await?;
            Ok((last + 1..=last + n).map(PersonId).collect())
        }
        Tx::Postgres(tx) => {
            let ids: Vec<i64> = sqlx::query_scalar(NEXT_IDS).bind(n).fetch_all(&mut **tx).await?;
            Ok(ids.into_iter().map(PersonId).collect())
        }
    }
}

/// A person about to be created: names only; the profile follows by update.
#[derive(Serialize)]
pub(super) struct Born {
    pub id: i64,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub email_key: Option<String>,
    pub bucket: i64,
    pub seen_at: i64,
    pub created_at: i64,
}

const INSERT_SQLITE: &str = "INSERT INTO person (id, external_id, email, email_key, attributes, email_consent, ads_consent, bucket,
       first_seen_at, last_seen_at, created_at, updated_at)
     SELECT value ->> 'id', value ->> 'external_id', value ->> 'email', value ->> 'email_key', '{}', 'never', 'never', value ->> 'bucket',
       value ->> 'seen_at', value ->> 'seen_at', value ->> 'created_at', value ->> 'created_at' FROM json_each($1)";
const INSERT_POSTGRES: &str = "INSERT INTO person (id, external_id, email, email_key, attributes, email_consent, ads_consent, bucket,
       first_seen_at, last_seen_at, created_at, updated_at)
     SELECT id, external_id, email, email_key, '{}', 'never', 'never', bucket, seen_at, seen_at, created_at, created_at
     FROM json_to_recordset($1::json) AS d(id bigint, external_id text, email text, email_key text, bucket bigint, seen_at bigint,
       created_at bigint)";

pub(super) async fn insert(tx: &mut Tx, people: &[Born]) -> sqlx::Result<()> {
    for part in people.chunks(1000) {
        let sql = pick(tx.dialect(), INSERT_SQLITE, INSERT_POSTGRES);
        let rows = json(part)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Link<'a> {
    kind: &'a str,
    value: &'a str,
    person_id: i64,
}

const LINK_SQLITE: &str = "INSERT INTO person_identity (kind, value, person_id)
     SELECT value ->> 'kind', value ->> 'value', value ->> 'person_id' FROM json_each($1) WHERE true
     ON CONFLICT (kind, value) DO UPDATE SET person_id = excluded.person_id";
const LINK_POSTGRES: &str = "INSERT INTO person_identity (kind, value, person_id)
     SELECT kind, value, person_id FROM json_to_recordset($1::json) AS d(kind text, value text, person_id bigint)
     ON CONFLICT (kind, value) DO UPDATE SET person_id = excluded.person_id";
// New people: a name that somebody else took meanwhile must fail, so that the whole transaction is tried again.
const LINK_NEW_SQLITE: &str = "INSERT INTO person_identity (kind, value, person_id)
     SELECT value ->> 'kind', value ->> 'value', value ->> 'person_id' FROM json_each($1)";
const LINK_NEW_POSTGRES: &str = "INSERT INTO person_identity (kind, value, person_id)
     SELECT kind, value, person_id FROM json_to_recordset($1::json) AS d(kind text, value text, person_id bigint)";

/// Points names at people. With `fresh`, a name that is taken already is a unique violation.
pub(super) async fn link(tx: &mut Tx, links: &[(Identity, PersonId)], fresh: bool) -> sqlx::Result<()> {
    for part in links.chunks(2000) {
        let mut rows: Vec<Link> = part.iter().map(|(i, p)| Link { kind: i.kind(), value: i.value(), person_id: p.0 }).collect();
        rows.sort_by(|a, b| (a.kind, a.value).cmp(&(b.kind, b.value)));
        let sql = match (tx.dialect(), fresh) {
            (Dialect::Sqlite, true) => LINK_NEW_SQLITE,
            (Dialect::Sqlite, false) => LINK_SQLITE,
            (Dialect::Postgres, true) => LINK_NEW_POSTGRES,
            (Dialect::Postgres, false) => LINK_POSTGRES,
        };
        let rows = json(&rows)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const UNLINK_EMAIL: &str = "DELETE FROM person_identity WHERE person_id = $1 AND kind = 'email' AND value <> $2";
const SET_EMAIL: &str = "UPDATE person SET email = $2, email_key = $3, updated_at = $4 WHERE id = $1";
const SET_EXTERNAL: &str = "UPDATE person SET external_id = $2, updated_at = $3 WHERE id = $1";

/// Gives a person an address; earlier ones no longer lead to them.
pub(super) async fn set_email(tx: &mut Tx, id: PersonId, email: &str, key: &str, now: i64) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(UNLINK_EMAIL).bind(id).bind(key).execute(&mut *c).await?;
        sqlx::query(SET_EMAIL).bind(id).bind(email).bind(key).bind(now).execute(&mut *c).await.map(|_| ())
    })
}

pub(super) async fn set_external(tx: &mut Tx, id: PersonId, external_id: &str, now: i64) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_EXTERNAL).bind(id).bind(external_id).bind(now).execute(&mut *c).await.map(|_| ()))
}

/// A profile as it is written back.
#[derive(Serialize)]
struct Written<'a> {
    id: i64,
    first_name: Option<&'a str>,
    last_name: Option<&'a str>,
    phone: Option<&'a str>,
    locale: Option<&'a str>,
    time_zone: Option<&'a str>,
    country: Option<&'a str>,
    city: Option<&'a str>,
    attributes: &'a serde_json::Map<String, serde_json::Value>,
    email_consent: &'static str,
    ads_consent: &'static str,
    first_seen_at: i64,
    last_seen_at: i64,
    updated_at: i64,
}

const UPDATE_SQLITE: &str = "UPDATE person SET first_name = d.j ->> 'first_name', last_name = d.j ->> 'last_name', phone = d.j ->> 'phone',
       locale = d.j ->> 'locale', time_zone = d.j ->> 'time_zone', country = d.j ->> 'country', city = d.j ->> 'city',
       attributes = d.j -> 'attributes', email_consent = d.j ->> 'email_consent', ads_consent = d.j ->> 'ads_consent',
       first_seen_at = d.j ->> 'first_seen_at', last_seen_at = d.j ->> 'last_seen_at', updated_at = d.j ->> 'updated_at'
     FROM (SELECT value AS j, value ->> 'id' AS id FROM json_each($1)) d WHERE person.id = d.id";
const UPDATE_POSTGRES: &str = "UPDATE person SET first_name = d.first_name, last_name = d.last_name, phone = d.phone, locale = d.locale,
       time_zone = d.time_zone, country = d.country, city = d.city, attributes = d.attributes, email_consent = d.email_consent,
       ads_consent = d.ads_consent, first_seen_at = d.first_seen_at, last_seen_at = d.last_seen_at, updated_at = d.updated_at
     FROM json_to_recordset($1::json) AS d(id bigint, first_name text, last_name text, phone text, locale text, time_zone text,
       country text, city text, attributes jsonb, email_consent text, ads_consent text, first_seen_at bigint, last_seen_at bigint,
       updated_at bigint) WHERE person.id = d.id";

/// Writes profiles back: everything but names (ids and address).
pub(super) async fn update(tx: &mut Tx, people: &[Person]) -> sqlx::Result<()> {
    for part in people.chunks(1000) {
        let rows: Vec<Written> = part
            .iter()
            .map(|p| Written {
                id: p.id.0,
                first_name: p.first_name.as_deref(),
                last_name: p.last_name.as_deref(),
                phone: p.phone.as_deref(),
                locale: p.locale.as_deref(),
                time_zone: p.time_zone.as_deref(),
                country: p.country.as_deref(),
                city: p.city.as_deref(),
                attributes: &p.attributes.0,
                email_consent: p.email_consent.name(),
                ads_consent: p.ads_consent.name(),
                first_seen_at: p.first_seen_at.0,
                last_seen_at: p.last_seen_at.0,
                updated_at: p.updated_at.0,
            })
            .collect();
        let sql = pick(tx.dialect(), UPDATE_SQLITE, UPDATE_POSTGRES);
        let rows = json(&rows)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

#[derive(Serialize)]
pub(super) struct Seen {
    pub id: i64,
    pub first: i64,
    pub last: i64,
}

const SEEN_SQLITE: &str = "UPDATE person SET first_seen_at = MIN(first_seen_at, d.first), last_seen_at = MAX(last_seen_at, d.last)
     FROM (SELECT value ->> 'id' AS id, value ->> 'first' AS first, value ->> 'last' AS last FROM json_each($1)) d
     WHERE person.id = d.id AND (d.first < first_seen_at OR d.last > last_seen_at)";
const SEEN_POSTGRES: &str = "UPDATE person SET first_seen_at = LEAST(first_seen_at, d.first), last_seen_at = GREATEST(last_seen_at, d.last)
     FROM json_to_recordset($1::json) AS d(id bigint, first bigint, last bigint)
     WHERE person.id = d.id AND (d.first < first_seen_at OR d.last > last_seen_at)";

pub(super) async fn mark_seen(tx: &mut Tx, rows: &[Seen]) -> sqlx::Result<()> {
    for part in rows.chunks(1000) {
        let sql = pick(tx.dialect(), SEEN_SQLITE, SEEN_POSTGRES);
        let rows = json(part)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

const MOVE_IDENTITIES: &str = "UPDATE person_identity SET person_id = $2 WHERE person_id = $1";
const MOVE_CONSENT: &str = "UPDATE consent_log SET person_id = $2 WHERE person_id = $1";
const DROP_TRAITS: &str = "DELETE FROM person_traits WHERE person_id = $1";
const DROP_IDENTITIES: &str = "DELETE FROM person_identity WHERE person_id = $1";
const BLANK: &str =
    "UPDATE person SET external_id = NULL, email = NULL, email_key = NULL, first_name = NULL, last_name = NULL, phone = NULL,
       locale = NULL, time_zone = NULL, country = NULL, city = NULL, attributes = '{}', email_consent = 'never', ads_consent = 'never',
       updated_at = $2, erased_at = $2, merged_into = $3 WHERE id = $1";

/// Moves names and consent history to another person and blanks the first. The survivor's traits are computed anew by the job.
pub(super) async fn fold_into(tx: &mut Tx, from: PersonId, into: PersonId, now: i64) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(MOVE_IDENTITIES).bind(from).bind(into).execute(&mut *c).await?;
        sqlx::query(MOVE_CONSENT).bind(from).bind(into).execute(&mut *c).await?;
        sqlx::query(DROP_TRAITS).bind(from).execute(&mut *c).await?;
        sqlx::query(BLANK).bind(from).bind(now).bind(Some(into)).execute(&mut *c).await.map(|_| ())
    })
}

/// Drops names and traits and blanks the row.
pub(super) async fn blank(tx: &mut Tx, id: PersonId, now: i64) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(DROP_IDENTITIES).bind(id).execute(&mut *c).await?;
        sqlx::query(DROP_TRAITS).bind(id).execute(&mut *c).await?;
        sqlx::query(BLANK).bind(id).bind(now).bind(None::<PersonId>).execute(&mut *c).await.map(|_| ())
    })
}

const WITH_MERGED: &str = "WITH RECURSIVE part (id) AS (SELECT id FROM person WHERE id = $1
       UNION SELECT p.id FROM person p JOIN part ON p.merged_into = part.id) SELECT id FROM part ORDER BY id";

/// A person and everybody who became part of them.
pub(super) async fn with_merged(tx: &mut Tx, id: PersonId) -> sqlx::Result<Vec<PersonId>> {
    on!(tx, |c| sqlx::query_scalar(WITH_MERGED).bind(id).fetch_all(&mut *c).await)
}

/// Every name of a person.
pub(super) async fn names_in(tx: &mut Tx, id: PersonId) -> sqlx::Result<Vec<Identity>> {
    let rows: Vec<(String, String)> = on!(tx, |c| sqlx::query_as(IDENTITIES_OF).bind(id).fetch_all(&mut *c).await)?;
    Ok(rows.into_iter().filter_map(|(kind, value)| Identity::from_parts(&kind, value)).collect())
}
