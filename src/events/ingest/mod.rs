//! Ingest: messages of many calls are committed together; what is acknowledged is durable.

mod api;
mod body;
mod commit;
mod message;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub(super) use api::routes;
pub use api::{IngestAnswer, RefusedMessage, openapi};
pub use commit::Outcome;
pub use message::{Envelope, Kind, MAX_MESSAGE_BYTES, Message, read};

use crate::platform::Platform;
use crate::platform::batch::{BatchError, BatchLimits, Batcher};

/// Largest batch, bytes of JSON after inflating.
pub const MAX_BATCH_BYTES: usize = 500 * 1024;
/// Calls in one commit, and calls that may wait for the next.
const LIMITS: BatchLimits = BatchLimits { items: 64, linger: Duration::from_millis(3), waiting: 4096 };
/// Bodies that may wait or be under way, in kB: however many calls come, no more memory than this (times what JSON takes when parsed).
const ROOM_KB: usize = 32 * 1024;

/// The way in. One per process; clones share it.
#[derive(Clone)]
pub struct Ingest {
    batcher: Batcher<Vec<Message>, Vec<Outcome>>,
    room: Arc<Semaphore>,
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
        Self { batcher, room: Arc::new(Semaphore::new(ROOM_KB)) }
    }

    /// Hands in the messages of one call (a body of so many bytes) and waits until they are on disk. One outcome for each, in order. `Busy`
    /// when too much waits.
    pub async fn submit(&self, messages: Vec<Message>, bytes: usize) -> Result<Vec<Outcome>, BatchError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let kb = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let _room = self.room.try_acquire_many(kb).map_err(|_| BatchError::Busy)?;
        self.batcher.submit(messages).await
    }
}
