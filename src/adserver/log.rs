//! Writes what was shown: impressions and ghosts, collected for at most a quarter of a second and written together, in a sequence that other
//! replicas follow.
//!
//! Requests put lines into one of 16 lists (each thread mostly into its own); one task takes them out. The same task reads what all replicas
//! have used up, so that what it has written is always in what it reads.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::caps::Subject;
use super::service::Shared;
use super::tally::{self, Impression, Tally};
use super::ticket::Ticket;
use crate::platform::db::Urgency;
use crate::platform::ids::{CampaignId, PersonId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::holdout::{self, Scope};
use crate::touches::{self, Arm, NewTouch, TouchState};

/// Longest time an impression waits in memory.
pub const LINGER: Duration = Duration::from_millis(150);
/// How often other replicas are heard.
pub const LISTEN: Duration = Duration::from_secs(1);
const MOST: usize = 500;
const LISTS: usize = 16;
/// Impressions that may wait in one list; beyond it (a database that cannot follow) new ones are dropped and counted.
const WAITING: usize = 40_000;
/// Replicas that wrote nothing for so long are not asked about.
const SILENT_US: i64 = 3_600 * 1_000_000;
/// Assignments that are remembered as written.
const ASSIGNED: usize = 200_000;

/// One thing to write down.
#[derive(Clone, Debug)]
pub struct Line {
    pub ticket: Ticket,
    pub at: Timestamp,
    pub anonymous: Option<Box<str>>,
    pub subject: Option<Subject>,
    pub cost_micro: i64,
    /// A held-out person's; `Some(true)`: by the holdout of all marketing.
    pub ghost: Option<bool>,
    pub campaign_holdout_bp: i64,
    pub global_holdout_bp: i64,
    /// The meter has counted it and waits to hear that it is written.
    pub metered: bool,
}

impl Line {
    fn touch(&self) -> NewTouch {
        let touch = NewTouch { anonymous_id: self.anonymous.as_deref().map(ToOwned::to_owned), due_at: self.at, ..self.ticket.touch() };
        match self.ghost {
            None => touch,
            Some(global) => NewTouch {
                arm: Arm::Ghost,
                state: TouchState::Held,
                reason: global.then(|| "global_holdout".to_owned()),
                creative_id: None,
                ..touch
            },
        }
    }
    fn impression(&self, seq: i64) -> Impression {
        let t = &self.ticket;
        Impression {
            seq,
            touch: t.touch,
            at: self.at,
            subject: self.subject.map_or(0, Subject::bits),
            campaign: t.campaign,
            item: t.item,
            placement: t.placement,
            variant: t.variant,
            product: t.product,
            creative: t.creative,
            propensity: t.propensity,
            item_chance: t.item_chance,
            cost_micro: self.cost_micro,
        }
    }
}

/// The way in.
#[derive(Debug, Default)]
pub struct Log {
    lists: [Mutex<Vec<Line>>; LISTS],
    wake: Notify,
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
}

fn own_list() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LISTS;
    }
    OWN.with(|own| *own)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// False where the line had to be dropped.
    pub fn add(&self, line: Line) -> bool {
        let mut list = locked(&self.lists[own_list()]);
        if list.len() >= WAITING {
            drop(list);
            metrics::counter!("marquee_impressions_dropped_total").increment(1);
            return false;
        }
        list.push(line);
        true
    }

    /// Waits until everything added so far is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        locked(&self.waiting).push(done);
        self.wake.notify_one();
        let _ = written.await;
    }

    /// Drops what waits.
    pub fn forget(&self) {
        self.take();
    }

    fn take(&self) -> Vec<Line> {
        let next = |list: &mut Vec<Line>| {
            // Room for as many again: a request that adds a line must not wait while a long list is moved.
            let room = Vec::with_capacity(list.len());
            std::mem::replace(list, room)
        };
        self.lists.iter().flat_map(|list| next(&mut locked(list))).collect()
    }
}

/// Whether the database says no to what is written, and will say so again: a value that it does not take, or a row that is not there.
fn refuses(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else { return false };
    e.is_foreign_key_violation()
        || e.is_check_violation()
        || e.code().is_some_and(|c| c.len() == 5 && (c.starts_with("22") || c == "23502"))
}

