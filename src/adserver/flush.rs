//! Writes what was shown: impressions and ghosts, collected for at most a quarter of a second and written together.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::platform::Platform;
use crate::platform::db::Urgency;
use crate::platform::ids::{CampaignId, PersonId};
use crate::touches::holdout::{self, Scope};
use crate::touches::{self, NewTouch};

/// Longest time an impression waits in memory.
pub const LINGER: Duration = Duration::from_millis(200);
const MOST: usize = 500;
/// Impressions that may wait; beyond it (a database that stands still) new ones are dropped and counted.
const WAITING: usize = 100_000;

/// One thing to write down.
#[derive(Clone, Debug)]
pub struct Entry {
    pub touch: NewTouch,
    pub campaign_holdout_bp: i64,
    pub global_holdout_bp: i64,
}

/// The way in.
#[derive(Clone)]
pub struct Log {
    queue: mpsc::Sender<Message>,
}

enum Message {
    Entry(Box<Entry>),
    Flush(tokio::sync::oneshot::Sender<()>),
}

impl Log {
    pub fn start(platform: Platform) -> Self {
        let (queue, inbox) = mpsc::channel(WAITING);
        tokio::spawn(run(platform, inbox));
        Self { queue }
    }

    pub fn add(&self, entry: Entry) {
        if self.queue.try_send(Message::Entry(Box::new(entry))).is_err() {
            metrics::counter!("marquee_impressions_dropped_total").increment(1);
        }
    }

    /// Waits until everything added so far is written.
    pub async fn flush(&self) {
        let (done, written) = tokio::sync::oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

async fn run(platform: Platform, mut inbox: mpsc::Receiver<Message>) {
    while let Some(first) = inbox.recv().await {
        let mut entries = Vec::new();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        let deadline = tokio::time::Instant::now() + LINGER;
        while let Some(message) = next.take() {
            match message {
                Message::Entry(entry) => entries.push(*entry),
                Message::Flush(done) => {
                    waiting.push(done);
                    break;
                }
            }
            if entries.len() < MOST {
                next = tokio::time::timeout_at(deadline, inbox.recv()).await.ok().flatten();
            }
        }
        // A database that is away for a moment must not cost impressions: try for half a minute.
        for attempt in 1..=6_u32 {
            match write(&platform, &entries).await {
                Ok(()) => break,
                Err(error) if attempt == 6 => {
                    metrics::counter!("marquee_impressions_dropped_total").increment(entries.len() as u64);
                    tracing::error!(%error, lost = entries.len(), "impressions could not be written");
                }
                Err(error) => {
                    tracing::warn!(%error, "impressions wait for the database");
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                }
            }
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

async fn write(platform: &Platform, entries: &[Entry]) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let now = platform.now();
    let mut arms: BTreeMap<(Option<CampaignId>, i64), Vec<PersonId>> = BTreeMap::new();
    for entry in entries {
        if let Some(person) = entry.touch.person_id {
            arms.entry((Some(entry.touch.campaign_id), entry.campaign_holdout_bp)).or_default().push(person);
            arms.entry((None, entry.global_holdout_bp)).or_default().push(person);
        }
    }
    let touches: Vec<NewTouch> = entries.iter().map(|e| e.touch.clone()).collect();
    let mut tx = platform.db.begin_as(Urgency::Tracking).await?;
    for ((campaign, bp), mut people) in arms {
        people.sort_unstable();
        people.dedup();
        let scope = campaign.map_or(Scope::Global, Scope::Campaign);
        holdout::assign(&mut tx, &platform.signer, scope, bp, &people, now).await?;
    }
    touches::plan_many(&mut tx, &touches, now).await?;
    tx.commit().await
}
