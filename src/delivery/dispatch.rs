//! The dispatch: claims what is due, checks it again, writes it, and hands it to the senders.
//!
//! One claim ahead: while the senders work on a batch, the next is checked and written. Everything claimed but not begun goes back when
//! the dispatch ends, and by its lease when the process dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::compose::{Compose, Ready, Verdict};
use super::content::CampaignMail;
use super::rate::{self, Slots};
use super::senders::{Crew, Fleet, Senders};
use super::smtp::Pool;
use crate::platform::Platform;
use crate::platform::clock::SECOND_US;
use crate::platform::ids::{TouchId, uuid_v4};
use crate::platform::queue::{JobContext, Progress};
use crate::touches::{self, Finish, Outcome, Touch, TouchChannel};

/// Touches in one claim.
const BATCH: u32 = 500;
/// How long a dispatch stays for mails that a rate limit put off by a little.
const STAY_US: i64 = 20 * SECOND_US;

/// How a dispatch went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub claimed: u64,
    pub sent: u64,
    pub failed: u64,
    pub deferred: u64,
    pub uncertain: u64,
    pub skipped: u64,
    /// Ghosts that would have been sent.
    pub held: u64,
    pub given_back: u64,
    /// Found in `sending` after a crash.
    pub found_uncertain: u64,
    pub seconds: f64,
    pub per_second: f64,
    /// Spent on the checks, and on writing; the senders work meanwhile.
    pub checking_s: f64,
    pub writing_s: f64,
}

/// One dispatch over one set of connections.
pub struct Dispatch<C: Compose> {
    pub platform: Platform,
    pub compose: Arc<C>,
    pub from: lettre::Address,
    pub progress: Progress,
    pub stop: CancellationToken,
}

/// Counts of what ended at the checks.
#[derive(Default)]
struct Counts {
    claimed: AtomicU64,
    skipped: AtomicU64,
    held: AtomicU64,
    deferred: AtomicU64,
    failed: AtomicU64,
    given_back: AtomicU64,
    checking_us: AtomicU64,
    writing_us: AtomicU64,
}

fn add_since(counter: &AtomicU64, started: Instant) {
    counter.fetch_add(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counts {
    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Held => &self.held,
            Outcome::Deferred { .. } => &self.deferred,
            Outcome::Failed(_) => &self.failed,
            Outcome::GivenBack => &self.given_back,
            _ => &self.skipped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

struct Round<'a, C: Compose> {
    dispatch: &'a Dispatch<C>,
    owner: &'a str,
    fleet: &'a Fleet,
    pool: &'a Pool,
    counts: &'a Counts,
    slots: Slots,
}

impl<C: Compose> Dispatch<C> {
    /// Sends everything that is due, and returns when nothing is. An error when no server takes mail; nothing is lost by it.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let started = Instant::now();
        let config = &self.platform.config;
        let pool = Arc::new(Pool::new(&config.mail)?);
        anyhow::ensure!(!pool.servers().is_empty(), "mail.servers is empty: there is no mail server to send through");
        let fleet = Arc::new(Fleet::new(pool.servers().len(), config.mail.rate_per_server > 0.0));
        let owner = format!("mail-{}", uuid_v4().simple());
        self.compose.owned_by(&owner);
        let lease_us = i64::try_from(config.work.lease_s).unwrap_or(30).max(1) * SECOND_US;
        let released = touches::release_expired(&self.platform).await?;
        // Beats for as long as this dispatch holds anything, and ends with it.
        let beating = CancellationToken::new();
        let heartbeat = tokio::spawn(beat(self.platform.clone(), owner.clone(), lease_us, beating.clone()));
        let _end_beat = beating.drop_guard();
        let senders = Senders::start(
            Crew {
                platform: self.platform.clone(),
                owner: owner.clone(),
                lease_us,
                pool: pool.clone(),
                fleet: fleet.clone(),
                from: self.from.clone(),
                stop: self.stop.clone(),
                connections: config.mail.connections.clamp(1, 32),
            },
            BATCH as usize,
        );
        let counts = Counts::default();
        let mut round = Round { dispatch: self, owner: &owner, fleet: &fleet, pool: &pool, counts: &counts, slots: Slots::default() };
        let fed = round.feed(&senders, lease_us).await;
        let trouble = senders.trouble.clone();
        let tally = senders.drain().await;
        pool.close().await;
        heartbeat.abort();
        let n = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let seconds = started.elapsed().as_secs_f64();
        let report = Report {
            claimed: n(&counts.claimed),
            sent: n(&tally.sent),
            failed: n(&tally.failed) + n(&counts.failed),
            deferred: n(&tally.deferred) + n(&counts.deferred),
            uncertain: n(&tally.uncertain),
            skipped: n(&counts.skipped),
            held: n(&counts.held),
            given_back: n(&tally.given_back) + n(&counts.given_back),
            found_uncertain: released.uncertain,
            seconds,
            per_second: n(&tally.sent) as f64 / seconds.max(1e-9),
            checking_s: n(&counts.checking_us) as f64 / 1e6,
            writing_s: n(&counts.writing_us) as f64 / 1e6,
        };
        fed?;
        let trouble = trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(why) = trouble.filter(|_| fleet.credits().iter().all(Option::is_none)) {
            anyhow::bail!("no mail server takes mail ({why}); sent {} before, the rest waits", report.sent);
        }
        if n(&tally.lost) > 0 {
            tracing::error!(lost = n(&tally.lost), "results of mails could not be written; these touches will show as uncertain");
        }
        Ok(report)
    }
}

/// Lengthens the leases of everything this dispatch holds.
async fn beat(platform: Platform, owner: String, lease_us: i64, stop: CancellationToken) {
    let every = Duration::from_micros((lease_us / 4).max(1).unsigned_abs());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let beaten: sqlx::Result<()> = async {
            let mut tx = platform.db.begin().await?;
            touches::extend_leases(&mut tx, &owner, lease_us, platform.now()).await?;
            tx.commit().await
        }
        .await;
        if let Err(error) = beaten {
            tracing::warn!(%error, "the leases of claimed mails could not be lengthened");
        }
    }
}

