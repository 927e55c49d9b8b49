//! Which campaigns use a segment.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::model::Status;
use crate::platform::db::Db;
use crate::platform::ids::{CampaignId, SegmentId};
use crate::read;

/// A campaign by its name.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Use {
    pub id: CampaignId,
    pub name: String,
    pub status: Status,
}

#[derive(sqlx::FromRow)]
struct Row {
    segment_id: SegmentId,
    id: CampaignId,
    name: String,
    #[sqlx(try_from = "String")]
    status: Status,
}

/// The campaigns of each of these segments, the newest first. Served by campaign_segment.
pub async fn using(db: &Db, segments: &[SegmentId]) -> sqlx::Result<HashMap<SegmentId, Vec<Use>>> {
    let mut uses: HashMap<SegmentId, Vec<Use>> = HashMap::new();
    if segments.is_empty() {
        return Ok(uses);
    }
    let rows: Vec<Row> = read!(*db, |c| {
        let mut q = QueryBuilder::new("SELECT segment_id, id, name, status FROM campaign WHERE segment_id IN (");
        let mut ids = q.separated(", ");
        for id in segments {
            ids.push_bind(*id);
        }
        q.push(") ORDER BY id DESC");
        q.build_query_as::<Row>().persistent(false).fetch_all(c).await
    })?;
    for row in rows {
        uses.entry(row.segment_id).or_default().push(Use { id: row.id, name: row.name, status: row.status });
    }
    Ok(uses)
}
