//! What stays of an erased person's names: a keyed hash of each, so that an old file cannot bring them back, and nobody can read who they were.
//!
//! The rule: files are the past, a sign-up is the present. Imports, `POST /v1/people` and events refuse an erased name; an `identify` call by
//! the shop's server about a time after the erasure is a person who came back, and begins with an empty profile ([`welcome_back`]).

use std::collections::HashMap;

use super::model::Identity;
use super::store::json;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::token::Signer;
use crate::{on, read};

const PURPOSE: &str = "erased name";

const BURY: &str = "INSERT INTO person_tombstone (name_hash, erased_at) VALUES ($1, $2)
     ON CONFLICT (name_hash) DO UPDATE SET erased_at = excluded.erased_at";
const AMONG_SQLITE: &str = "SELECT name_hash, erased_at FROM person_tombstone WHERE name_hash IN (SELECT value FROM json_each($1))";
const AMONG_POSTGRES: &str =
    "SELECT name_hash, erased_at FROM person_tombstone WHERE name_hash IN (SELECT value FROM json_array_elements_text($1::json))";
const LIFT: &str = "DELETE FROM person_tombstone WHERE name_hash = $1";

/// `None` for a browser's id: it names a device, and whoever uses it next is a stranger.
fn hash(signer: &Signer, name: &Identity) -> Option<String> {
    let text = match name {
        Identity::Anonymous(_) => return None,
        Identity::External(_) | Identity::Email(_) => format!("{}\0{}", name.kind(), name.value()),
    };
    Some(hex::encode(signer.digest(PURPOSE, text.as_bytes())))
}

/// Remembers that whoever went by these names is erased.
pub(super) async fn bury(tx: &mut Tx, signer: &Signer, names: &[Identity], now: Timestamp) -> sqlx::Result<()> {
    for hash in names.iter().filter_map(|n| hash(signer, n)) {
        on!(&mut *tx, |c| sqlx::query(BURY).bind(hash.as_str()).bind(now).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

/// Which of these names belonged to somebody who was erased, and when.
pub async fn erased_among(db: &Db, signer: &Signer, names: &[Identity]) -> sqlx::Result<HashMap<Identity, Timestamp>> {
    let mut found = HashMap::new();
    for part in names.chunks(2000) {
        let (hashes, wanted) = hashed(signer, part)?;
        if !hashes.is_empty() {
            let sql = among(db.dialect());
            let rows = read!(*db, |c| sqlx::query_as::<_, (String, Timestamp)>(sql).bind(wanted.as_str()).fetch_all(c).await)?;
            matched(hashes, rows, &mut found);
        }
    }
    Ok(found)
}

/// As [`erased_among`], inside an open transaction.
pub async fn erased_among_in(tx: &mut Tx, signer: &Signer, names: &[Identity]) -> sqlx::Result<HashMap<Identity, Timestamp>> {
    let mut found = HashMap::new();
    for part in names.chunks(2000) {
        let (hashes, wanted) = hashed(signer, part)?;
        if !hashes.is_empty() {
            let sql = among(tx.dialect());
            let rows: Vec<(String, Timestamp)> = on!(&mut *tx, |c| sqlx::query_as(sql).bind(wanted.as_str()).fetch_all(&mut *c).await)?;
            matched(hashes, rows, &mut found);
        }
    }
    Ok(found)
}

type Hashes<'a> = Vec<(String, &'a Identity)>;

fn hashed<'a>(signer: &Signer, names: &'a [Identity]) -> sqlx::Result<(Hashes<'a>, String)> {
    let hashes: Hashes = names.iter().filter_map(|n| Some((hash(signer, n)?, n))).collect();
    let wanted = json(&hashes.iter().map(|(h, _)| h).collect::<Vec<_>>())?;
    Ok((hashes, wanted))
}

fn among(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => AMONG_SQLITE,
        Dialect::Postgres => AMONG_POSTGRES,
    }
}

fn matched(hashes: Hashes<'_>, rows: Vec<(String, Timestamp)>, found: &mut HashMap<Identity, Timestamp>) {
    let rows: HashMap<String, Timestamp> = rows.into_iter().collect();
    found.extend(hashes.into_iter().filter_map(|(h, n)| Some((n.clone(), *rows.get(&h)?))));
}

/// They signed up again: these names may be used from now on. What was erased stays erased.
pub async fn welcome_back(tx: &mut Tx, signer: &Signer, names: &[Identity]) -> sqlx::Result<()> {
    for hash in names.iter().filter_map(|n| hash(signer, n)) {
        on!(&mut *tx, |c| sqlx::query(LIFT).bind(hash.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}
