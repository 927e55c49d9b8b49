//! What can be done with segments, and in which order.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::fault;
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::http::ApiError;
use crate::platform::ids::{PersonId, SegmentId};

use super::membership::drop_members;
use super::resolve::{names, resolve, resolve_changed};
use super::rule::{Rule, RuleError};
use super::store;

#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("there is no segment “{0}”")]
    Unknown(String),
    #[error("a segment's key has 1 to 60 of a–z, 0–9, “-” and “_”, and does not start with “seg_”")]
    Key,
    #[error("there is a segment with the key “{0}” already")]
    Taken(String),
    #[error("a segment's name has 1 to 200 characters")]
    Name,
    #[error("the segment is still used: {0}")]
    Used(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the stored rule of segment “{0}” cannot be read: {1}")]
    Stored(String, RuleError),
}

impl From<AudienceError> for ApiError {
    fn from(e: AudienceError) -> Self {
        match e {
            AudienceError::Rule(RuleError { path, why }) => Self::invalid(path, why),
            AudienceError::Unknown(_) => Self::not_found("segment"),
            AudienceError::Key => Self::invalid(
                "key",
                fault!("segment.key", "a segment's key has 1 to 60 of a–z, 0–9, “-” and “_”, and does not start with “seg_”"),
            ),
            AudienceError::Name => Self::invalid("name", fault!("segment.name", "a segment's name has 1 to 200 characters")),
            AudienceError::Taken(key) => {
                Self::conflict("key_taken", fault!("segment.taken", "there is a segment with the key “{key}” already", key))
            }
            AudienceError::Used(by) => Self::conflict("in_use", fault!("segment.used", "the segment is still used: {by}", by)),
            AudienceError::Database(e) => e.into(),
            AudienceError::Stored(..) => Self::internal(e),
        }
    }
}

/// A named rule.
#[derive(Clone, Debug, Serialize)]
pub struct Segment {
    pub id: SegmentId,
    pub key: String,
    pub name: String,
    pub rule: Rule,
    /// Counts the changes of the rule.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSegment {
    /// Stable name in addresses and files.
    pub key: String,
    pub name: String,
    pub rule: Rule,
}

