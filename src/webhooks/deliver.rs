//! Telling: batches in order, one at a time per webhook, again after a growing wait where it fails, given up after three days.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};
use url::Url;

use super::model::{Attempt, Webhook, WebhookError, backoff_us, signature};
use super::{payload, service, store};
use crate::platform::clock::DAY_US;
use crate::platform::outbound;
use crate::platform::queue::JobContext;
use crate::platform::{Platform, ids};

/// Events in one body.
const BATCH: i64 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);
/// While this lasts nobody else delivers to the same webhook.
const LEASE_US: i64 = 60_000_000;
/// Batches of one webhook in one run of the job; the next run goes on.
const MOST_BATCHES: usize = 200;
/// What is older is no news: it is dropped.
const KEPT_DAYS: i64 = 7;
/// A webhook that nothing got through to for so long is switched off.
const GIVEN_UP_US: i64 = 3 * DAY_US;
/// Webhooks at once.
const AT_ONCE: usize = 4;
/// Of an answer that is no success, so many bytes are kept.
const ANSWER_BYTES: usize = 300;

/// What a POST came to.
struct Answer {
    ok: bool,
    status: Option<i64>,
    error: Option<String>,
    took_us: i64,
}

async fn post(platform: &Platform, hook: &Webhook, body: &Value) -> Result<Answer, WebhookError> {
    let secret = service::secret(platform, hook.id).await?;
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let started = Instant::now();
    let sent = tokio::time::timeout(TIMEOUT, send(platform, hook, &secret, bytes)).await;
    let took_us = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
    Ok(match sent {
        Ok(Ok((status, _))) if (200..300).contains(&status) => Answer { ok: true, status: Some(status), error: None, took_us },
        Ok(Ok((status, said))) => Answer { ok: false, status: Some(status), error: Some(said), took_us },
        Ok(Err(why)) => Answer { ok: false, status: None, error: Some(why), took_us },
        Err(_) => Answer { ok: false, status: None, error: Some(format!("no answer within {} s", TIMEOUT.as_secs())), took_us },
    })
}

async fn send(platform: &Platform, hook: &Webhook, secret: &str, bytes: Vec<u8>) -> Result<(i64, String), String> {
    let url = Url::parse(&hook.url).map_err(|e| e.to_string())?;
    let client = outbound::client(&url, platform.config.webhooks.allow_private).await.map_err(|e| e.to_string())?;
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .header("marquee-signature", signature(secret.as_bytes(), platform.now(), &bytes))
        .header("marquee-delivery", ids::uuid_v4().to_string())
        .body(bytes)
        .send()
        .await
        .map_err(|e| reason(&e.without_url()))?;
    let status = i64::from(answer.status().as_u16());
    let mut said = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(Ok(piece)) = stream.next().await {
        said.extend_from_slice(&piece);
        if said.len() >= ANSWER_BYTES {
            break;
        }
    }
    said.truncate(ANSWER_BYTES);
    let said: String = String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).collect();
    Ok((status, said))
}

/// An error with its cause: reqwest's own text stops at “error sending request”.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    outbound::shortened(&text)
}

fn attempt(platform: &Platform, events: i64, answer: &Answer) -> Attempt {
    Attempt {
        id: 0,
        at: platform.now(),
        events,
        ok: answer.ok,
        status: answer.status,
        took_us: answer.took_us,
        error: answer.error.clone().filter(|e| !e.is_empty()),
    }
}

/// Tells a webhook of nothing but that it is asked: `{"events": [{"kind": "ping", …}]}`. Counts neither as failure nor as success.
///
/// # Errors
/// [`WebhookError::NotFound`], [`WebhookError::Secret`]; what the other side said is in the attempt.
pub async fn ping(platform: &Platform, id: i64) -> Result<Attempt, WebhookError> {
    let hook = service::get(&platform.db, id).await?;
    let body = json!({ "events": [{ "id": format!("ping_{}", ids::uuid_v4().simple()), "kind": "ping", "at": platform.now() }] });
    let answer = post(platform, &hook, &body).await?;
    let made = attempt(platform, 1, &answer);
    let mut tx = platform.db.begin().await?;
    store::note(&mut tx, id, &made).await?;
    tx.commit().await?;
    Ok(made)
}

/// Delivers what is due to every webhook. Returns how many events were acknowledged.
///
/// # Errors
/// Those of the database; what a receiver refuses is no error here.
pub async fn deliver_due(platform: &Platform, stop: impl Fn() -> bool + Sync) -> anyhow::Result<i64> {
    let due = store::due(&platform.db, platform.now()).await?;
    let stop = &stop;
    let told: Vec<Result<i64, WebhookError>> = futures::stream::iter(due)
        .map(|hook| async move { deliver(platform, &hook, stop).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut sum = 0;
    for one in told {
        match one {
            Ok(n) => sum += n,
            Err(WebhookError::Database(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "a webhook was not told"),
        }
    }
    Ok(sum)
}

async fn deliver(platform: &Platform, hook: &Webhook, stop: &(impl Fn() -> bool + Sync)) -> Result<i64, WebhookError> {
    let mut told = 0;
    for _ in 0..MOST_BATCHES {
        if stop() {
            break;
        }
        let now = platform.now();
        let mut tx = platform.db.begin().await?;
        let mine = store::claim(&mut tx, hook.id, now, now.plus_us(LEASE_US)).await?;
        let dropped = if mine { store::drop_old(&mut tx, hook.id, now.plus_days(-KEPT_DAYS)).await? } else { 0 };
        tx.commit().await?;
        if !mine {
            break;
        }
        if dropped > 0 {
            tracing::warn!(webhook = hook.id, dropped, "events older than {KEPT_DAYS} days were dropped");
        }
        let waiting = store::next(&platform.db, hook.id, BATCH).await?;
        if waiting.is_empty() {
            let mut tx = platform.db.begin().await?;
            store::succeeded(&mut tx, hook.id, now).await?;
            tx.commit().await?;
            break;
        }
        let events = waiting.len() as i64;
        let body = payload::body(&platform.db, &waiting).await?;
        let answer = post(platform, hook, &body).await?;
        let now = platform.now();
        let mut tx = platform.db.begin().await?;
        store::note(&mut tx, hook.id, &attempt(platform, events, &answer)).await?;
        if answer.ok {
            store::done(&mut tx, &waiting.iter().map(|w| w.id).collect::<Vec<_>>()).await?;
            store::succeeded(&mut tx, hook.id, now).await?;
            tx.commit().await?;
            told += events;
            continue;
        }
        let before = store::by_id(&platform.db, hook.id).await?.ok_or(WebhookError::NotFound)?;
        store::failed(&mut tx, hook.id, now, now.plus_us(backoff_us(before.failures + 1))).await?;
        if before.failing_since.is_some_and(|since| now.since(since) > GIVEN_UP_US) {
            tracing::warn!(webhook = hook.id, "switched off: nothing got through for three days");
            store::set_active(&mut tx, hook.id, false, now).await?;
        }
        tx.commit().await?;
        break;
    }
    Ok(told)
}

pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let events = deliver_due(&platform, || context.stop.is_cancelled()).await?;
    Ok(json!({ "events": events }))
}
