//! Token buckets in the table `rate_bucket`: how many mails per second a server or a recipient's domain gets, shared by all workers.
//!
//! Tokens are reserved in batches inside one short transaction. What does not fit is not an error: it is sent later.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;

use crate::on;
use crate::platform::Timestamp;
use crate::platform::clock::SECOND_US;
use crate::platform::db::{Dialect, Tx};

/// Keys in one statement.
const ROWS: usize = 500;

/// A bucket's content after `elapsed_us`: it fills at `rate` tokens a second up to one second's worth (at least one token).
pub fn refill(tokens: f64, elapsed_us: i64, rate: f64) -> f64 {
    let gained = rate * elapsed_us.max(0) as f64 / SECOND_US as f64;
    (tokens + gained).min(rate.max(1.0))
}

/// Key of a server's bucket.
pub fn server_key(server: &impl std::fmt::Display) -> String {
    format!("server:{server}")
}
/// Key of a recipient domain's bucket.
pub fn domain_key(domain: &str) -> String {
    format!("domain:{}", domain.to_lowercase())
}

#[derive(sqlx::FromRow)]
struct Bucket {
    key: String,
    tokens: f64,
    updated_at: Timestamp,
}

/// Takes up to `wanted` tokens for each key at `rate` a second; returns how many each got. A key seen for the first time is full.
pub async fn reserve(tx: &mut Tx, wanted: &BTreeMap<String, u32>, rate: f64, now: Timestamp) -> sqlx::Result<BTreeMap<String, u32>> {
    let keys: Vec<&String> = wanted.keys().collect();
    let mut granted = BTreeMap::new();
    for chunk in keys.chunks(ROWS) {
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO rate_bucket (key, tokens, updated_at) ");
            q.push_values(chunk, |mut row, key| {
                row.push_bind(key.as_str()).push_bind(rate.max(1.0)).push_bind(now);
            });
            q.push(" ON CONFLICT (key) DO NOTHING");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
        let lock = tx.dialect() == Dialect::Postgres;
        let buckets = on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("SELECT key, tokens, updated_at FROM rate_bucket WHERE key IN (");
            let mut list = q.separated(", ");
            for key in chunk {
                list.push_bind(key.as_str());
            }
            // In one order, so that two workers wait for each other instead of deadlocking.
            q.push(") ORDER BY key");
            if lock {
                q.push(" FOR UPDATE");
            }
            q.build_query_as::<Bucket>().persistent(false).fetch_all(&mut *c).await
        })?;
        let mut left = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            let tokens = refill(bucket.tokens, now.since(bucket.updated_at), rate);
            let asked = wanted.get(&bucket.key).copied().unwrap_or(0);
            let got = f64::from(asked).min(tokens.floor()).max(0.0);
            granted.insert(bucket.key.clone(), got as u32);
            left.push((bucket.key, tokens - got, bucket.updated_at.max(now)));
        }
        on!(&mut *tx, |c| {
            let mut q = QueryBuilder::new("UPDATE rate_bucket SET tokens = v.column2, updated_at = v.column3 FROM (");
            q.push_values(&left, |mut row, (key, tokens, at)| {
                row.push_bind(key.as_str()).push_bind(*tokens).push_bind(*at);
            });
            q.push(") AS v WHERE rate_bucket.key = v.column1");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
    }
    Ok(granted)
}

/// When mails that did not fit come back: one slot after another at the domain's rate, so that few come back too early.
#[derive(Debug, Default)]
pub struct Slots {
    next: BTreeMap<String, Timestamp>,
    given: BTreeSet<Timestamp>,
}

impl Slots {
    /// The next free slot of a key.
    pub fn take(&mut self, key: &str, rate: f64, now: Timestamp) -> Timestamp {
        let step = (SECOND_US as f64 / rate.max(1e-6)).ceil() as i64;
        let slot = self.next.get(key).copied().unwrap_or(now).max(now).plus_us(step);
        self.next.insert(key.to_owned(), slot);
        self.given.insert(slot);
        slot
    }
    /// The earliest slot given away that has not passed.
    pub fn earliest_after(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.given = self.given.split_off(&now);
        self.given.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate_and_overflows_at_one_second() {
        assert!((refill(0.0, SECOND_US / 2, 10.0) - 5.0).abs() < 1e-9);
        assert!((refill(3.0, 60 * SECOND_US, 10.0) - 10.0).abs() < 1e-9);
        assert!((refill(0.0, 60 * SECOND_US, 0.1) - 1.0).abs() < 1e-9);
        assert!((refill(4.0, -SECOND_US, 10.0) - 4.0).abs() < 1e-9, "a clock that goes back gives nothing and takes nothing");
    }

    #[test]
    fn slots_follow_one_another() {
        let mut slots = Slots::default();
        let now = Timestamp::from_secs(100);
        let got: Vec<i64> = (0..3).map(|_| slots.take("a", 4.0, now).since(now)).collect();
        assert_eq!(got, [250_000, 500_000, 750_000]);
        assert_eq!(slots.take("b", 4.0, now).since(now), 250_000);
        assert_eq!(slots.earliest_after(now), Some(now.plus_us(250_000)));
        assert_eq!(slots.earliest_after(now.plus_us(300_000)), Some(now.plus_us(500_000)));
        assert_eq!(slots.earliest_after(now.plus_us(800_000)), None);
    }
}