/// The task behind the log.
pub struct Writer {
    platform: Platform,
    shared: Arc<Shared>,
    replica: i64,
    seq: i64,
    /// How far each other replica has been heard.
    heard: HashMap<i64, i64>,
    assigned: HashSet<(Option<CampaignId>, PersonId)>,
}

impl Writer {
    /// Reads what was shown today and used up so far.
    pub async fn start(platform: Platform, shared: Arc<Shared>) -> sqlx::Result<Self> {
        // 53 bits: exact wherever numbers are floats.
        let replica = i64::try_from(rand::random::<u64>() >> 11).unwrap_or(1);
        let mut writer = Self { platform, shared, replica, seq: 0, heard: HashMap::new(), assigned: HashSet::new() };
        let now = writer.platform.now();
        let zone = writer.platform.config.shop.time_zone;
        let midnight = Timestamp::from_date(now.in_zone(zone).date_naive(), zone);
        writer.heard = tally::replicas(&writer.platform.db, midnight.plus_us(-SILENT_US)).await?.into_iter().collect();
        let day = now.day_in(zone);
        for (subject, campaign, item, n) in tally::seen_since(&writer.platform.db, midnight).await? {
            writer.shared.caps.learn(Subject::of_bits(subject), day, campaign, item, u32::try_from(n).unwrap_or(u32::MAX));
        }
        writer.read_totals().await?;
        Ok(writer)
    }

    pub async fn run(mut self) {
        let mut listened = std::time::Instant::now();
        loop {
            let _ = tokio::time::timeout(LINGER, self.shared.log.wake.notified()).await;
            let waiting = std::mem::take(&mut *locked(&self.shared.log.waiting));
            self.write_all().await;
            if listened.elapsed() >= LISTEN || !waiting.is_empty() {
                listened = std::time::Instant::now();
                if let Err(error) = self.listen().await {
                    tracing::warn!(%error, "what other replicas showed could not be read");
                }
            }
            for done in waiting {
                let _ = done.send(());
            }
            // The server is gone, and with it whoever could add something.
            if Arc::strong_count(&self.shared) == 1 {
                return;
            }
        }
    }

