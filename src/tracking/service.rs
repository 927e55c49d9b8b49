//! Recording what comes back: clicks and unsubscribes are durable before they are answered, opens within a quarter of a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::adserver::{self, Ticket};
use crate::people::{self, Channel, Consent, PeopleError};
use crate::platform::batch::{BatchError, BatchLimits, Batcher};
use crate::platform::clock::SECOND_US;
use crate::platform::db::Urgency;
use crate::platform::ids::{PersonId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::{self, Actor, NewSignal, NewTouch, SignalKind, Touch};

/// Opens wait this long for company.
const OPEN_LINGER: Duration = Duration::from_millis(200);
const OPEN_BATCH: usize = 1_000;
const OPEN_WAITING: usize = 50_000;
/// Clicks and unsubscribes in one commit.
const URGENT: BatchLimits = BatchLimits { items: 256, linger: Duration::from_millis(2), waiting: 10_000 };

/// A click this soon after the mail server took the mail is a scanner's: nobody reads that fast.
const HASTY_CLICK_US: i64 = 5 * SECOND_US;
/// An open this soon is a gateway's or a proxy's.
const HASTY_OPEN_US: i64 = SECOND_US;
/// So many different links of one touch within [`BURST_US`] are a scanner's.
const BURST_LINKS: usize = 3;
const BURST_US: i64 = SECOND_US;
/// Touches whose recent clicks are remembered.
const BURST_MEMORY: usize = 10_000;

/// What a person may choose on the preference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub email: bool,
    pub ads: bool,
}

/// One thing to be written before it is acknowledged.
#[derive(Clone, Debug)]
enum Act {
    Signal(NewSignal),
    /// Of a banner, whose touch may not have been written yet: another replica decided it a moment ago.
    Ad {
        ticket: Box<Ticket>,
        signal: NewSignal,
    },
    Unsubscribe {
        signal: NewSignal,
        person: Option<PersonId>,
        source: &'static str,
    },
    Choose {
        person: PersonId,
        choice: Choice,
        at: Timestamp,
    },
}

#[derive(Default)]
struct Bursts {
    seen: HashMap<TouchId, Vec<(Timestamp, u8)>>,
}

impl Bursts {
    /// Notes a click; whether it is part of a burst over several links.
    fn note(&mut self, touch: TouchId, slot: u8, now: Timestamp) -> bool {
        if self.seen.len() >= BURST_MEMORY {
            self.seen.retain(|_, clicks| clicks.last().is_some_and(|(at, _)| now.since(*at) <= BURST_US));
            if self.seen.len() >= BURST_MEMORY {
                self.seen.clear();
            }
        }
        let clicks = self.seen.entry(touch).or_default();
        clicks.retain(|(at, _)| now.since(*at) <= BURST_US);
        clicks.push((now, slot));
        let mut slots: Vec<u8> = clicks.iter().map(|(_, slot)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.len() >= BURST_LINKS
    }
}

/// Takes what comes back. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Tracker {
    platform: Platform,
    urgent: Batcher<Act, ()>,
    opens: mpsc::Sender<NewSignal>,
    bursts: Arc<Mutex<Bursts>>,
}

impl Tracker {
    pub fn start(platform: Platform) -> Self {
        let (opens, inbox) = mpsc::channel(OPEN_WAITING);
        tokio::spawn(flush_opens(platform.clone(), inbox));
        let writer = platform.clone();
        let urgent = Batcher::spawn(URGENT, move |acts: Vec<Act>| {
            let platform = writer.clone();
            async move { commit(&platform, &acts).await.map_err(|e| e.to_string()) }
        });
        Self { platform, urgent, opens, bursts: Arc::default() }
    }

    /// Takes an open or a viewable; it is written within 250 ms. Under a flood that the database cannot follow, opens are dropped and
    /// counted in `marquee_opens_dropped_total`.
    pub fn open(&self, touch: &Touch, kind: SignalKind, by: Actor) {
        let now = self.platform.now();
        let hasty = by == Actor::Human && kind == SignalKind::Open && touch.sent_at.is_some_and(|sent| now.since(sent) < HASTY_OPEN_US);
        let actor = if hasty { Actor::Proxy } else { by };
        // The same reader within a minute is one open.
        let key = Some(format!("{actor}:{}", now.micros() / (60 * SECOND_US)));
        let signal = NewSignal { touch_id: touch.id, kind, actor, at: now, detail: None, key };
        if self.opens.try_send(signal).is_err() {
            metrics::counter!("marquee_opens_dropped_total").increment(1);
        }
    }

    /// Writes a click; returns who made it, as far as that can be told.
    pub async fn click(&self, touch: &Touch, slot: u8, by: Actor) -> Result<Actor, BatchError> {
        let now = self.platform.now();
        let burst = self.bursts.lock().unwrap_or_else(PoisonError::into_inner).note(touch.id, slot, now);
        let hasty = touch.sent_at.is_some_and(|sent| now.since(sent) < HASTY_CLICK_US);
        let actor = if by == Actor::Human && (burst || hasty) { Actor::Bot } else { by };
        let key = Some(format!("{actor}:{slot}:{}", now.micros() / SECOND_US));
        let detail = Some(format!("slot {slot}"));
        self.urgent.submit(Act::Signal(NewSignal { touch_id: touch.id, kind: SignalKind::Click, actor, at: now, detail, key })).await?;
        Ok(actor)
    }

