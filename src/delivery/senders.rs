//! The senders: one task per SMTP connection, and the group commit that keeps the outbox ahead of them.
//!
//! A sender holds at most one touch in `sending`: it submits "this one ended so, may I begin that one?" as a single item, and all senders'
//! items share one commit. So at any instant at most as many touches are in `sending` as there are connections, which is what a crash can
//! leave uncertain; and a mail costs one commit shared by all, not two of its own. The mark is durable before the first byte goes out.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::bounces::{self, NewBounce, without_addresses};
use super::compose::Mail;
use super::smtp::{Outcome as SmtpOutcome, Pool};
use super::verdict::{MAX_ATTEMPTS, backoff_us};
use crate::platform::Platform;
use crate::platform::batch::{BatchLimits, Batcher};
use crate::platform::clock::SECOND_US;
use crate::platform::ids::TouchId;
use crate::touches::{self, Finish, Outcome};

/// How long a commit waits for the other senders.
const LINGER: Duration = Duration::from_millis(1);
/// A touch that met a dead server waits at least this long.
const SERVER_PAUSE_US: i64 = 30 * SECOND_US;
/// First rest of a server that cannot be reached; doubled each time up to [`MAX_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
const MAX_REST: Duration = Duration::from_secs(60);
/// A result is too dear to be lost to one failed commit.
const COMMIT_TRIES: u32 = 5;

/// One sender's turn: how its last touch ended, and which it would begin.
#[derive(Clone)]
struct Turn {
    done: Option<Done>,
    next: Option<TouchId>,
}

#[derive(Clone)]
struct Done {
    finish: Finish,
    bounce: Option<NewBounce>,
}

/// Counts of one dispatch.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: AtomicU64,
    pub failed: AtomicU64,
    pub deferred: AtomicU64,
    pub uncertain: AtomicU64,
    pub given_back: AtomicU64,
    /// Results that could not be written: these touches become uncertain when their lease ends.
    pub lost: AtomicU64,
}

