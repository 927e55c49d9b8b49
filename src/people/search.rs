//! Finding people by the beginning of an address, an id or a name: ranges of indexes, in order, page by page.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Person;
use super::store;
use crate::platform::db::{Db, Dialect};
use crate::platform::ids::PersonId;
use crate::read;

/// Somebody found, and the text they were found by: both together are the keyset of the next page.
#[derive(Clone, Debug)]
pub struct Found {
    pub key: String,
    pub person: Person,
}

/// Longest text that is looked for.
const MAX_CHARS: usize = 200;

const IDENTITY: &str = "SELECT value, person_id FROM person_identity WHERE kind = $1 AND value >= $2 AND value < $3
       AND (value > $4 OR person_id > $5) ORDER BY value, person_id LIMIT $6";

macro_rules! name_sql {
    ($column:literal, $other:literal, $c:literal) => {
        concat!(
            "SELECT LOWER(",
            $column,
            "), id FROM person WHERE ",
            $column,
            " IS NOT NULL AND LOWER(",
            $column,
            ")",
            $c,
            " >= $1 AND LOWER(",
            $column,
            ")",
            $c,
            " < $2 AND (LOWER(",
            $column,
            ")",
            $c,
            " > $3 OR id > $4) AND ($5 = '' OR LOWER(",
            $other,
            ") LIKE $5 ESCAPE '!') ORDER BY LOWER(",
            $column,
            ")",
            $c,
            ", id LIMIT $6"
        )
    };
}
const FIRST_SQLITE: &str = name_sql!("first_name", "last_name", "");
const FIRST_POSTGRES: &str = name_sql!("first_name", "last_name", " COLLATE \"C\"");
const LAST_SQLITE: &str = name_sql!("last_name", "first_name", "");
const LAST_POSTGRES: &str = name_sql!("last_name", "first_name", " COLLATE \"C\"");

/// One range of one index.
struct Branch {
    /// A kind of identity, `first` or `last`.
    what: &'static str,
    prefix: String,
    /// What the other name begins with, as a LIKE pattern; empty for any.
    other: String,
}

/// The engines fold ASCII letters only, so a text is looked for as typed, in small letters, and with one large letter in front.
fn spellings(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let mut letters = lower.chars();
    let front = letters.next().map(|c| if c.is_ascii() { c.to_string() } else { c.to_uppercase().collect() }).unwrap_or_default();
    [lower.clone(), front + letters.as_str()].into()
}

fn branches(text: &str) -> Vec<Branch> {
    let mut out = Vec::new();
    out.push(Branch { what: "email", prefix: text.to_lowercase(), other: String::new() });
    for prefix in [text.to_owned(), text.to_lowercase(), text.to_uppercase()].into_iter().collect::<BTreeSet<_>>() {
        out.push(Branch { what: "external", prefix, other: String::new() });
    }
    let (name, other) = text.split_once(char::is_whitespace).map_or((text, ""), |(a, b)| (a, b.trim()));
    for prefix in spellings(name) {
        let others = if other.is_empty() { BTreeSet::from([String::new()]) } else { spellings(other) };
        for other in others {
            let other = if other.is_empty() { other } else { format!("{}%", store::escape_like(&other)) };
            out.push(Branch { what: "first", prefix: prefix.clone(), other: other.clone() });
            out.push(Branch { what: "last", prefix: prefix.clone(), other });
        }
    }
    out
}

/// At most `limit` people whose address, external id, first or last name begins with the text (or “first last”), behind `after`, in order of
/// what they were found by.
pub async fn search(db: &Db, text: &str, after: Option<(&str, PersonId)>, limit: usize) -> sqlx::Result<Vec<Found>> {
    let text: String = text.trim().replace('\0', "").chars().take(MAX_CHARS).collect();
    let branches = if text.is_empty() { Vec::new() } else { branches(&text) };
    let mut from = after.map_or((String::new(), PersonId(0)), |(key, id)| (key.to_owned(), id));
    let mut found: Vec<Found> = Vec::new();
    let mut seen = BTreeSet::new();
    while found.len() < limit {
        let mut rows: BTreeSet<(String, PersonId)> = BTreeSet::new();
        for branch in &branches {
            rows.extend(rows_of(db, branch, &from, limit).await?);
        }
        let page: Vec<(String, PersonId)> = rows.into_iter().take(limit).collect();
        let Some(last) = page.last().cloned() else { break };
        let ids: Vec<PersonId> = page.iter().map(|(_, id)| *id).collect();
        let mut people: BTreeMap<PersonId, Person> = store::get_many(db, &ids).await?.into_iter().collect();
        for (key, id) in page {
            // Who is found by several texts stands where the first of them does.
            let Some(person) =
                people.get(&id).filter(|p| p.erased_at.is_none() && first_key(p, &branches).is_none_or(|k| k >= key.to_lowercase()))
            else {
                continue;
            };
            if seen.insert(person.id) && found.len() < limit {
                let person = people.remove(&id);
                found.extend(person.map(|person| Found { key, person }));
            }
        }
        from = last;
    }
    Ok(found)
}

/// The first, in order and in small letters (the engines differ in what they fold), of a person's texts that match.
fn first_key(person: &Person, branches: &[Branch]) -> Option<String> {
    let lower = |t: &Option<String>| t.as_deref().map(str::to_lowercase);
    let texts = [
        ("email", lower(&person.email_key)),
        ("external", lower(&person.external_id)),
        ("first", lower(&person.first_name)),
        ("last", lower(&person.last_name)),
    ];
    let begins = |what: &str, text: &str| branches.iter().any(|b| b.what == what && text.starts_with(&b.prefix.to_lowercase()));
    texts.into_iter().filter_map(|(what, text)| text.filter(|t| begins(what, t))).min()
}

async fn rows_of(db: &Db, branch: &Branch, after: &(String, PersonId), limit: usize) -> sqlx::Result<Vec<(String, PersonId)>> {
    // Texts are compared byte by byte: everything that begins with the prefix lies below prefix + the last character there is.
    let end = format!("{}\u{10ffff}", branch.prefix);
    let begin = branch.prefix.as_str().max(after.0.as_str());
    if begin >= end.as_str() {
        return Ok(Vec::new());
    }
    let postgres = db.dialect() == Dialect::Postgres;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = match (branch.what, postgres) {
        ("first", false) => FIRST_SQLITE,
        ("first", true) => FIRST_POSTGRES,
        ("last", false) => LAST_SQLITE,
        ("last", true) => LAST_POSTGRES,
        _ => IDENTITY,
    };
    if matches!(branch.what, "first" | "last") {
        return read!(*db, |c| {
            let query = sqlx::query_as(sql).bind(begin).bind(end.as_str()).bind(after.0.as_str()).bind(after.1);
            query.bind(branch.other.as_str()).bind(limit).fetch_all(c).await
        });
    }
    read!(*db, |c| {
        let query = sqlx::query_as(sql).bind(branch.what).bind(begin).bind(end.as_str()).bind(after.0.as_str());
        query.bind(after.1).bind(limit).fetch_all(c).await
    })
}

const MERGED: &str = "SELECT id FROM person WHERE merged_into = $1 ORDER BY id LIMIT 50";

/// Who became part of a person.
pub async fn merged_from(db: &Db, id: PersonId) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar::<_, PersonId>(MERGED).bind(id).fetch_all(c).await)
}
