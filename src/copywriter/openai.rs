//! The OpenAI-compatible backend: `POST {base}/chat/completions`, as vLLM, llama.cpp, Ollama and others speak it.
//!
//! The address comes from the configuration alone; redirects are not followed; what comes back is capped.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::inference::{GenerateError, Generator, Prompt};
use crate::platform::config::GeneratorConfig;

/// Most bytes of one answer.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Tries in all, where the server says 429 or 5xx or cannot be reached.
const TRIES: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT_S: u64 = 60;

pub struct OpenAi {
    id: String,
    url: String,
    model: String,
    key: Option<SecretString>,
    timeout_s: u64,
    first_wait: Duration,
    client: reqwest::Client,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenAiError {
    #[error("generator.url “{0}” must start with http:// or https://, for instance http://localhost:8080/v1")]
    Url(String),
    #[error("generator.model is empty: name the model that the endpoint serves")]
    Model,
    #[error("the HTTP client cannot start: {0}")]
    Client(#[from] reqwest::Error),
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}
#[derive(Deserialize)]
struct Choice {
    message: Message,
}
#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

enum Failure {
    /// Worth another try, after the wait the server asked for.
    Again(GenerateError, Option<Duration>),
    Final(GenerateError),
}

impl OpenAi {
    pub fn new(config: &GeneratorConfig) -> Result<Self, OpenAiError> {
        let base = url::Url::parse(config.url.trim()).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        let base = base.ok_or_else(|| OpenAiError::Url(config.url.clone()))?;
        if config.model.trim().is_empty() {
            return Err(OpenAiError::Model);
        }
        let timeout_s = config.timeout_s.unwrap_or(DEFAULT_TIMEOUT_S).max(1);
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(timeout_s))
            .connect_timeout(Duration::from_secs(timeout_s.min(10)));
        let local = base
            .host_str()
            .is_some_and(|h| h == "localhost" || h.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        if local {
            client = client.no_proxy();
        }
        Ok(Self {
            id: format!("openai:{}", config.model.trim()),
            url: format!("{}/chat/completions", base.as_str().trim_end_matches('/')),
            model: config.model.trim().to_owned(),
            key: config.api_key.clone(),
            timeout_s,
            first_wait: Duration::from_millis(500),
            client: client.build()?,
        })
    }

    /// For tests: how long to wait before the second try.
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    async fn ask(&self, prompt: &Prompt) -> Result<String, Failure> {
        let mut request = self.client.post(&self.url).json(&serde_json::json!({
            "model": self.model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "seed": prompt.seed >> 33,
            "response_format": {"type": "json_object"},
            "stream": false,
        }));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.map_err(|e| self.network(&e))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let wait =
                response.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()).map(Duration::from_secs);
            return Err(Failure::Again(GenerateError::Unavailable(format!("it answered {status}")), wait));
        }
        if !status.is_success() {
            return Err(Failure::Final(GenerateError::Refused(format!("it answered {status}"))));
        }
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| self.network(&e))?;
            if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Final(GenerateError::Unusable(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"))));
            }
            bytes.extend_from_slice(&piece);
        }
        let unusable = |why: &str| Failure::Final(GenerateError::Unusable(why.to_owned()));
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| unusable("it is not a chat completion"))?;
        let text = answer.choices.into_iter().next().and_then(|c| c.message.content).ok_or_else(|| unusable("it holds no text"))?;
        Ok(text)
    }

    fn network(&self, error: &reqwest::Error) -> Failure {
        // The full text of the error would show the configured address, which may hold a password.
        if error.is_timeout() {
            Failure::Final(GenerateError::Timeout(self.timeout_s))
        } else {
            Failure::Again(
                GenerateError::Unavailable(if error.is_connect() { "no connection" } else { "the connection broke" }.into()),
                None,
            )
        }
    }
}

#[async_trait]
impl Generator for OpenAi {
    fn id(&self) -> &str {
        &self.id
    }

    async fn generate(&self, prompt: Prompt) -> Result<String, GenerateError> {
        let mut wait = self.first_wait;
        for attempt in 1.. {
            match self.ask(&prompt).await {
                Ok(text) => return Ok(text),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error, _)) if attempt >= TRIES => return Err(error),
                Err(Failure::Again(_, asked)) => {
                    tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                    wait *= 3;
                }
            }
        }
        Err(GenerateError::Unavailable("no try was made".into()))
    }
}