impl Tally {
    pub fn count(&self, outcome: &Outcome) {
        let (counter, name) = match outcome {
            Outcome::Sent => (&self.sent, "sent"),
            Outcome::Failed(_) => (&self.failed, "failed"),
            Outcome::Deferred { .. } => (&self.deferred, "deferred"),
            Outcome::Uncertain(_) => (&self.uncertain, "uncertain"),
            _ => (&self.given_back, "given_back"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("marquee_mail_outcomes_total", "outcome" => name).increment(1);
    }
}

/// Which servers may be used now, and how many mails each still may take.
pub struct Fleet {
    servers: StdMutex<Vec<Berth>>,
    /// Mails handed to the senders that have not taken a credit yet.
    waiting: AtomicU32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Berth {
    /// Reserved mails left; `None`: no limit.
    credits: Option<u32>,
    failures: u32,
    rests_until: Option<Instant>,
}

impl Fleet {
    pub fn new(servers: usize, limited: bool) -> Self {
        let berth = Berth { credits: limited.then_some(0), ..Berth::default() };
        Self { servers: StdMutex::new(vec![berth; servers]), waiting: AtomicU32::new(0) }
    }
    fn berths(&self) -> std::sync::MutexGuard<'_, Vec<Berth>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes a place on a server that is up: the one with the most credits. `None`: none is up, or none has credits.
    fn board(&self) -> Option<usize> {
        let now = Instant::now();
        let mut berths = self.berths();
        let up = |b: &Berth| b.rests_until.is_none_or(|t| t <= now) && b.credits != Some(0);
        let best =
            (0..berths.len()).filter(|i| up(&berths[*i])).max_by_key(|i| (berths[*i].credits, std::cmp::Reverse(berths[*i].failures)))?;
        if let Some(credits) = &mut berths[best].credits {
            *credits -= 1;
        }
        Some(best)
    }
    pub fn joins(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }
    /// Credits of each server; `None` for a server that rests.
    pub fn credits(&self) -> Vec<Option<u32>> {
        let now = Instant::now();
        self.berths()
            .iter()
            .map(|b| if b.rests_until.is_none_or(|t| t <= now) { Some(b.credits.unwrap_or(u32::MAX)) } else { None })
            .collect()
    }
    pub fn add(&self, server: usize, credits: u32) {
        if let Some(Some(left)) = self.berths().get_mut(server).map(|b| b.credits.as_mut()) {
            *left += credits;
        }
    }
    fn failed(&self, server: usize) {
        let mut berths = self.berths();
        let berth = &mut berths[server];
        berth.failures = (berth.failures + 1).min(10);
        berth.rests_until = Some(Instant::now() + (FIRST_REST * (1 << (berth.failures - 1))).min(MAX_REST));
    }
    fn worked(&self, server: usize) {
        let berth = &mut self.berths()[server];
        (berth.failures, berth.rests_until) = (0, None);
    }
}

/// The senders of one dispatch, fed through a bounded queue.
pub struct Senders {
    queue: mpsc::Sender<Mail>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    pub tally: Arc<Tally>,
    /// Why no server takes mail, newest reason.
    pub trouble: Arc<StdMutex<Option<String>>>,
}

/// What every sender shares.
pub struct Crew {
    pub platform: Platform,
    pub owner: String,
    pub lease_us: i64,
    pub pool: Arc<Pool>,
    pub fleet: Arc<Fleet>,
    pub from: lettre::Address,
    pub stop: CancellationToken,
    pub connections: usize,
}

impl Senders {
    pub fn start(crew: Crew, waiting: usize) -> Self {
        let (queue, inbox) = mpsc::channel(waiting.max(1));
        let inbox = Arc::new(Mutex::new(inbox));
        let tally = Arc::new(Tally::default());
        let trouble = Arc::new(StdMutex::new(None));
        let limits = BatchLimits { items: crew.connections, linger: LINGER, waiting: crew.connections * 2 };
        let (platform, owner, lease_us) = (crew.platform.clone(), crew.owner.clone(), crew.lease_us);
        let ledger = Batcher::spawn(limits, move |turns: Vec<Turn>| {
            let (platform, owner) = (platform.clone(), owner.clone());
            async move { commit(&platform, &owner, lease_us, turns).await.map_err(|e| e.to_string()) }
        });
        let crew = Arc::new(crew);
        let tasks = (0..crew.connections)
            .map(|_| {
                let sender = Sender {
                    crew: crew.clone(),
                    inbox: inbox.clone(),
                    ledger: ledger.clone(),
                    tally: tally.clone(),
                    trouble: trouble.clone(),
                };
                tokio::spawn(sender.run())
            })
            .collect();
        Self { queue, tasks, tally, trouble }
    }

    /// Hands a mail over; waits while the queue is full. False when the senders are gone.
    pub async fn send(&self, mail: Mail) -> bool {
        self.queue.send(mail).await.is_ok()
    }

    /// Waits until everything handed over has ended.
    pub async fn drain(self) -> Arc<Tally> {
        drop(self.queue);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a sender ended badly; what it held becomes uncertain when its lease ends");
            }
        }
        self.tally
    }
}

struct Sender {
    crew: Arc<Crew>,
    inbox: Arc<Mutex<mpsc::Receiver<Mail>>>,
    ledger: Batcher<Turn, bool>,
    tally: Arc<Tally>,
    trouble: Arc<StdMutex<Option<String>>>,
}

impl Sender {
    async fn run(self) {
        let mut done: Option<Done> = None;
        loop {
            let ready = match self.inbox.try_lock() {
                Ok(mut inbox) => inbox.try_recv().ok(),
                Err(_) => None,
            };
            let mail = match ready {
                Some(mail) => mail,
                None => {
                    // Nothing to begin at once: the result must not wait for it.
                    if let Some(done) = done.take() {
                        self.submit(Turn { done: Some(done), next: None }).await;
                    }
                    match self.inbox.lock().await.recv().await {
                        Some(mail) => mail,
                        None => return,
                    }
                }
            };
            done = self.turn(done.take(), mail).await;
        }
    }

