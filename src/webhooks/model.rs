//! What a webhook is, what it may be told, and how a body is signed.

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use crate::platform::clock::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::outbound::OutboundError;
use crate::touches::word_enum;

word_enum!(
    /// What happened.
    EventKind {
        /// A mail went out.
        TouchSent = "touch.sent",
        /// By a human.
        TouchOpened = "touch.opened",
        /// A mail's link or a banner, by a human.
        TouchClicked = "touch.clicked",
        TouchBounced = "touch.bounced",
        TouchComplained = "touch.complained",
        /// Consent was withdrawn, on whatever way.
        PersonUnsubscribed = "person.unsubscribed",
        OrderPlaced = "order.placed",
        /// Refunded or cancelled, in part or whole.
        OrderChanged = "order.changed",
    }
);

/// An address that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    pub id: i64,
    pub name: String,
    pub url: String,
    pub kinds: Vec<EventKind>,
    pub active: bool,
    /// Attempts that failed in a row.
    pub failures: i64,
    /// Since when nothing gets through.
    pub failing_since: Option<Timestamp>,
    pub next_attempt_at: Timestamp,
    pub created_at: Timestamp,
}

/// One POST and what came of it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Attempt {
    pub id: i64,
    pub at: Timestamp,
    /// Events in the body.
    pub events: i64,
    pub ok: bool,
    /// The HTTP status, where there was an answer.
    pub status: Option<i64>,
    pub took_us: i64,
    pub error: Option<String>,
}

/// A webhook on its way in.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NewWebhook {
    pub name: String,
    pub url: String,
    pub kinds: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("there is no such webhook")]
    NotFound,
    /// `field` is `name`, `url` or `kinds`.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("a shop has at most {MAX_WEBHOOKS} webhooks")]
    TooMany,
    #[error("its secret cannot be read: make a new webhook")]
    Secret,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<WebhookError> for ApiError {
    fn from(e: WebhookError) -> Self {
        match e {
            WebhookError::NotFound => Self::not_found("webhook"),
            WebhookError::Invalid { field, .. } => Self::invalid(field, e.to_string()),
            WebhookError::TooMany => Self::conflict("too_many_webhooks", e.to_string()),
            WebhookError::Outbound(e) => Self::invalid("url", e.to_string()),
            WebhookError::Secret => Self::internal(e),
            WebhookError::Database(e) => e.into(),
        }
    }
}

pub const MAX_WEBHOOKS: i64 = 20;

impl NewWebhook {
    /// Tidies it and says which field breaks a rule. `allow_private`: http, and hosts of the shop's own network.
    pub fn checked(&self, allow_private: bool) -> Result<(String, url::Url, Vec<EventKind>), WebhookError> {
        let invalid = |field, why: &str| WebhookError::Invalid { field, why: why.into() };
        let name = self.name.trim();
        if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(invalid("name", "a name has 1 to 100 characters"));
        }
        let text = self.url.trim();
        let url = url::Url::parse(text).ok().filter(|u| u.has_host() && text.len() <= 2_000);
        let url = url.ok_or_else(|| invalid("url", "write an address such as https://shop.example/hooks"))?;
        if url.scheme() != "https" && !(allow_private && url.scheme() == "http") {
            return Err(invalid("url", "only https is asked"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("url", "no name or password in the address: bodies are signed instead"));
        }
        let mut kinds = Vec::new();
        for kind in &self.kinds {
            let kind = kind.parse().map_err(|_| invalid("kinds", "one of these is no kind of event"))?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            return Err(invalid("kinds", "choose at least one"));
        }
        Ok((name.to_owned(), url, kinds))
    }
}

fn mac(secret: &[u8], at_s: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(at_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// The header `Marquee-Signature`: `t=SECONDS,v1=HEX`, HMAC-SHA256 over `SECONDS.BODY` with the webhook's secret.
pub fn signature(secret: &[u8], at: Timestamp, body: &[u8]) -> String {
    let at_s = at.micros().div_euclid(1_000_000);
    format!("t={at_s},v1={}", hex::encode(mac(secret, at_s, body).finalize().into_bytes()))
}

/// Whether a header signs a body, and was made within `tolerance_s` of now: what a receiver does.
pub fn verify(secret: &[u8], header: &str, body: &[u8], now: Timestamp, tolerance_s: i64) -> bool {
    let part = |key: &str| header.split(',').find_map(|p| p.trim().strip_prefix(key)?.strip_prefix('='));
    let (Some(at), Some(tag)) = (part("t").and_then(|t| t.parse::<i64>().ok()), part("v1").and_then(|t| hex::decode(t).ok())) else {
        return false;
    };
    (now.micros().div_euclid(1_000_000) - at).abs() <= tolerance_s && mac(secret, at, body).verify_slice(&tag).is_ok()
}

/// How long to wait after so many failures in a row: a minute, doubling, at most six hours.
pub(super) fn backoff_us(failures: i64) -> i64 {
    const MINUTE: i64 = 60_000_000;
    let doublings = u32::try_from((failures - 1).clamp(0, 9)).unwrap_or(0);
    (MINUTE << doublings).min(6 * 60 * MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_body_time_and_secret() {
        let now = Timestamp::from_secs(1_700_000_000);
        let header = signature(b"secret", now, b"{}");
        assert!(header.starts_with("t=1700000000,v1="));
        assert!(verify(b"secret", &header, b"{}", now.plus_secs(200), 300));
        assert!(!verify(b"secret", &header, b"{} ", now, 300));
        assert!(!verify(b"other", &header, b"{}", now, 300));
        assert!(!verify(b"secret", &header, b"{}", now.plus_secs(301), 300), "replayed later");
        for odd in ["", "t=1", "v1=00", "t=x,v1=00", "t=1700000000,v1=zz"] {
            assert!(!verify(b"secret", odd, b"{}", now, 300), "{odd}");
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused_by_its_field() {
        let new = |name: &str, url: &str, kinds: &[&str]| NewWebhook {
            name: name.into(),
            url: url.into(),
            kinds: kinds.iter().map(|k| (*k).to_owned()).collect(),
        };
        let field = |w: NewWebhook| match w.checked(false) {
            Err(WebhookError::Invalid { field, .. }) => field,
            _ => "none",
        };
        assert_eq!(field(new("", "https://a.example/", &["order.placed"])), "name");
        for url in ["", "nothing", "http://a.example/", "ftp://a.example/", "https://u:p@a.example/", "javascript:alert(1)"] {
            assert_eq!(field(new("x", url, &["order.placed"])), "url", "{url}");
        }
        assert_eq!(field(new("x", "https://a.example/", &[])), "kinds");
        assert_eq!(field(new("x", "https://a.example/", &["order.placed", "everything"])), "kinds");
        let (_, _, kinds) = new("x", "https://a.example/", &["order.placed", "order.placed"]).checked(false).expect("fine");
        assert_eq!(kinds, [EventKind::OrderPlaced]);
        assert!(new("x", "http://127.0.0.1:99/", &["order.placed"]).checked(true).is_ok());
    }

    #[test]
    fn waiting_grows_and_ends() {
        assert_eq!([1, 2, 3].map(|n| backoff_us(n) / 60_000_000), [1, 2, 4]);
        assert_eq!(backoff_us(100) / 60_000_000, 360);
    }
}
