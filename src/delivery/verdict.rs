//! What a refusal means: the one place where SMTP replies (RFC 5321), enhanced status codes (RFC 3463) and phrases become a verdict on an
//! address. Used for replies during a conversation and for bounces that arrive later.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::clock::{HOUR_US, MINUTE_US};
use crate::platform::ids::TouchId;

/// How bad a refusal is for the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BounceClass {
    /// The address does not exist or will never take mail: it is suppressed.
    Hard,
    /// Full, too large, refused by policy, or unclear: this mail failed, the address stays.
    Soft,
    /// The person called it spam: the address is suppressed.
    Complaint,
}

impl BounceClass {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Complaint => "complaint",
        }
    }
}

impl std::fmt::Display for BounceClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Enhanced status codes that condemn the address itself: bad mailbox, bad system, bad syntax, moved, null MX, mailbox disabled.
const HARD_STATUS: [&str; 7] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.0.1"];

/// Phrases of servers that send no enhanced code, or a vague one (5.0.0, 5.1.0), for a mailbox that is not there.
const HARD_PHRASES: [&str; 14] = [
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "unknown recipient",
    "recipient unknown",
    "mailbox not found",
    "mailbox unavailable",
    "invalid mailbox",
    "does not exist",
    "doesn't exist",
    "no mailbox",
    "address rejected",
    "account disabled",
];

/// Judges a permanent refusal by its enhanced status code where there is one, else by its words.
pub fn classify_permanent(status: Option<&str>, text: &str) -> BounceClass {
    if let Some(status) = status {
        if HARD_STATUS.contains(&status) {
            return BounceClass::Hard;
        }
        // Anything more precise than "other" speaks for itself.
        if !matches!(status, "5.0.0" | "5.1.0" | "5.5.0") {
            return BounceClass::Soft;
        }
    }
    let text = text.to_lowercase();
    if HARD_PHRASES.iter().any(|phrase| text.contains(phrase)) { BounceClass::Hard } else { BounceClass::Soft }
}

/// The first enhanced status code (`class.subject.detail`, RFC 3463) in a text.
pub fn enhanced_status(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find(|word| {
        let mut parts = word.split('.');
        let class = parts.next().is_some_and(|p| matches!(p, "2" | "4" | "5"));
        let rest: Vec<&str> = parts.collect();
        class && rest.len() == 2 && rest.iter().all(|p| (1..=3).contains(&p.len()))
    })
}

/// Most attempts before a touch that is only ever put off counts as failed. With the back-off below: about 17 hours.
pub const MAX_ATTEMPTS: i64 = 10;

/// Microseconds until the next attempt after the `attempts`-th was put off: 5 minutes (the usual greylisting window), doubled each time
/// up to 4 hours, ± 20 % so that a deferred batch does not come back as one. The same touch and attempt always wait equally long.
pub fn backoff_us(touch: TouchId, attempts: i64) -> i64 {
    let doublings = u32::try_from(attempts.max(1) - 1).unwrap_or(0).min(6);
    let plain = (5 * MINUTE_US).saturating_mul(1 << doublings).min(4 * HOUR_US);
    let mut seed = [0_u8; 32];
    seed[..16].copy_from_slice(touch.0.as_bytes());
    seed[16..24].copy_from_slice(&attempts.to_le_bytes());
    let spread = plain / 5;
    plain + ChaCha8Rng::from_seed(seed).random_range(0..=2 * spread) - spread
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Timestamp;

    #[test]
    fn only_the_address_itself_makes_a_bounce_hard() {
        for (status, text, class) in [
            (Some("5.1.1"), "", BounceClass::Hard),
            (Some("5.2.1"), "mailbox disabled", BounceClass::Hard),
            (Some("5.2.2"), "mailbox full, user unknown to quota", BounceClass::Soft),
            (Some("5.7.1"), "blocked by policy: address rejected", BounceClass::Soft),
            (Some("5.0.0"), "User unknown in virtual table", BounceClass::Hard),
            (None, "No such user here", BounceClass::Hard),
            (None, "message content rejected", BounceClass::Soft),
        ] {
            assert_eq!(classify_permanent(status, text), class, "{status:?} {text}");
        }
    }

    #[test]
    fn finds_the_enhanced_status() {
        assert_eq!(enhanced_status("5.1.1 <b@example.test>: unknown"), Some("5.1.1"));
        assert_eq!(enhanced_status("host 192.0.2.1 said 5.7.26 no"), Some("5.7.26"));
        assert_eq!(enhanced_status("smtp; 550-5.1.10 null MX"), Some("5.1.10"));
        assert_eq!(enhanced_status("version 3.2.1 or 5.1"), None);
    }

    #[test]
    fn backs_off_longer_each_time_and_repeatably() {
        let touch = TouchId::new(Timestamp::from_secs(1_700_000_000));
        let waits: Vec<i64> = (1..=9).map(|n| backoff_us(touch, n)).collect();
        assert_eq!(waits, (1..=9).map(|n| backoff_us(touch, n)).collect::<Vec<_>>());
        assert!((4 * MINUTE_US..=6 * MINUTE_US).contains(&waits[0]), "{waits:?}");
        assert!(waits.windows(2).take(5).all(|w| w[1] > w[0]), "{waits:?}");
        assert!(waits.iter().all(|w| *w <= 4 * HOUR_US * 6 / 5));
        let other = TouchId::new(Timestamp::from_secs(1_700_000_000));
        assert_ne!(backoff_us(other, 1), waits[0]);
    }
}