    /// Writes a click or a view of a banner; done when this returns. Each counts once per impression, however often it is called.
    pub async fn ad(&self, ticket: &Ticket, kind: SignalKind, actor: Actor) -> Result<(), BatchError> {
        let key = Some(format!("{actor}:once"));
        let signal = NewSignal { touch_id: ticket.touch, kind, actor, at: self.platform.now(), detail: None, key };
        self.urgent.submit(Act::Ad { ticket: Box::new(*ticket), signal }).await
    }

    /// Takes the person off the list; done when this returns. Doing it twice is doing it once.
    pub async fn unsubscribe(&self, touch: &Touch, source: &'static str) -> Result<(), BatchError> {
        let at = self.platform.now();
        let signal = NewSignal {
            touch_id: touch.id,
            kind: SignalKind::Unsubscribe,
            actor: Actor::Human,
            at,
            detail: Some(source.to_owned()),
            key: Some("unsubscribe".into()),
        };
        self.urgent.submit(Act::Unsubscribe { signal, person: touch.person_id, source }).await
    }

    /// Writes what a person chose.
    pub async fn choose(&self, person: PersonId, choice: Choice) -> Result<(), BatchError> {
        self.urgent.submit(Act::Choose { person, choice, at: self.platform.now() }).await
    }
}

async fn commit(platform: &Platform, acts: &[Act]) -> Result<Vec<()>, PeopleError> {
    let signals: Vec<NewSignal> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Signal(signal) | Act::Ad { signal, .. } | Act::Unsubscribe { signal, .. } => Some(signal.clone()),
            Act::Choose { .. } => None,
        })
        .collect();
    let shown: Vec<NewTouch> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Ad { ticket, .. } => Some(ticket.touch()),
            _ => None,
        })
        .collect();
    let mut tx = platform.db.begin_as(Urgency::Tracking).await?;
    touches::plan_many(&mut tx, &shown, platform.now()).await?;
    let recorded = touches::record_signals(&mut tx, &signals, platform.now()).await?;
    let signalling = acts.iter().filter(|act| !matches!(act, Act::Choose { .. }));
    let answers: Vec<(Ticket, SignalKind, Timestamp)> = signalling
        .zip(&recorded)
        .filter_map(|(act, done)| match act {
            Act::Ad { ticket, signal } if done.first => Some((**ticket, signal.kind, signal.at)),
            _ => None,
        })
        .collect();
    if !answers.is_empty() {
        adserver::count_answers(&mut tx, &answers, platform.now()).await?;
    }
    for act in acts {
        match act {
            Act::Signal(_) | Act::Ad { .. } | Act::Unsubscribe { person: None, .. } => {}
            Act::Unsubscribe { signal, person: Some(person), source } => {
                consent(&mut tx, *person, Channel::Email, false, source, signal.at).await?;
            }
            Act::Choose { person, choice, at } => {
                consent(&mut tx, *person, Channel::Email, choice.email, "preferences", *at).await?;
                consent(&mut tx, *person, Channel::Ads, choice.ads, "preferences", *at).await?;
            }
        }
    }
    tx.commit().await?;
    Ok(vec![(); acts.len()])
}

/// Somebody erased meanwhile has nothing left to change.
async fn consent(
    tx: &mut crate::platform::Tx,
    person: PersonId,
    channel: Channel,
    on: bool,
    source: &str,
    at: Timestamp,
) -> Result<(), PeopleError> {
    let state = if on { Consent::Subscribed } else { Consent::Unsubscribed };
    match people::set_consent(tx, person, channel, state, source, at).await {
        Ok(_) | Err(PeopleError::NotFound) => Ok(()),
        Err(other) => Err(other),
    }
}

async fn flush_opens(platform: Platform, mut inbox: mpsc::Receiver<NewSignal>) {
    let mut batch = Vec::with_capacity(OPEN_BATCH);
    while let Some(first) = inbox.recv().await {
        batch.push(first);
        let deadline = tokio::time::Instant::now() + OPEN_LINGER;
        while batch.len() < OPEN_BATCH {
            match tokio::time::timeout_at(deadline, inbox.recv()).await {
                Ok(Some(next)) => batch.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        for attempt in 1_u32..=3 {
            let written: sqlx::Result<()> = async {
                let mut tx = platform.db.begin_as(Urgency::Tracking).await?;
                touches::record_signals(&mut tx, &batch, platform.now()).await?;
                tx.commit().await
            }
            .await;
            match written {
                Ok(()) => break,
                Err(error) if attempt == 3 => {
                    metrics::counter!("marquee_opens_dropped_total").increment(batch.len() as u64);
                    tracing::error!(%error, lost = batch.len(), "opens could not be written");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100 << attempt)).await,
            }
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_links_at_once_are_a_burst_and_one_link_often_is_not() {
        let mut bursts = Bursts::default();
        let (a, b) = (TouchId::new(Timestamp(1)), TouchId::new(Timestamp(2)));
        let t = Timestamp::from_secs(100);
        assert!(!bursts.note(a, 0, t) && !bursts.note(a, 0, t) && !bursts.note(a, 0, t) && !bursts.note(a, 1, t));
        assert!(!bursts.note(b, 2, t));
        assert!(bursts.note(a, 2, t.plus_us(BURST_US)));
        assert!(!bursts.note(a, 3, t.plus_us(3 * BURST_US)));
    }
}
