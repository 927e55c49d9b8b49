//! What pages show of segments at once: every segment with its latest size, and how sizes moved.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::QueryBuilder;

use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::ids::{PersonId, SegmentId};
use crate::read;

use super::membership::SizePoint;

/// Most segments in one overview; a shop has dozens.
const MOST: i64 = 5_000;

/// A segment as a list shows it. `size` and `taken_at` are those of the newest complete snapshot.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Overview {
    pub id: SegmentId,
    pub key: String,
    pub name: String,
    pub updated_at: Timestamp,
    pub size: Option<i64>,
    pub taken_at: Option<Timestamp>,
}

// One probe of segment_snapshot_latest per segment.
const OVERVIEW: &str = "SELECT s.id, s.key, s.name, s.updated_at, n.size, n.taken_at FROM segment s
     LEFT JOIN segment_snapshot n ON n.id = (SELECT l.id FROM segment_snapshot l WHERE l.segment_id = s.id AND l.status = 'complete'
       ORDER BY l.taken_at DESC, l.id DESC LIMIT 1)
     ORDER BY s.id LIMIT $1";

/// All segments, in order of id.
pub async fn overview(db: &Db) -> sqlx::Result<Vec<Overview>> {
    read!(*db, |c| sqlx::query_as::<_, Overview>(OVERVIEW).bind(MOST).fetch_all(c).await)
}

/// Sizes of these segments since a moment, oldest first. Two ranges of segment_snapshot_latest per segment.
pub async fn curves(db: &Db, segments: &[SegmentId], since: Timestamp) -> sqlx::Result<HashMap<SegmentId, Vec<SizePoint>>> {
    let mut curves: HashMap<SegmentId, Vec<SizePoint>> = HashMap::new();
    if segments.is_empty() {
        return Ok(curves);
    }
    let rows: Vec<(SegmentId, Timestamp, i64)> = read!(*db, |c| {
        let mut q = QueryBuilder::new("SELECT segment_id, taken_at, size FROM segment_snapshot WHERE segment_id IN (");
        let mut ids = q.separated(", ");
        for id in segments {
            ids.push_bind(*id);
        }
        q.push(") AND status IN ('complete', 'expired') AND taken_at >= ").push_bind(since).push(" ORDER BY taken_at, id");
        q.build_query_as().persistent(false).fetch_all(c).await
    })?;
    for (id, taken_at, size) in rows {
        curves.entry(id).or_default().push(SizePoint { taken_at, size });
    }
    Ok(curves)
}

// One probe of the newest snapshot, and one of its members, per segment.
const OF_PERSON: &str = "SELECT s.id, s.key, s.name, s.updated_at, n.size, n.taken_at FROM segment s
     JOIN segment_snapshot n ON n.id = (SELECT l.id FROM segment_snapshot l WHERE l.segment_id = s.id AND l.status = 'complete'
       ORDER BY l.taken_at DESC, l.id DESC LIMIT 1)
     JOIN segment_member m ON m.snapshot_id = n.id AND m.person_id = $1
     ORDER BY s.name, s.id LIMIT $2";

/// The segments in whose newest snapshot a person is.
pub async fn segments_of(db: &Db, person: PersonId) -> sqlx::Result<Vec<Overview>> {
    read!(*db, |c| sqlx::query_as::<_, Overview>(OF_PERSON).bind(person).bind(MOST).fetch_all(c).await)
}