impl<C: Compose> Round<'_, C> {
    async fn feed(&mut self, senders: &Senders, lease_us: i64) -> anyhow::Result<()> {
        let platform = &self.dispatch.platform;
        while !self.dispatch.stop.is_cancelled() {
            let room = self.room().await?;
            if room == 0 {
                // All servers rest, or the rate allows nothing yet.
                if self.fleet.credits().iter().all(Option::is_none) || !self.nap(Duration::from_millis(100)).await {
                    return Ok(());
                }
                continue;
            }
            let claimed = touches::claim(platform, TouchChannel::Email, self.owner, i64::from(room), lease_us).await?;
            if claimed.is_empty() {
                if !self.stay().await {
                    return Ok(());
                }
                continue;
            }
            self.counts.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
            self.batch(claimed, senders).await?;
        }
        Ok(())
    }

    /// One claimed batch: checks, domain rates, writing, senders.
    async fn batch(&mut self, claimed: Vec<Touch>, senders: &Senders) -> anyhow::Result<()> {
        let all: Vec<TouchId> = claimed.iter().map(|t| t.id).collect();
        let attempts: BTreeMap<TouchId, i64> = claimed.iter().map(|t| (t.id, t.attempts)).collect();
        let mut missing: std::collections::BTreeSet<TouchId> = all.iter().copied().collect();
        let mut ends = Vec::new();
        let mut ready = Vec::new();
        let started = Instant::now();
        let checked = self.dispatch.compose.check(claimed).await;
        add_since(&self.counts.checking_us, started);
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.finish(all.into_iter().map(|id| Finish { id, outcome: Outcome::GivenBack }).collect()).await?;
                return Err(error);
            }
        };
        for (id, verdict) in checked {
            match verdict {
                Verdict::Write(draft) => ready.push(draft),
                Verdict::End(outcome) => {
                    missing.remove(&id);
                    ends.push(Finish { id, outcome });
                }
            }
        }
        let ready = self.within_domain_rates(ready, &mut ends).await?;
        for end in &ends {
            missing.remove(&end.id);
        }
        let started = Instant::now();
        let written = self.dispatch.compose.write(ready).await;
        add_since(&self.counts.writing_us, started);
        let mut mails = Vec::new();
        let failed = match written {
            Ok(written) => {
                for (id, result) in written {
                    missing.remove(&id);
                    match result {
                        Ok(mail) => mails.push(mail),
                        Err(why) => ends.push(Finish { id, outcome: Outcome::Failed(format!("not_written: {why}")) }),
                    }
                }
                None
            }
            Err(error) => Some(error),
        };
        ends.extend(missing.into_iter().map(|id| Finish { id, outcome: Outcome::GivenBack }));
        self.dispatch.progress.add(ends.len() as i64);
        self.finish(ends).await?;
        for mut mail in mails {
            mail.attempts = attempts.get(&mail.touch).copied().unwrap_or(0);
            self.dispatch.progress.add(1);
            self.fleet.joins();
            if !senders.send(mail).await {
                anyhow::bail!("the senders are gone");
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// How many touches may be claimed now: what the servers' rates allow, in reserved credits.
    async fn room(&self) -> anyhow::Result<u32> {
        let rate = self.dispatch.platform.config.mail.rate_per_server;
        let credits = self.fleet.credits();
        if rate <= 0.0 {
            return Ok(if credits.iter().any(Option::is_some) { BATCH } else { 0 });
        }
        let short: BTreeMap<String, (usize, u32)> = credits
            .iter()
            .enumerate()
            .filter_map(|(i, c)| c.map(|c| (rate::server_key(&self.pool.servers()[i]), (i, BATCH.saturating_sub(c)))))
            .filter(|(_, (_, n))| *n > 0)
            .collect();
        if !short.is_empty() {
            let wanted = short.iter().map(|(k, (_, n))| (k.clone(), *n)).collect();
            for (key, got) in self.reserve(&wanted, rate).await? {
                if let Some((i, _)) = short.get(&key) {
                    self.fleet.add(*i, got);
                }
            }
        }
        // Mails in the queue have not taken their credit yet.
        let free: u32 = self.fleet.credits().into_iter().flatten().sum();
        Ok(free.saturating_sub(self.fleet.waiting()).min(BATCH))
    }

    async fn reserve(&self, wanted: &BTreeMap<String, u32>, rate: f64) -> anyhow::Result<BTreeMap<String, u32>> {
        let platform = &self.dispatch.platform;
        let mut tx = platform.db.begin().await?;
        let got = rate::reserve(&mut tx, wanted, rate, platform.now()).await?;
        tx.commit().await?;
        Ok(got)
    }

    async fn within_domain_rates(&mut self, ready: Vec<Ready<C::Draft>>, ends: &mut Vec<Finish>) -> anyhow::Result<Vec<Ready<C::Draft>>> {
        let rate = self.dispatch.platform.config.mail.rate_per_domain;
        if rate <= 0.0 || ready.is_empty() {
            return Ok(ready);
        }
        let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
        for one in &ready {
            *wanted.entry(rate::domain_key(&one.domain)).or_default() += 1;
        }
        let mut left = self.reserve(&wanted, rate).await?;
        let now = self.dispatch.platform.now();
        let mut fits = Vec::with_capacity(ready.len());
        for one in ready {
            let key = rate::domain_key(&one.domain);
            match left.get_mut(&key) {
                Some(n) if *n > 0 => {
                    *n -= 1;
                    fits.push(one);
                }
                _ => {
                    let until = self.slots.take(&key, rate, now);
                    ends.push(Finish { id: one.touch, outcome: Outcome::Deferred { until, reason: "rate_domain".into() } });
                }
            }
        }
        Ok(fits)
    }

    async fn finish(&self, ends: Vec<Finish>) -> anyhow::Result<()> {
        if ends.is_empty() {
            return Ok(());
        }
        let platform = &self.dispatch.platform;
        let mut tx = platform.db.begin().await?;
        touches::finish(&mut tx, self.owner, &ends, platform.now()).await?;
        tx.commit().await?;
        for end in &ends {
            self.counts.count(&end.outcome);
        }
        Ok(())
    }

    /// Waits a little; false when that makes no sense (a clock that only others move) or we are asked to stop.
    async fn nap(&self, time: Duration) -> bool {
        if self.dispatch.platform.clock.is_manual() {
            return false;
        }
        tokio::select! {
            () = self.dispatch.stop.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Nothing is due: stay only for mails that a domain's rate put off by a little.
    async fn stay(&mut self) -> bool {
        let now = self.dispatch.platform.now();
        match self.slots.earliest_after(now) {
            Some(at) if at.since(now) <= STAY_US => self.nap(Duration::from_micros(at.since(now).max(1_000).unsigned_abs())).await,
            _ => false,
        }
    }
}

/// The job `delivery.dispatch`. A shop without a mail server has nothing to do here, and says so.
pub async fn dispatch_job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    if platform.config.mail.servers.is_empty() {
        return Ok(json!({ "note": "mail.servers is empty: nothing is sent" }));
    }
    let compose = CampaignMail::load(&platform).await?;
    let from = compose.address();
    let dispatch = Dispatch { platform, compose: Arc::new(compose), from, progress: context.progress.clone(), stop: context.stop.clone() };
    Ok(serde_json::to_value(dispatch.run().await?)?)
}
