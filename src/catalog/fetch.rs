//! Fetching pictures from elsewhere, only where somebody asked for it: public hosts alone, small answers, real pictures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header;
use url::{Host, Url};

use super::asset::{MAX_BYTES, Picture, PictureError};

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
        let addresses = self.resolve(url).await?;
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent("marquee")
            .referer(false);
        if let Some(Host::Domain(name)) = url.host() {
            client = client.resolve_to_addrs(name, &addresses);
        }
        let client = client.build().map_err(|e| FetchError::Network(e.to_string()))?;
        // The error's own text would repeat the address; the cause is enough.
        client.get(url.clone()).send().await.map_err(|e| FetchError::Network(e.without_url().to_string()))
    }

    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Address(shortened(url.as_str())));
        }
        let host = url.host().ok_or_else(|| FetchError::Address(shortened(url.as_str())))?;
        let port = url.port_or_known_default().unwrap_or(443);
        if !self.options.allow_private && port != 80 && port != 443 {
            return Err(FetchError::Port(port));
        }
        let found: Vec<SocketAddr> = match host {
            Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(ip), port)],
            Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(ip), port)],
            Host::Domain(name) => tokio::net::lookup_host((name, port)).await.map_err(|_| FetchError::Resolve(shortened(name)))?.collect(),
        };
        if found.is_empty() {
            return Err(FetchError::Resolve(shortened(&host.to_string())));
        }
        if !self.options.allow_private && !found.iter().all(|a| is_public(a.ip())) {
            return Err(FetchError::PrivateHost(shortened(&host.to_string())));
        }
        Ok(found)
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

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Whether an address belongs to the open internet (IANA special-purpose registries, as of 2025).
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let s = ip.segments();
    // Global unicast only (2000::/3), without documentation, 6to4, Teredo and the other special blocks of 2001::/23; and no NAT64.
    (s[0] & 0xe000) == 0x2000
        && !(s[0] == 0x2001 && s[1] < 0x0200)
        && !(s[0] == 0x2001 && s[1] == 0x0db8)
        && s[0] != 0x2002
        && s[0] != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_open_internet_is_public() {
        for ip in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "172.16.0.1", "0.0.0.0", "100.64.0.1", "224.0.0.1"] {
            assert!(!is_public(ip.parse().expect("address")), "{ip}");
        }
        for ip in ["::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2001:db8::1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1"] {
            assert!(!is_public(ip.parse().expect("address")), "{ip}");
        }
        for ip in ["8.8.8.8", "93.184.216.34", "2606:4700::1111"] {
            assert!(is_public(ip.parse().expect("address")), "{ip}");
        }
    }

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
