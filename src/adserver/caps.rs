//! How often somebody has seen a campaign today, in memory. Exact on one replica.
//!
//! Counts lie in 64 shards by subject, so that two requests wait for each other only when they ask about the same few people. Replicas learn of
//! each other's impressions when the snapshot is renewed, and may overshoot a cap by what happens meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::platform::ids::{CampaignId, PersonId};

const SHARDS: usize = 64;

/// Whom a cap is about: a person, or a browser that nobody has signed in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u64);

impl Subject {
    pub fn person(id: PersonId) -> Self {
        // The top bit separates people from browsers.
        Self(id.0.unsigned_abs() & !(3 << 62))
    }
    /// A held-out person's would-be impressions, counted apart.
    pub fn ghost(id: PersonId) -> Self {
        Self(Self::person(id).0 | 1 << 62)
    }
    pub fn anonymous(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first) | 1 << 63)
    }
    pub fn bits(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    day: i64,
    seen: u32,
}

/// Impressions per (campaign, subject) and day.
#[derive(Debug)]
pub struct Caps {
    shards: Vec<Mutex<HashMap<(CampaignId, Subject), Count>>>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Caps {
    fn with<R>(&self, subject: Subject, f: impl FnOnce(&mut HashMap<(CampaignId, Subject), Count>) -> R) -> R {
        let shard = &self.shards[usize::try_from(subject.0 % SHARDS as u64).unwrap_or_default()];
        f(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Impressions so far on this day.
    pub fn seen(&self, campaign: CampaignId, subject: Subject, day: i64) -> u32 {
        self.with(subject, |m| m.get(&(campaign, subject)).filter(|c| c.day == day).map_or(0, |c| c.seen))
    }

    /// Takes one impression if fewer than `limit` were taken today. Check and count are one step: parallel requests cannot both take the last.
    pub fn take(&self, campaign: CampaignId, subject: Subject, day: i64, limit: u32) -> bool {
        self.with(subject, |m| {
            let count = m.entry((campaign, subject)).or_default();
            if count.day != day {
                *count = Count { day, seen: 0 };
            }
            let free = count.seen < limit;
            count.seen += u32::from(free);
            free
        })
    }

    /// What the log says: never lowers what this replica counted itself.
    pub fn learn(&self, campaign: CampaignId, subject: Subject, day: i64, seen: u32) {
        self.with(subject, |m| {
            let count = m.entry((campaign, subject)).or_default();
            if count.day < day {
                *count = Count { day, seen };
            } else if count.day == day {
                count.seen = count.seen.max(seen);
            }
        });
    }

    /// Drops what is older than a day.
    pub fn forget_before(&self, day: i64) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, c| c.day >= day);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_under_parallel_requests() {
        let caps = Caps::default();
        let (campaign, subject) = (CampaignId(1), Subject::anonymous("browser"));
        let taken: usize = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(|| (0..100).filter(|_| caps.take(campaign, subject, 5, 3)).count())).collect();
            threads.into_iter().map(|t| t.join().expect("thread")).sum()
        });
        assert_eq!(taken, 3);
        assert!(caps.take(campaign, subject, 6, 3), "a new day");
        caps.learn(campaign, subject, 6, 3);
        assert!(!caps.take(campaign, subject, 6, 3), "another replica showed the rest");
        caps.learn(campaign, subject, 6, 1);
        assert_eq!(caps.seen(campaign, subject, 6), 3, "learning never lowers");
    }

    #[test]
    fn people_and_browsers_never_share_a_count() {
        assert_ne!(Subject::person(PersonId(1)).bits() >> 63, Subject::anonymous("1").bits() >> 63);
    }
}
