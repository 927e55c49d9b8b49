//! Who is in a segment: snapshots written down in pieces, walks that write nothing, sizes over time.

use std::collections::VecDeque;

use serde::Serialize;

use crate::platform::Platform;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Db;
use crate::platform::ids::{PersonId, SegmentId, SnapshotId};

use super::compile::Compiled;
use super::resolve::resolve;
use super::rule::{InSegment, Rule};
use super::service::{AudienceError, Segment, get, list};
use super::store;

/// Members written in one transaction: some 15 ms on SQLite.
const MEMBERS_PER_CHUNK: i64 = 2_000;
/// Ids read at once: Postgres evaluates a rule over events as a whole, so asking anew for each chunk would cost that many times as much.
const MEMBERS_PER_READ: i64 = 200_000;
/// Complete snapshots whose members are kept; also those taken less than [`KEEP_US`] before the newest, because a run may still read them.
const KEEP_SNAPSHOTS: usize = 3;
const KEEP_US: i64 = 2 * DAY_US;

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

/// Writes a segment's members down as of a moment, in chunks; becomes the latest when complete. An unfinished snapshot of the same rule and
/// moment is continued where it stopped. The rule is evaluated by readers; a transaction only inserts ids.
pub async fn snapshot(platform: &Platform, segment_id: SegmentId, as_of: Timestamp) -> Result<Snapshot, AudienceError> {
    let db = &platform.db;
    let segment = get(db, segment_id).await?;
    let rule = resolve(db, &Rule::InSegment(InSegment { segment: segment.key.clone() })).await?.compile(db.dialect(), as_of);
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

pub(super) async fn drop_members(db: &Db, snapshot: SnapshotId) -> Result<(), AudienceError> {
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
    let rule = resolve(db, &Rule::InSegment(InSegment { segment: key })).await?.compile(db.dialect(), as_of);
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
    let rule = resolve(db, &Rule::InSegment(InSegment { segment: key })).await?.compile(db.dialect(), as_of);
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