    /// Ends the last touch, begins the next, sends it; returns how that ended.
    async fn turn(&self, done: Option<Done>, mail: Mail) -> Option<Done> {
        self.crew.fleet.waiting.fetch_sub(1, Ordering::SeqCst);
        let berth = if self.crew.stop.is_cancelled() { None } else { self.crew.fleet.board() };
        let Some(server) = berth else {
            self.submit(Turn { done, next: None }).await;
            self.tally.count(&Outcome::GivenBack);
            return Some(Done { finish: Finish { id: mail.touch, outcome: Outcome::GivenBack }, bounce: None });
        };
        if self.submit(Turn { done, next: Some(mail.touch) }).await != Some(true) {
            // Paused, cancelled, or no longer ours; or the mark could not be written. Either way it must not go out.
            self.crew.fleet.add(server, 1);
            return None;
        }
        let outcome = self.crew.pool.send(server, &self.crew.from, &mail.to, &mail.bytes).await;
        match &outcome {
            SmtpOutcome::NotSent { why, server_down: true } => {
                self.crew.fleet.failed(server);
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(without_addresses(why));
            }
            SmtpOutcome::NotSent { .. } | SmtpOutcome::Uncertain { .. } => {}
            _ => self.crew.fleet.worked(server),
        }
        let done = self.judge(&mail, outcome);
        self.tally.count(&done.finish.outcome);
        Some(done)
    }

    /// From SMTP's outcome to the touch's.
    fn judge(&self, mail: &Mail, outcome: SmtpOutcome) -> Done {
        let now = self.crew.platform.now();
        let attempts = mail.attempts + 1;
        let mut bounce = None;
        let outcome = match outcome {
            SmtpOutcome::Sent { .. } => Outcome::Sent,
            SmtpOutcome::Uncertain { why } => Outcome::Uncertain(format!("connection_lost: {}", without_addresses(&why))),
            SmtpOutcome::NotSent { why, .. } => {
                let until = now.plus_us(SERVER_PAUSE_US.max(backoff_us(mail.touch, 1) / 10));
                Outcome::Deferred { until, reason: format!("server: {}", without_addresses(&why)) }
            }
            SmtpOutcome::Deferred { code, reply } if attempts >= MAX_ATTEMPTS => {
                Outcome::Failed(format!("gave_up: after {attempts} attempts, {code} {}", without_addresses(&reply)))
            }
            SmtpOutcome::Deferred { code, reply } => Outcome::Deferred {
                until: now.plus_us(backoff_us(mail.touch, attempts)),
                reason: format!("put_off: {code} {}", without_addresses(&reply)),
            },
            SmtpOutcome::Failed { code, status, reply, class } => {
                bounce = Some(NewBounce {
                    touch: Some(mail.touch),
                    email: mail.to.to_string(),
                    class,
                    status,
                    diagnostic: Some(reply.clone()),
                    source_key: format!("smtp:{}:{attempts}", mail.touch),
                    at: now,
                });
                Outcome::Failed(format!("refused_{class}: {code} {}", without_addresses(&reply)))
            }
        };
        Done { finish: Finish { id: mail.touch, outcome }, bounce }
    }

    /// Commits a turn with the others'. `Some(true)`: the next touch is marked and may be sent.
    async fn submit(&self, turn: Turn) -> Option<bool> {
        if turn.done.is_none() && turn.next.is_none() {
            return Some(false);
        }
        for attempt in 1..=COMMIT_TRIES {
            match self.ledger.submit(turn.clone()).await {
                Ok(begun) => return Some(begun),
                Err(error) => {
                    tracing::warn!(%error, attempt, "the outbox could not be written");
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                }
            }
        }
        if turn.done.is_some() {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
        }
        None
    }
}

/// One transaction for all senders' turns; says for each whether its next touch may be sent.
async fn commit(platform: &Platform, owner: &str, lease_us: i64, turns: Vec<Turn>) -> anyhow::Result<Vec<bool>> {
    let now = platform.now();
    let ends: Vec<Finish> = turns.iter().filter_map(|t| t.done.as_ref().map(|d| d.finish.clone())).collect();
    let bounces: Vec<NewBounce> = turns.iter().filter_map(|t| t.done.as_ref()?.bounce.clone()).collect();
    let next: Vec<TouchId> = turns.iter().filter_map(|t| t.next).collect();
    let known = if bounces.is_empty() { bounces::Known::default() } else { bounces::known(platform, &bounces).await? };
    let mut tx = platform.db.begin().await?;
    if !ends.is_empty() {
        touches::finish(&mut tx, owner, &ends, now).await?;
    }
    if !bounces.is_empty() {
        bounces::record(&mut tx, &bounces, &known).await?;
    }
    let begun: HashSet<TouchId> = if next.is_empty() {
        HashSet::new()
    } else {
        touches::begin_sending(&mut tx, owner, &next, lease_us, now).await?.into_iter().collect()
    };
    tx.commit().await?;
    Ok(turns.iter().map(|t| t.next.is_some_and(|id| begun.contains(&id))).collect())
}
