//! What can be done with segments, and in which order.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::platform::Platform;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Db;
use crate::platform::http::ApiError;
use crate::platform::ids::{PersonId, SegmentId, SnapshotId};

use super::compile::{Compiled, Resolved};
use super::rule::{Rule, RuleError, wrong};
use super::store;

/// Most nodes after the segments named in a rule have been inlined.
const MAX_RESOLVED_NODES: usize = 600;
/// How deep segments may name segments.
const MAX_INLINE_DEPTH: usize = 5;
/// Members written in one transaction: some 15 ms on SQLite.
const MEMBERS_PER_CHUNK: i64 = 2_000;
/// Ids read at once: Postgres evaluates a rule over events as a whole, so asking anew for each chunk would cost that many times as much.
const MEMBERS_PER_READ: i64 = 200_000;
/// Complete snapshots whose members are kept; also those taken less than [`KEEP_US`] before the newest, because a run may still read them.
const KEEP_SNAPSHOTS: usize = 3;
const KEEP_US: i64 = 2 * DAY_US;

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
            AudienceError::Key => Self::invalid("key", e.to_string()),
            AudienceError::Name => Self::invalid("name", e.to_string()),
            AudienceError::Taken(_) => Self::conflict("key_taken", e.to_string()),
            AudienceError::Used(_) => Self::conflict("in_use", e.to_string()),
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

/// A taking of a segment's membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub segment_id: SegmentId,
    pub rule_version: i64,
    /// The moment the rule was asked about.
    pub taken_at: Timestamp,
    pub complete: bool,
    pub size: i64,
}

impl From<store::SnapshotRow> for Snapshot {
    fn from(r: store::SnapshotRow) -> Self {
        Self {
            id: r.id,
            segment_id: r.segment_id,
            rule_version: r.rule_version,
            taken_at: r.taken_at,
            complete: r.status == "complete",
            size: r.size,
        }
    }
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
    serde_json::to_value(rule).map_err(|e| RuleError { path: "rule".into(), why: e.to_string() }.into())
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
    let mut inliner = Inliner::new(db);
    inliner.override_rule(&old, &rule);
    inliner.run(&rule, vec![old.key.clone()]).await?;
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

/// Whether a rule names a segment, by key or id.
pub fn names(rule: &Rule, segment: &Segment) -> bool {
    match rule {
        Rule::InSegment(s) => s.segment == segment.key || s.segment == segment.id.to_string(),
        Rule::All { of } | Rule::Any { of } => of.iter().any(|r| names(r, segment)),
        Rule::Not { rule } => names(rule, segment),
        _ => false,
    }
}

/// Inlines the segments that a rule names: their rules as they are now, not their snapshots, so that no result depends on when something
/// was built. Circles, unknown segments and trees that grow too large are errors.
pub async fn resolve(db: &Db, rule: &Rule) -> Result<Resolved, AudienceError> {
    rule.check()?;
    Inliner::new(db).run(rule, Vec::new()).await
}

struct Inliner<'a> {
    db: &'a Db,
    known: HashMap<String, Segment>,
    nodes: usize,
}

impl<'a> Inliner<'a> {
    fn new(db: &'a Db) -> Self {
        Self { db, known: HashMap::new(), nodes: 0 }
    }

    /// Looks at a segment as if it had this rule already.
    fn override_rule(&mut self, segment: &Segment, rule: &Rule) {
        let changed = Segment { rule: rule.clone(), ..segment.clone() };
        self.known.insert(segment.id.to_string(), changed.clone());
        self.known.insert(segment.key.clone(), changed);
    }

    async fn run(&mut self, rule: &Rule, above: Vec<String>) -> Result<Resolved, AudienceError> {
        self.inline(rule, "rule".into(), &above).await.map(Resolved)
    }