    async fn write_all(&mut self) {
        let mut lines = self.shared.log.take();
        // A notice that an exchange sends twice at once is one impression: the line that the meter counted.
        if lines.iter().any(|l| l.ticket.bid) {
            let mut seen = HashSet::new();
            lines.sort_by_key(|l| !l.metered);
            lines.retain(|l| seen.insert(l.ticket.touch));
        }
        let mut chunks: VecDeque<&[Line]> = lines.chunks(MOST).collect();
        while let Some(chunk) = chunks.pop_front() {
            // A database that is away for a moment must not cost impressions: try for some seconds.
            for attempt in 1..=6_u32 {
                match self.write(chunk).await {
                    Ok(()) => break,
                    // One line that can never be written must not cost those beside it.
                    Err(error) if chunk.len() > 1 && refuses(&error) => {
                        tracing::warn!(%error, lines = chunk.len(), "an impression is refused by the database; looking for it");
                        let (one, other) = chunk.split_at(chunk.len() / 2);
                        chunks.push_front(other);
                        chunks.push_front(one);
                        break;
                    }
                    Err(error) if attempt == 6 || refuses(&error) => {
                        metrics::counter!("marquee_impressions_dropped_total").increment(chunk.len() as u64);
                        tracing::error!(%error, lost = chunk.len(), "impressions could not be written");
                        self.settle(chunk, |_| false);
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "impressions wait for the database");
                        tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                    }
                }
            }
        }
    }

    async fn write(&mut self, lines: &[Line]) -> sqlx::Result<()> {
        let now = self.platform.now();
        let touches: Vec<NewTouch> = lines.iter().map(Line::touch).collect();
        let shown = lines.iter().filter(|l| l.ghost.is_none());
        let impressions: Vec<Impression> = shown.zip(self.seq + 1..).map(|(line, seq)| line.impression(seq)).collect();
        let mut arms: BTreeMap<(Option<CampaignId>, i64), Vec<PersonId>> = BTreeMap::new();
        for line in lines {
            let Some(person) = line.ticket.person.filter(|_| !line.ticket.bid) else { continue };
            for (scope, bp) in [(Some(line.ticket.campaign), line.campaign_holdout_bp), (None, line.global_holdout_bp)] {
                if !self.assigned.contains(&(scope, person)) {
                    arms.entry((scope, bp)).or_default().push(person);
                }
            }
        }
        let mut tx = self.platform.db.begin_as(Urgency::Tracking).await?;
        for ((campaign, bp), people) in &mut arms {
            people.sort_unstable();
            people.dedup();
            let scope = campaign.map_or(Scope::Global, Scope::Campaign);
            holdout::assign(&mut tx, &self.platform.signer, scope, *bp, people, now).await?;
        }
        touches::plan_many(&mut tx, &touches, now).await?;
        let fresh = tally::insert(&mut tx, self.replica, &impressions).await?;
        let mut tally = Tally::default();
        impressions.iter().filter(|i| fresh.contains(&i.touch)).for_each(|i| tally.shown(i));
        tally.write(&mut tx, now).await?;
        let last = self.seq + impressions.len() as i64;
        if last > self.seq {
            tally::come_to(&mut tx, self.replica, last, now).await?;
        }
        tx.commit().await?;
        self.seq = last;
        if self.assigned.len() > ASSIGNED {
            self.assigned.clear();
        }
        self.assigned.extend(arms.into_iter().flat_map(|((scope, _), people)| people.into_iter().map(move |p| (scope, p))));
        self.settle(lines, |touch| fresh.contains(&touch));
        Ok(())
    }

    /// Tells the meters what became of impressions that they had counted.
    fn settle(&self, lines: &[Line], written: impl Fn(TouchId) -> bool) {
        let mut sums: HashMap<(i64, i64), (i64, i64, i64)> = HashMap::new();
        let mut learner = locked(&self.shared.recent);
        for line in lines.iter().filter(|l| l.ghost.is_none()) {
            let key = (line.ticket.campaign.0, line.ticket.item);
            let sum = sums.entry(key).or_default();
            if written(line.ticket.touch) {
                sum.0 += i64::from(line.metered);
                sum.1 += line.cost_micro;
                learner.shown(key, line.ticket.creative.0, line.at, 1);
            } else {
                sum.2 += i64::from(line.metered);
            }
        }
        let meters = locked(&self.shared.meters);
        for (key, (shown, cost, lost)) in sums {
            if let Some(meter) = meters.get(&key) {
                meter.written(shown, cost);
                meter.lost(lost);
            }
        }
    }

    /// Counts requests, hears what other replicas showed, and reads what is used up.
    async fn listen(&mut self) -> sqlx::Result<()> {
        let now = self.platform.now();
        self.count_requests(now).await?;
        let zone = self.platform.config.shop.time_zone;
        let today = now.day_in(zone);
        for (replica, last) in tally::replicas(&self.platform.db, now.plus_us(-SILENT_US)).await? {
            if replica == self.replica {
                continue;
            }
            let mut at = self.heard.get(&replica).copied().unwrap_or(0);
            while at < last {
                let rows = tally::follow(&self.platform.db, replica, at, last).await?;
                let Some(end) = rows.last() else { break };
                at = end.seq;
                for row in rows {
                    if row.subject != 0 && row.at.day_in(zone) == today {
                        self.shared.caps.learn(Subject::of_bits(row.subject), today, row.campaign_id, row.line_item_id, 1);
                    }
                    locked(&self.shared.recent).shown((row.campaign_id.0, row.line_item_id), row.creative_id, row.at, 1);
                }
            }
            self.heard.insert(replica, last.max(at));
        }
        self.read_totals().await
    }

    async fn read_totals(&self) -> sqlx::Result<()> {
        let totals = tally::totals(&self.platform.db).await?;
        let mut meters = locked(&self.shared.meters);
        for (key, used) in totals {
            meters.entry(key).or_default().read(used);
            locked(&self.shared.recent).delays.insert(key, (used.clicks, used.delay_us));
        }
        Ok(())
    }

    async fn count_requests(&self, now: Timestamp) -> sqlx::Result<()> {
        let mut counts = Vec::new();
        for place in self.shared.snapshot.load().placements.values() {
            counts.extend(place.outcomes.take().into_iter().map(|(outcome, n)| (place.id, outcome, n)));
        }
        if counts.is_empty() {
            return Ok(());
        }
        counts.sort_unstable_by_key(|(place, outcome, _)| (*place, *outcome));
        let mut tx = self.platform.db.begin().await?;
        tally::count_requests(&mut tx, tally::hour_of(now), &counts).await?;
        tx.commit().await
    }
}
