//! The demo's way into Marquee: its public HTTP interface, as a shop's server, a page and a mail client would use it.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::{Value, json};

/// Stay below the 500 kB that a batch may have.
const BATCH_BYTES: usize = 450_000;
/// Batches on their way at once.
const BATCHES: usize = 4;
/// Times that a request is sent again while the server says that it is busy.
const PATIENCE: u32 = 40;

/// An HTTP client with an API key.
#[derive(Clone)]
pub struct Door {
    client: Client,
    base: String,
    key: String,
}

/// What became of a batch of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub accepted: u64,
    pub duplicates: u64,
    pub refused: u64,
}

impl Door {
    /// `base`: `http://127.0.0.1:8321`, without a slash at the end.
    pub fn new(base: &str, key: &str) -> anyhow::Result<Self> {
        // Shorter than the server keeps idle connections open, so that none is taken up just as it is closed.
        let idle = Duration::from_secs(2);
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(120))
            .pool_idle_timeout(idle)
            .build()?;
        Ok(Self { client, base: base.to_owned(), key: key.to_owned() })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answer(self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.key).send().await, path).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answer(self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.key).json(body).send().await, path).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answer(self.client.put(format!("{}{path}", self.base)).bearer_auth(&self.key).json(body).send().await, path).await
    }

    /// Sends messages of the Segment spec in batches, several at once. `tick` hears how many have been taken.
    pub async fn ingest(&self, messages: Vec<Value>, tick: impl Fn(u64)) -> anyhow::Result<Sent> {
        let batches = in_batches(messages)?;
        let mut sent = Sent::default();
        let mut answers = futures::stream::iter(batches)
            .map(|(count, body)| async move { self.batch(body).await.map(|a| (count, a)) })
            .buffer_unordered(BATCHES);
        while let Some((count, answer)) = answers.try_next().await? {
            let number = |field: &str| answer.get(field).and_then(Value::as_u64).unwrap_or(0);
            sent.accepted += number("accepted");
            sent.duplicates += number("duplicates");
            let refused = answer.get("refused").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if let Some(first) = refused.first() {
                tracing::warn!(count = refused.len(), %first, "messages were refused");
            }
            sent.refused += refused.len() as u64;
            tick(count);
        }
        Ok(sent)
    }

    async fn batch(&self, body: String) -> anyhow::Result<Value> {
        for _ in 0..PATIENCE {
            let sent = self
                .client
                .post(format!("{}/v1/batch", self.base))
                .bearer_auth(&self.key)
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
                .await?;
            if !matches!(sent.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                return answer(Ok(sent), "/v1/batch").await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("/v1/batch stayed busy")
    }

    /// Follows a link of a mail or banner as the given program would. Returns the status and where it leads.
    pub async fn follow(&self, url: &str, user_agent: &str) -> anyhow::Result<(StatusCode, Option<String>)> {
        let answer = self.client.get(url).header("user-agent", user_agent).send().await.with_context(|| "a link could not be followed")?;
        let target = answer.headers().get("location").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        Ok((answer.status(), target))
    }

    /// RFC 8058: what a mail client does when its user presses “unsubscribe”.
    pub async fn unsubscribe(&self, url: &str) -> anyhow::Result<StatusCode> {
        Ok(self.client.post(url).form(&[("List-Unsubscribe", "One-Click")]).send().await?.status())
    }
}

/// The JSON of a good answer; an error with the server's own words otherwise.
async fn answer(sent: reqwest::Result<Response>, path: &str) -> anyhow::Result<Value> {
    let response = sent.with_context(|| format!("{path}: no answer"))?;
    let status = response.status();
    let text = response.text().await?;
    anyhow::ensure!(status.is_success(), "{path}: {status}: {}", text.chars().take(600).collect::<String>());
    if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
}

/// Messages as bodies of batches, each with the number of its messages.
fn in_batches(messages: Vec<Value>) -> anyhow::Result<Vec<(u64, String)>> {
    let frame = json!({"batch": []}).to_string().len();
    let mut batches = Vec::new();
    let (mut body, mut count) = (String::new(), 0_u64);
    let close = |body: &mut String, count: &mut u64, batches: &mut Vec<(u64, String)>| {
        if *count > 0 {
            batches.push((*count, format!("{{\"batch\":[{body}]}}")));
        }
        body.clear();
        *count = 0;
    };
    for message in messages {
        let text = serde_json::to_string(&message)?;
        if body.len() + text.len() + frame + 1 > BATCH_BYTES {
            close(&mut body, &mut count, &mut batches);
        }
        if count > 0 {
            body.push(',');
        }
        body.push_str(&text);
        count += 1;
    }
    close(&mut body, &mut count, &mut batches);
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_below_the_limit_and_lose_nothing() {
        let messages: Vec<Value> = (0..5_000).map(|i| json!({"type": "track", "n": i, "pad": "x".repeat(300)})).collect();
        let batches = in_batches(messages).expect("batches");
        assert!(batches.len() > 1 && batches.iter().all(|(_, b)| b.len() <= BATCH_BYTES));
        assert_eq!(batches.iter().map(|(n, _)| n).sum::<u64>(), 5_000);
        let all: Vec<Value> = batches
            .iter()
            .flat_map(|(_, b)| serde_json::from_str::<Value>(b).expect("json")["batch"].as_array().cloned().expect("list"))
            .collect();
        assert!(all.iter().enumerate().all(|(i, m)| m["n"] == i));
        assert!(in_batches(Vec::new()).expect("none").is_empty());
    }
}