    async fn inline(&mut self, rule: &Rule, path: String, above: &[String]) -> Result<Rule, AudienceError> {
        self.nodes += 1;
        if self.nodes > MAX_RESOLVED_NODES {
            return Ok(wrong(&path, format!("with the segments it names, this rule has more than {MAX_RESOLVED_NODES} parts"))?);
        }
        Ok(match rule {
            Rule::All { of } => Rule::All { of: Box::pin(self.inline_all(of, &path, above)).await? },
            Rule::Any { of } => Rule::Any { of: Box::pin(self.inline_all(of, &path, above)).await? },
            Rule::Not { rule } => Rule::Not { rule: Box::new(Box::pin(self.inline(rule, format!("{path}.rule"), above)).await?) },
            Rule::InSegment(s) => {
                let named = self.segment(&s.segment, &path).await?;
                if above.contains(&named.key) {
                    return Ok(wrong(&path, format!("segments name each other in a circle: {} → {}", above.join(" → "), named.key))?);
                }
                if above.len() >= MAX_INLINE_DEPTH {
                    return Ok(wrong(&path, format!("segments name segments at most {MAX_INLINE_DEPTH} deep: {}", above.join(" → ")))?);
                }
                let below: Vec<String> = above.iter().cloned().chain([named.key.clone()]).collect();
                Box::pin(self.inline(&named.rule, format!("{path}.segment({})", named.key), &below)).await?
            }
            leaf => leaf.clone(),
        })
    }

    async fn inline_all(&mut self, of: &[Rule], path: &str, above: &[String]) -> Result<Vec<Rule>, AudienceError> {
        let mut out = Vec::with_capacity(of.len());
        for (i, rule) in of.iter().enumerate() {
            out.push(self.inline(rule, format!("{path}.of[{i}]"), above).await?);
        }
        Ok(out)
    }

