//! Throttling of sign-in, per account and per address, in bounded memory. Each process counts for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::platform::Timestamp;

/// Failures of one account before it has to wait, and of one address (an office shares one).
const FREE_PER_ACCOUNT: u32 = 5;
const FREE_PER_ADDRESS: u32 = 30;
/// The first wait; doubled with each further failure up to [`LONGEST_S`].
const FIRST_S: i64 = 15;
const LONGEST_S: i64 = 15 * 60;
/// Failures are forgotten after a quiet time of this length.
const FORGET_S: i64 = 60 * 60;
/// Most accounts and addresses that are remembered; the one that was quiet longest goes first.
const REMEMBERED: usize = 20_000;

type Key = [u8; 16];

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    last: Timestamp,
}

/// Counts failures; shared by all request threads.
#[derive(Clone, Default)]
pub struct Throttle {
    counts: Arc<Mutex<HashMap<Key, Count>>>,
}

/// Names are kept as hashes: the map says nothing about who tried what.
fn key(kind: &str, name: &str) -> Key {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name.to_lowercase()).finalize();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..16]);
    key
}

fn wait_s(failures: u32, free: u32) -> i64 {
    match failures.checked_sub(free) {
        None => 0,
        Some(over) => (FIRST_S << over.min(20)).min(LONGEST_S),
    }
}

impl Throttle {
    fn keys(account: &str, address: &str) -> [(Key, u32); 2] {
        [(key("account", account), FREE_PER_ACCOUNT), (key("address", address), FREE_PER_ADDRESS)]
    }

    /// Seconds to wait before this account may be tried from this address; `None`: now.
    pub fn wait(&self, account: &str, address: &str, now: Timestamp) -> Option<i64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Self::keys(account, address)
            .into_iter()
            .filter_map(|(key, free)| {
                let count = counts.get(&key)?;
                let passed = now.since(count.last) / 1_000_000;
                (passed < FORGET_S).then(|| wait_s(count.failures, free) - passed)
            })
            .filter(|s| *s > 0)
            .max()
    }

    pub fn failed(&self, account: &str, address: &str, now: Timestamp) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in Self::keys(account, address) {
            if counts.len() >= REMEMBERED && !counts.contains_key(&key) {
                let mut times: Vec<Timestamp> = counts.values().map(|c| c.last).collect();
                let middle = times.len() / 10;
                let before = *times.select_nth_unstable(middle).1;
                counts.retain(|_, c| c.last > before);
            }
            let count = counts.entry(key).or_insert(Count { failures: 0, last: now });
            let quiet = now.since(count.last) / 1_000_000 >= FORGET_S;
            count.failures = if quiet { 1 } else { count.failures.saturating_add(1) };
            count.last = now;
        }
    }

    /// The account is good again; the address keeps its count, so that one good account does not buy tries at others.
    pub fn succeeded(&self, account: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&key("account", account));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_try_waits_and_waits_grow() {
        let throttle = Throttle::default();
        let mut now = Timestamp::from_secs(1_000_000);
        for _ in 0..5 {
            assert_eq!(throttle.wait("a@example.test", "192.0.2.1", now), None);
            throttle.failed("a@example.test", "192.0.2.1", now);
        }
        assert_eq!(throttle.wait("A@example.test", "192.0.2.9", now), Some(15), "whoever tries from wherever");
        assert_eq!(throttle.wait("b@example.test", "192.0.2.1", now), None, "others are free");
        now = now.plus_secs(16);
        throttle.failed("a@example.test", "192.0.2.1", now);
        assert_eq!(throttle.wait("a@example.test", "192.0.2.1", now), Some(30));
        assert_eq!(throttle.wait("a@example.test", "192.0.2.1", now.plus_secs(3601)), None);
        throttle.succeeded("a@example.test");
        assert_eq!(throttle.wait("a@example.test", "192.0.2.1", now), None);
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let now = Timestamp::from_secs(1_000_000);
        for i in 0..30 {
            throttle.failed(&format!("u{i}@example.test"), "192.0.2.1", now);
        }
        assert!(throttle.wait("fresh@example.test", "192.0.2.1", now).is_some());
        for i in 0..30_000 {
            throttle.failed(&format!("x{i}@example.test"), &format!("10.0.{}.{}", i / 250, i % 250), now.plus_secs(i));
        }
        assert!(throttle.counts.lock().expect("lock").len() <= REMEMBERED + 1);
    }
}
