//! Ingest: messages of many calls are committed together; what is acknowledged is durable.

mod api;
mod body;
mod commit;
mod message;

use std::time::Duration;

pub(super) use api::routes;
pub use api::{IngestAnswer, RefusedMessage, openapi};
pub use commit::Outcome;
pub use message::{Envelope, Kind, MAX_MESSAGE_BYTES, Message, read};

use crate::platform::Platform;
use crate::platform::batch::{BatchError, BatchLimits, Batcher};

/// Largest batch, bytes of JSON after inflating.
pub const MAX_BATCH_BYTES: usize = 500 * 1024;
/// Calls in one commit, and calls that may wait for the next: 512 of at most 500 kB.
const LIMITS: BatchLimits = BatchLimits { items: 64, linger: Duration::from_millis(3), waiting: 512 };

/// The way in. One per process; clones share it.
#[derive(Clone)]
pub struct Ingest {
    batcher: Batcher<Vec<Message>, Vec<Outcome>>,
}

impl Ingest {
    pub fn start(platform: Platform) -> Self {
        Self::start_with(platform, LIMITS)
    }

    pub fn start_with(platform: Platform, limits: BatchLimits) -> Self {
        let committer = commit::Committer::new(platform);
        let batcher = Batcher::spawn(limits, move |calls: Vec<Vec<Message>>| {
            let committer = committer.clone();
            async move { committer.commit(calls).await.map_err(|e| format!("{e:#}")) }
        });
        Self { batcher }
    }

    /// Hands in the messages of one call and waits until they are on disk. One outcome for each, in order. `Busy` when too much waits.
    pub async fn submit(&self, messages: Vec<Message>) -> Result<Vec<Outcome>, BatchError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.batcher.submit(messages).await
    }
}
