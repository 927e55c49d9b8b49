//! The job that takes snapshots: of one segment (`{"segment":"seg_7"}`), or of all.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::platform::Platform;
use crate::platform::ids::SegmentId;
use crate::platform::queue::JobContext;

use super::{membership, service};

pub(super) async fn snapshot(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let as_of = context.scheduled_at;
    if let Some(named) = context.args.get("segment") {
        let id: SegmentId = serde_json::from_value(named.clone()).context("args.segment is no segment id")?;
        let done = membership::snapshot(&platform, id, as_of).await?;
        return Ok(json!({ "snapshot": done.id, "size": done.size }));
    }
    let (mut after, mut taken, mut failed) = (SegmentId(0), 0, Vec::new());
    loop {
        let page = service::list(&platform.db, after, 200).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        context.progress.total(taken + i64::try_from(page.len())?);
        for segment in page {
            anyhow::ensure!(!context.stop.is_cancelled(), "stopped; the next attempt goes on");
            // One broken segment (it names one that is gone) must not keep the others from theirs.
            match membership::snapshot(&platform, segment.id, as_of).await {
                Ok(_) => taken += 1,
                Err(error) => failed.push(format!("{}: {error}", segment.key)),
            }
            context.progress.add(1);
        }
    }
    anyhow::ensure!(failed.is_empty(), "{taken} segments written; failed: {}", failed.join("; "));
    Ok(json!({ "segments": taken }))
}
