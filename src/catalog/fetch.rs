//! Fetching pictures from elsewhere, only where somebody asked for it: public hosts alone, small answers, real pictures.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header;
use url::Url;

use super::asset::{MAX_BYTES, Picture, PictureError};
use crate::platform::outbound::{self, OutboundError, shortened};

const MAX_REDIRECTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("“{0}” is not an http or https address")]
    Address(String),
    #[error("{0} does not lead to a public host")]
    PrivateHost(String),
    #[error("port {0} is not asked; only 80 and 443 are")]
    Port(u16),
    #[error("{0} cannot be resolved")]
    Resolve(String),
    #[error("the answer was {0}")]
    Status(u16),
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("{0}")]
    Network(String),
    #[error(transparent)]
    Picture(#[from] PictureError),
}

impl From<OutboundError> for FetchError {
    fn from(e: OutboundError) -> Self {
        match e {
            OutboundError::Address(a) => Self::Address(a),
            OutboundError::PrivateHost(h) => Self::PrivateHost(h),
            OutboundError::Port(p) => Self::Port(p),
            OutboundError::Resolve(h) => Self::Resolve(h),
            OutboundError::Network(why) => Self::Network(why),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// For one whole picture, redirects included.
    pub timeout: Duration,
    /// Also ask hosts with private addresses and other ports: for a shop whose pictures lie in its own network.
    pub allow_private: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15), allow_private: false }
    }
}

/// Fetches pictures. Each host's addresses are resolved here, checked, and then used as they are, so that a name that resolves
/// differently a moment later gains nothing; redirects are followed one by one under the same checks.
#[derive(Clone, Debug, Default)]
pub struct Fetcher {
    options: FetchOptions,
}

impl Fetcher {
    pub fn new(options: FetchOptions) -> Self {
        Self { options }
    }

    pub async fn picture(&self, address: &str) -> Result<Picture, FetchError> {
        let bytes = tokio::time::timeout(self.options.timeout, self.bytes(address))
            .await
            .map_err(|_| FetchError::Network(format!("no answer within {} s", self.options.timeout.as_secs())))??;
        tokio::task::spawn_blocking(move || Picture::inspect(bytes))
            .await
            .map_err(|e| FetchError::Network(e.to_string()))?
            .map_err(FetchError::from)
    }

    async fn bytes(&self, address: &str) -> Result<Vec<u8>, FetchError> {
        let mut url = Url::parse(address).map_err(|_| FetchError::Address(shortened(address)))?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&url).await?;
            if !answer.status().is_redirection() {
                return read_capped(answer).await;
            }
            let target = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
            url = url.join(target).map_err(|_| FetchError::Address(shortened(target)))?;
        }
        Err(FetchError::Redirects)
    }

    async fn ask(&self, url: &Url) -> Result<reqwest::Response, FetchError> {
        let client = outbound::client(url, self.options.allow_private).await?;
        // The error's own text would repeat the address; the cause is enough.
        client.get(url.clone()).send().await.map_err(|e| FetchError::Network(e.without_url().to_string()))
    }
}

async fn read_capped(answer: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    if answer.content_length().is_some_and(|n| n > MAX_BYTES as u64) {
        return Err(PictureError::TooLarge.into());
    }
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| FetchError::Network(e.without_url().to_string()))?;
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(PictureError::TooLarge.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inner_hosts_odd_ports_and_other_schemes_are_not_asked() {
        let f = Fetcher::default();
        for address in ["http://127.0.0.1/x.png", "http://[::1]/x.png", "http://localhost/x.png", "http://2130706433/x.png"] {
            assert!(matches!(f.picture(address).await, Err(FetchError::PrivateHost(_))), "{address}");
        }
        assert!(matches!(f.picture("http://127.0.0.1:6379/").await, Err(FetchError::Port(6379))));
        for address in ["file:///etc/passwd", "ftp://example.com/x", "gopher://example.com", "nothing", "http://user:word@example.com/"] {
            assert!(matches!(f.picture(address).await, Err(FetchError::Address(_))), "{address}");
        }
    }
}
