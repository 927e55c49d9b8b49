//! The job `events.prune`: drops message keys that no sender will repeat any more. Events stay.

use serde_json::{Value, json};

use super::store;
use crate::platform::Platform;
use crate::platform::queue::JobContext;

/// How long a message id is remembered.
const KEEP_DAYS: i64 = 90;
const KEYS_PER_COMMIT: i64 = 1000;

pub(super) async fn prune(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let before = context.scheduled_at.plus_days(-KEEP_DAYS);
    let mut dropped = 0;
    while !context.stop.is_cancelled() {
        let mut tx = platform.db.begin().await?;
        let n = store::drop_keys(&mut tx, before, KEYS_PER_COMMIT).await?;
        tx.commit().await?;
        dropped += n;
        context.progress.add(i64::try_from(n)?);
        if n == 0 {
            break;
        }
    }
    Ok(json!({ "dropped": dropped }))
}
