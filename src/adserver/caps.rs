//! How often somebody has seen what today, in memory. Exact on one replica.
//!
//! A viewer's counts are one small list under one lock, held for the whole decision: two requests wait for each other only when they ask
//! about the same few people, and parallel requests of one person cannot both take the last place. Counts lie in 256 shards by viewer.
//! Replicas learn of each other's impressions every second, and may overshoot a cap by what happens meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::people::Numbers;
use crate::platform::ids::{CampaignId, PersonId, ProductId};

const SHARDS: usize = 256;
/// Viewers of one shard, beyond which browsers are forgotten before the day is over: four million in all, some 400 MB.
const SHARD: usize = 16_384;
/// The bit of a browser's number.
const ANONYMOUS: u64 = 1 << 63;

/// Whom a cap is about: a person, or a browser that nobody has signed in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u64);

impl Subject {
    pub fn person(id: PersonId) -> Self {
        // The top bit separates people from browsers.
        Self(id.0.unsigned_abs() & !ANONYMOUS)
    }
    pub fn anonymous(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first) | ANONYMOUS)
    }
    pub fn bits(self) -> i64 {
        self.0 as i64
    }
    pub fn of_bits(bits: i64) -> Self {
        Self(bits as u64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    campaign: i64,
    item: i64,
    shown: u32,
}

/// Stands for the line item in counts of ghosts.
const GHOST: i64 = -1;

/// What one viewer has seen on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    day: i64,
    counts: SmallVec<[Count; 2]>,
    /// The product shown last, on whatever day.
    pub last: Option<ProductId>,
}

impl Seen {
    /// Begins a new day where it is one.
    pub fn on(&mut self, day: i64) -> &mut Self {
        if self.day != day {
            self.day = day;
            self.counts.clear();
        }
        self
    }
    pub fn of_campaign(&self, campaign: CampaignId) -> u32 {
        self.counts.iter().filter(|c| c.campaign == campaign.0 && c.item != GHOST).map(|c| c.shown).sum()
    }
    pub fn of_item(&self, campaign: CampaignId, item: i64) -> u32 {
        self.counts.iter().find(|c| c.campaign == campaign.0 && c.item == item).map_or(0, |c| c.shown)
    }
    pub fn add(&mut self, campaign: CampaignId, item: i64, n: u32) {
        match self.counts.iter_mut().find(|c| c.campaign == campaign.0 && c.item == item) {
            Some(count) => count.shown += n,
            None => self.counts.push(Count { campaign: campaign.0, item, shown: n }),
        }
    }
    /// Notes a would-be impression; true for the first of the day.
    pub fn ghost(&mut self, campaign: CampaignId) -> bool {
        let first = self.of_item(campaign, GHOST) == 0;
        if first {
            self.add(campaign, GHOST, 1);
        }
        first
    }
}

/// Forgets an eighth of a shard's browsers, whichever: ids that nobody signed in to cost nothing to make up. People stay.
fn make_room(shard: &mut HashMap<u64, Seen, Numbers>) {
    let some: Vec<u64> = shard.keys().filter(|k| **k & ANONYMOUS != 0).take(SHARD / 8).copied().collect();
    some.iter().for_each(|k| {
        shard.remove(k);
    });
}

fn shard_of(subject: Subject) -> usize {
    usize::try_from(subject.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).unwrap_or_default() % SHARDS
}

/// Everybody's counts.
#[derive(Debug)]
pub struct Caps {
    shards: Vec<Mutex<HashMap<u64, Seen, Numbers>>>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Caps {
    /// The viewer's counts of a day, locked while `f` decides. Somebody nobody can be recognised as has none.
    pub fn with<R>(&self, subject: Option<Subject>, day: i64, f: impl FnOnce(&mut Seen) -> R) -> R {
        let Some(subject) = subject else { return f(Seen::default().on(day)) };
        let mut shard = self.shards[shard_of(subject)].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = shard.get_mut(&subject.0) {
            return f(seen.on(day));
        }
        // Whoever is shown nothing is not remembered: anybody may ask as any browser.
        let mut fresh = Seen::default();
        let result = f(fresh.on(day));
        if fresh.last.is_some() || !fresh.counts.is_empty() {
            if shard.len() >= SHARD {
                make_room(&mut shard);
            }
            shard.insert(subject.0, fresh);
        }
        result
    }

    /// What another replica showed.
    pub fn learn(&self, subject: Subject, day: i64, campaign: CampaignId, item: i64, n: u32) {
        self.with(Some(subject), day, |seen| seen.add(campaign, item, n));
    }

    /// Drops what is older than a day.
    pub fn forget_before(&self, day: i64) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, s| s.day >= day);
        }
    }

    /// Viewers remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_under_parallel_requests() {
        let caps = Caps::default();
        let (campaign, subject) = (CampaignId(1), Some(Subject::anonymous("browser")));
        let take = |day: i64| {
            caps.with(subject, day, |seen| {
                let free = seen.of_campaign(campaign) < 3;
                if free {
                    seen.add(campaign, 0, 1);
                }
                free
            })
        };
        let taken: usize = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(|| (0..100).filter(|_| take(5)).count())).collect();
            threads.into_iter().map(|t| t.join().expect("thread")).sum()
        });
        assert_eq!(taken, 3);
        assert!(take(6), "a new day");
        caps.learn(Subject::anonymous("browser"), 6, campaign, 4, 2);
        assert!(!take(6), "another replica showed the rest");
        caps.forget_before(7);
        assert!(caps.is_empty());
    }

    #[test]
    fn made_up_browsers_are_forgotten_and_people_are_not() {
        let caps = Caps::default();
        let asked = |subject| caps.with(Some(subject), 1, |seen| seen.of_campaign(CampaignId(1)));
        assert_eq!((asked(Subject::anonymous("x")), caps.len()), (0, 0), "who was shown nothing");
        let person = Subject::person(PersonId(7));
        caps.learn(person, 1, CampaignId(1), 0, 1);
        let beside = (0..u64::MAX).map(|k| Subject(k | ANONYMOUS)).filter(|s| shard_of(*s) == shard_of(person));
        for browser in beside.take(SHARD + SHARD / 2) {
            caps.learn(browser, 1, CampaignId(1), 0, 1);
        }
        assert!(caps.len() > SHARD / 2 && caps.len() <= SHARD, "{}", caps.len());
        assert_eq!(asked(person), 1);
    }

    #[test]
    fn ghosts_count_once_a_day_and_apart() {
        let mut seen = Seen::default();
        assert!(seen.on(1).ghost(CampaignId(1)) && !seen.ghost(CampaignId(1)) && seen.ghost(CampaignId(2)));
        assert_eq!(seen.of_campaign(CampaignId(1)), 0);
        assert!(seen.on(2).ghost(CampaignId(1)));
    }

    #[test]
    fn people_and_browsers_never_share_a_count() {
        assert_ne!(Subject::person(PersonId(1)).bits() < 0, Subject::anonymous("1").bits() < 0);
        let subject = Subject::anonymous("x");
        assert_eq!(Subject::of_bits(subject.bits()), subject);
    }
}