fn segment(row: store::SegmentRow) -> Result<Segment, AudienceError> {
    let rule = Rule::parse(row.rule.0).map_err(|e| AudienceError::Stored(row.key.clone(), e))?;
    Ok(Segment {
        id: row.id,
        key: row.key,
        name: row.name,
        rule,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

fn check_names(key: &str, name: &str) -> Result<(), AudienceError> {
    let plain = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if key.is_empty() || key.len() > 60 || !plain || key.starts_with("seg_") {
        return Err(AudienceError::Key);
    }
    check_name(name)
}

fn check_name(name: &str) -> Result<(), AudienceError> {
    if name.trim().is_empty() || name.chars().count() > 200 || name.contains('\0') { Err(AudienceError::Name) } else { Ok(()) }
}

fn to_json(rule: &Rule) -> Result<serde_json::Value, AudienceError> {
    serde_json::to_value(rule).map_err(|e| RuleError { path: "rule".into(), why: e.to_string().into() }.into())
}

pub async fn create(db: &Db, new: NewSegment, now: Timestamp) -> Result<Segment, AudienceError> {
    check_names(&new.key, &new.name)?;
    new.rule.check()?;
    resolve(db, &new.rule).await?;
    let json = to_json(&new.rule)?;
    let mut tx = db.begin().await?;
    let id = match store::insert(&mut tx, &new.key, new.name.trim(), &json, now).await {
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => return Err(AudienceError::Taken(new.key)),
        other => other?,
    };
    tx.commit().await?;
    get(db, id).await
}

/// Changes name and rule. A rule that would make segments name each other in a circle is refused.
pub async fn update(db: &Db, id: SegmentId, name: &str, rule: Rule, now: Timestamp) -> Result<Segment, AudienceError> {
    check_name(name)?;
    rule.check()?;
    let old = get(db, id).await?;
    resolve_changed(db, &old, &rule).await?;
    let json = to_json(&rule)?;
    let mut tx = db.begin().await?;
    store::update(&mut tx, id, name.trim(), &json, i64::from(old.rule != rule), now).await?;
    tx.commit().await?;
    get(db, id).await
}

pub async fn get(db: &Db, id: SegmentId) -> Result<Segment, AudienceError> {
    segment(store::by_id(db, id).await?.ok_or_else(|| AudienceError::Unknown(id.to_string()))?)
}

/// By key, or by id (`seg_7`).
pub async fn find(db: &Db, key_or_id: &str) -> Result<Segment, AudienceError> {
    let row = match key_or_id.parse::<SegmentId>() {
        Ok(id) => store::by_id(db, id).await?,
        Err(_) => store::by_key(db, key_or_id).await?,
    };
    segment(row.ok_or_else(|| AudienceError::Unknown(key_or_id.chars().take(80).collect()))?)
}

/// Segments with ids above `after`, in order of id.
pub async fn list(db: &Db, after: SegmentId, limit: i64) -> Result<Vec<Segment>, AudienceError> {
    store::page(db, after, limit).await?.into_iter().map(segment).collect()
}

/// The names of these segments; unknown ids are absent.
pub async fn names_of(db: &Db, ids: &[SegmentId]) -> sqlx::Result<HashMap<SegmentId, String>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    store::names_of(db, ids).await
}

/// Removes a segment and its snapshots; refused while a campaign or another segment uses it.
pub async fn delete(db: &Db, id: SegmentId) -> Result<(), AudienceError> {
    let gone = get(db, id).await?;
    let mut after = SegmentId(0);
    loop {
        let page = list(db, after, 200).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        if let Some(user) = page.iter().find(|s| s.id != id && names(&s.rule, &gone)) {
            return Err(AudienceError::Used(format!("the segment “{}” names it", user.key)));
        }
    }
    let campaigns = store::campaigns(db, id).await?;
    if !campaigns.is_empty() {
        return Err(AudienceError::Used(format!("campaigns use it: {}", campaigns.join(", "))));
    }
    for snapshot in store::all_of(db, id).await? {
        drop_members(db, snapshot.id).await?;
    }
    let mut tx = db.begin().await?;
    match store::delete(&mut tx, id).await {
        Err(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => Err(AudienceError::Used("a campaign names it".into())),
        other => {
            other?;
            Ok(tx.commit().await?)
        }
    }
}

/// How many people a rule holds for at a moment.
pub async fn count(db: &Db, rule: &Rule, as_of: Timestamp) -> Result<i64, AudienceError> {
    let rule = resolve(db, rule).await?.compile(db.dialect(), as_of);
    Ok(store::count(db, &rule).await?)
}

/// A person as a sample shows them.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SamplePerson {
    #[schema(value_type = String, example = "per_42")]
    pub id: PersonId,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub country: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
}

/// Some of the people a rule holds for: spread over all ids, the same ones each time.
pub async fn sample(db: &Db, rule: &Rule, as_of: Timestamp, limit: i64) -> Result<Vec<SamplePerson>, AudienceError> {
    let rule = resolve(db, rule).await?.compile(db.dialect(), as_of);
    let rows = store::sample(db, &rule, limit.clamp(1, 100)).await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let name = [r.first_name, r.last_name].into_iter().flatten().collect::<Vec<_>>().join(" ");
            SamplePerson {
                id: r.id,
                external_id: r.external_id,
                email: r.email,
                name: Some(name).filter(|n| !n.is_empty()),
                country: r.country,
                last_seen_at: r.last_seen_at,
            }
        })
        .collect())
}

/// How two segments lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Overlap {
    pub first_only: i64,
    pub second_only: i64,
    pub both: i64,
}

pub async fn overlap(db: &Db, first: &Rule, second: &Rule, as_of: Timestamp) -> Result<Overlap, AudienceError> {
    let first = resolve(db, first).await?.compile(db.dialect(), as_of);
    let second = resolve(db, second).await?.compile(db.dialect(), as_of);
    let (first_only, second_only, both) = store::overlap(db, &first, &second).await?;
    Ok(Overlap { first_only, second_only, both })
}