    async fn segment(&mut self, name: &str, path: &str) -> Result<Segment, AudienceError> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let found = match find(self.db, name).await {
            Err(AudienceError::Unknown(name)) => wrong(path, format!("there is no segment “{name}”"))?,
            other => other?,
        };
        self.known.insert(name.to_owned(), found.clone());
        Ok(found)
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

/// Writes a segment's members down as of a moment, in chunks; becomes the latest when complete. An unfinished snapshot of the same rule and
/// moment is continued where it stopped. The rule is evaluated by readers; a transaction only inserts ids.
pub async fn snapshot(platform: &Platform, segment_id: SegmentId, as_of: Timestamp) -> Result<Snapshot, AudienceError> {
    let db = &platform.db;
    let segment = get(db, segment_id).await?;
    let rule = resolve(db, &Rule::InSegment(super::rule::InSegment { segment: segment.key.clone() })).await?.compile(db.dialect(), as_of);
    let mut tx = db.begin().await?;
    let started = store::start(&mut tx, segment_id, segment.version, as_of, platform.now()).await?;
    tx.commit().await?;
    let mut walk = Walk { db: db.clone(), rule, cursor: started.cursor_person_id, ahead: VecDeque::new() };
    loop {
        let from = walk.cursor;
        let people = walk.next(MEMBERS_PER_CHUNK).await?;
        let Some(last) = people.last().copied() else { break };
        let mut tx = db.begin().await?;
        if store::add(&mut tx, started.id, from, &people, last).await? {
            tx.commit().await?;
            continue;
        }
        // Another worker goes on with the same snapshot: look how far it is.
        tx.rollback().await?;
        match store::snapshot(db, started.id).await? {
            Some(row) if row.status == "building" => walk.go_on_from(row.cursor_person_id),
            _ => break,
        }
    }
    let mut tx = db.begin().await?;
    store::finish(&mut tx, started.id, platform.now()).await?;
    tx.commit().await?;
    prune(db, segment_id).await?;
    let done = store::snapshot(db, started.id).await?.ok_or_else(|| AudienceError::Unknown(segment.key))?;
    Ok(done.into())
}

/// Drops the members of old snapshots, in small pieces; their sizes stay.
async fn prune(db: &Db, segment: SegmentId) -> Result<(), AudienceError> {
    let complete = store::complete(db, segment).await?;
    let Some(newest) = complete.first() else { return Ok(()) };
    let (oldest_kept, newest_id) = (newest.taken_at.plus_us(-KEEP_US), newest.id);
    let abandoned =
        store::all_of(db, segment).await?.into_iter().filter(|s| s.status == "building" && s.taken_at < oldest_kept && s.id < newest_id);
    let old = complete.into_iter().skip(KEEP_SNAPSHOTS).filter(|s| s.taken_at < oldest_kept);
    for snapshot in old.chain(abandoned) {
        // Expired first: nobody takes it for complete while its members go.
        let mut tx = db.begin().await?;
        store::expire(&mut tx, snapshot.id).await?;
        tx.commit().await?;
        drop_members(db, snapshot.id).await?;
    }
    Ok(())
}

async fn drop_members(db: &Db, snapshot: SnapshotId) -> Result<(), AudienceError> {
    loop {
        let mut tx = db.begin().await?;
        let gone = store::drop_some(&mut tx, snapshot, MEMBERS_PER_CHUNK).await?;
        tx.commit().await?;
        if gone == 0 {
            return Ok(());
        }
    }
}

/// The people of a segment as of a moment, in order of id: what a snapshot would hold, without writing one.
pub async fn walk(db: &Db, segment: SegmentId, as_of: Timestamp) -> Result<Walk, AudienceError> {
    let key = get(db, segment).await?.key;
    let rule = resolve(db, &Rule::InSegment(super::rule::InSegment { segment: key })).await?.compile(db.dialect(), as_of);
    Ok(Walk { db: db.clone(), rule, cursor: PersonId(0), ahead: VecDeque::new() })
}

/// Goes through the people who match a rule, reading far ahead of what is taken.
pub struct Walk {
    db: Db,
    rule: Compiled,
    /// The last one taken.
    cursor: PersonId,
    ahead: VecDeque<PersonId>,
}

impl Walk {
    /// The next people, at most `limit`; empty at the end.
    pub async fn next(&mut self, limit: i64) -> Result<Vec<PersonId>, AudienceError> {
        if self.ahead.is_empty() {
            self.ahead = store::matching(&self.db, &self.rule, self.cursor, MEMBERS_PER_READ).await?.into();
        }
        let n = usize::try_from(limit).unwrap_or(0).min(self.ahead.len());
        let people: Vec<PersonId> = self.ahead.drain(..n).collect();
        self.cursor = people.last().copied().unwrap_or(self.cursor);
        Ok(people)
    }
    /// Forgets what was read ahead.
    fn go_on_from(&mut self, cursor: PersonId) {
        self.ahead.clear();
        self.cursor = cursor;
    }
}

/// Some people of a segment, spread over all ids in `pieces` stretches, at most `each` from each: the same ones each time.
pub async fn spread(db: &Db, segment: SegmentId, as_of: Timestamp, pieces: i64, each: i64) -> Result<Vec<PersonId>, AudienceError> {
    let key = get(db, segment).await?.key;
    let rule = resolve(db, &Rule::InSegment(super::rule::InSegment { segment: key })).await?.compile(db.dialect(), as_of);
    let last = store::last_person(db).await?.0;
    let step = (last / pieces.max(1)).max(1);
    let mut found: Vec<PersonId> = Vec::new();
    for piece in 0..pieces {
        let end = if piece + 1 == pieces { i64::MAX } else { (piece + 1) * step };
        let some = store::matching(db, &rule, PersonId(piece * step), each).await?;
        found.extend(some.into_iter().filter(|p| p.0 <= end));
    }
    Ok(found)
}

/// The newest complete snapshot.
pub async fn latest_snapshot(db: &Db, segment: SegmentId) -> Result<Option<Snapshot>, AudienceError> {
    Ok(store::latest(db, segment).await?.map(Into::into))
}

/// Members with ids above `after`, in order of id. Somebody erased since the snapshot may still be named: check at the time of use.
pub async fn members(db: &Db, snapshot: SnapshotId, after: PersonId, limit: i64) -> Result<Vec<PersonId>, AudienceError> {
    Ok(store::members(db, snapshot, after, limit).await?)
}

/// How many of these people the newest snapshot of each segment holds, the most first; segments that hold none of them are left out. At most
/// `segments` segments and some thousand people.
pub async fn members_among(db: &Db, people: &[PersonId], segments: i64) -> Result<Vec<(Segment, i64)>, AudienceError> {
    let ids: Vec<i64> = people.iter().map(|p| p.0).collect();
    let mut found = Vec::new();
    for segment in list(db, SegmentId(0), segments).await? {
        let Some(snapshot) = store::latest(db, segment.id).await? else { continue };
        let members = store::members_among(db, snapshot.id, &ids).await?;
        if members > 0 {
            found.push((segment, members));
        }
    }
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.id.cmp(&b.0.id)));
    Ok(found)
}

/// A point on the curve of a segment's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SizePoint {
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Timestamp,
    pub size: i64,
}

/// Size over time, oldest first; at most the last `limit` snapshots.
pub async fn sizes(db: &Db, segment: SegmentId, limit: i64) -> Result<Vec<SizePoint>, AudienceError> {
    let mut points: Vec<SizePoint> =
        store::sizes(db, segment, limit).await?.into_iter().map(|(taken_at, size)| SizePoint { taken_at, size }).collect();
    points.reverse();
    Ok(points)
}
