//! Asking addresses that somebody typed: public hosts alone. Each host's addresses are resolved here, checked, and then used as they are, so that
//! a name that resolves differently a moment later gains nothing; no redirect is followed, no proxy asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("“{0}” is not an http or https address")]
    Address(String),
    #[error("{0} does not lead to a public host")]
    PrivateHost(String),
    #[error("port {0} is not asked; only 80 and 443 are")]
    Port(u16),
    #[error("{0} cannot be resolved")]
    Resolve(String),
    #[error("{0}")]
    Network(String),
}

/// At most 200 characters, for messages.
pub fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The addresses of a URL's host, all of them public. `allow_private`: private ones and other ports too, for what lies in the shop's own
/// network.
pub async fn resolve(url: &Url, allow_private: bool) -> Result<Vec<SocketAddr>, OutboundError> {
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(OutboundError::Address(shortened(url.as_str())));
    }
    let host = url.host().ok_or_else(|| OutboundError::Address(shortened(url.as_str())))?;
    let port = url.port_or_known_default().unwrap_or(443);
    if !allow_private && port != 80 && port != 443 {
        return Err(OutboundError::Port(port));
    }
    let found: Vec<SocketAddr> = match host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(ip), port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(ip), port)],
        Host::Domain(name) => tokio::net::lookup_host((name, port)).await.map_err(|_| OutboundError::Resolve(shortened(name)))?.collect(),
    };
    if found.is_empty() {
        return Err(OutboundError::Resolve(shortened(&host.to_string())));
    }
    if !allow_private && !found.iter().all(|a| is_public(a.ip())) {
        return Err(OutboundError::PrivateHost(shortened(&host.to_string())));
    }
    Ok(found)
}

/// A client that can ask this URL's host and follows nothing. Make one per address.
pub async fn client(url: &Url, allow_private: bool) -> Result<reqwest::Client, OutboundError> {
    let addresses = resolve(url, allow_private).await?;
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .user_agent("marquee")
        .referer(false);
    if let Some(Host::Domain(name)) = url.host() {
        client = client.resolve_to_addrs(name, &addresses);
    }
    client.build().map_err(|e| OutboundError::Network(e.to_string()))
}

/// Whether an address belongs to the open internet (IANA special-purpose registries, as of 2025).
pub fn is_public(ip: IpAddr) -> bool {
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
}
