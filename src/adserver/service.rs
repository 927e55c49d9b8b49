//! The ad server: holds the snapshot, caps and meters, answers from memory, writes impressions behind.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::bandit::{Policy, Rng};
use super::caps::{Caps, Subject};
use super::decide::{self, Answer, Ask, Ghost, NoFill, Note, Shown, Viewer, decide};
use super::learn::{Arms, Recent};
use super::load;
use super::log::{self, Line, Log, Writer};
use super::meter::Meters;
use super::people::AdPeople;
use super::render;
use super::snapshot::{AdPlacement, Snapshot};
use super::tally;
use super::targeting::Context;
use super::ticket::{self, Seals, Ticket};
use crate::platform::clock::MINUTE_US;
use crate::platform::ids::{PersonId, ProductId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::holdout::Lots;

/// How often the snapshot is compared with the database, and the throttles are moved.
const REFRESH: Duration = Duration::from_secs(1);
/// People change all the time (every visit does it): who changed is read no oftener than this.
const PEOPLE_REFRESH: Duration = Duration::from_secs(5);
/// How often posteriors are drawn anew.
const LEARN: Duration = Duration::from_secs(10);
/// Picks of people with news are renewed by a job that may run for long: who changed so long before it ended is read again.
const PICKING_US: i64 = 60 * MINUTE_US;
/// A quarter of an hour: within one, no zone's clock changes its hour or its day.
const QUARTER_US: i64 = 15 * MINUTE_US;

/// What requests and the tasks beside them share.
#[derive(Debug)]
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub caps: Caps,
    pub meters: Mutex<Meters>,
    pub recent: Mutex<Recent>,
    pub log: Log,
    seals: Seals,
    lots: Lots,
    /// The shop's day and hour of a quarter of an hour: see [`AdServer::local`].
    local: AtomicU64,
    /// Impressions that an exchange has billed here.
    pub billed: Mutex<Billed>,
    /// Somebody asked for recommendations: people are needed also where no campaign runs.
    people_wanted: AtomicBool,
}

/// The last impressions that were billed, so that a notice sent twice counts once also before it is written.
#[derive(Debug, Default)]
pub struct Billed {
    newer: HashSet<TouchId>,
    older: HashSet<TouchId>,
}

impl Billed {
    const MOST: usize = 50_000;

    /// False where it is known already.
    fn insert(&mut self, touch: TouchId) -> bool {
        if self.older.contains(&touch) || !self.newer.insert(touch) {
            return false;
        }
        if self.newer.len() >= Self::MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        true
    }
}

/// Decisions from memory. Cheap to clone.
#[derive(Clone)]
pub struct AdServer {
    pub(super) platform: Platform,
    pub(super) shared: Arc<Shared>,
    loaded: Arc<tokio::sync::Mutex<Option<Loaded>>>,
    arms: Arc<tokio::sync::Mutex<Arms>>,
}

/// Of what state of the database the snapshot is.
struct Loaded {
    version: load::Version,
    /// When people were last read.
    people_at: Instant,
    /// People are in the snapshot at all.
    people: bool,
    learned_at: Option<Instant>,
}

/// Who asks, as it stands in the request.
#[derive(Clone, Copy, Debug)]
pub enum AskedBy<'a> {
    /// The shop's own id of a person, or ours (`per_…`).
    Person(&'a str),
    /// By a token that the shop's server got for the page.
    Known(PersonId),
    Anonymous(&'a str),
    Nobody,
}

/// A banner that was chosen, ready to be written into an answer.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    pub shown: Shown<'a>,
    pub ticket: Ticket,
    pub token: &'a [u8],
}

struct Counters {
    filled: metrics::Counter,
    empty: metrics::Counter,
}

static COUNTERS: LazyLock<Counters> = LazyLock::new(|| Counters {
    filled: metrics::counter!("marquee_ad_decisions_total", "filled" => "yes"),
    empty: metrics::counter!("marquee_ad_decisions_total", "filled" => "no"),
});

thread_local! {
    static RNG: RefCell<Rng> = RefCell::new(Rng::seeded(rand::random()));
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AdServer {
    fn over(platform: Platform, snapshot: Snapshot) -> Self {
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            caps: Caps::default(),
            meters: Mutex::default(),
            recent: Mutex::default(),
            log: Log::default(),
            seals: Seals::new(&platform.signer),
            lots: Lots::new(&platform.signer),
            local: AtomicU64::new(u64::MAX),
            billed: Mutex::default(),
            people_wanted: AtomicBool::new(false),
        };
        Self { platform, shared: Arc::new(shared), loaded: Arc::default(), arms: Arc::default() }
    }

    /// Loads the first snapshot and keeps it fresh.
    pub async fn start(platform: Platform) -> anyhow::Result<Self> {
        let server = Self::over(platform.clone(), Snapshot::default());
        let writer = Writer::start(platform, server.shared.clone()).await?;
        server.refresh(true).await?;
        tokio::spawn(writer.run());
        let beside = server.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                if let Err(error) = beside.refresh(false).await {
                    tracing::warn!(%error, "the ad snapshot could not be renewed; the old one still serves");
                }
                beside.pace();
            }
        });
        Ok(server)
    }

    /// Serves from a given snapshot, which nothing renews: for benches and tests of the path itself.
    pub async fn fixed(platform: Platform, snapshot: Snapshot) -> sqlx::Result<Self> {
        let server = Self::over(platform.clone(), snapshot);
        tokio::spawn(Writer::start(platform, server.shared.clone()).await?.run());
        Ok(server)
    }

    /// As [`AdServer::fixed`], but what is shown is thrown away: the path without a database behind it.
    pub fn unwritten(platform: Platform, snapshot: Snapshot) -> Self {
        let server = Self::over(platform, snapshot);
        let shared = server.shared.clone();
        tokio::spawn(async move {
            while Arc::strong_count(&shared) > 1 {
                tokio::time::sleep(log::LINGER).await;
                shared.log.forget();
            }
        });
        server
    }

    /// Loads what changed since the last time (`at_once`: also people, who are otherwise read every few seconds, and what was learned).
    /// Requests go on meanwhile from the old snapshot. True where a new one was put in its place.
    pub async fn refresh(&self, at_once: bool) -> anyhow::Result<bool> {
        let mut loaded = self.loaded.lock().await;
        let platform = &self.platform;
        let now = platform.now();
        let mut version = load::version(platform).await?;
        let held = self.shared.snapshot.load_full();
        let before = loaded.take().unwrap_or_else(|| Loaded {
            version: load::Version::default(),
            people_at: Instant::now(),
            people: false,
            learned_at: None,
        });
        let result = self.renew(&before, &mut version, &held, now, at_once).await;
        let (fresh, people_at, people) = match result {
            Ok(done) => done,
            Err(error) => {
                *loaded = Some(before);
                return Err(error);
            }
        };
        let renewed = fresh.is_some();
        if let Some(fresh) = fresh {
            self.shared.caps.forget_before(self.local(now).0);
            self.shared.snapshot.store(Arc::new(fresh));
        }
        let mut learned_at = before.learned_at;
        if at_once || learned_at.is_none_or(|at| at.elapsed() >= LEARN) {
            self.learn().await?;
            learned_at = Some(Instant::now());
        }
        *loaded = Some(Loaded { version, people_at, people, learned_at });
        Ok(renewed)
    }

    async fn renew(
        &self,
        before: &Loaded,
        version: &mut load::Version,
        held: &Snapshot,
        now: Timestamp,
        at_once: bool,
    ) -> anyhow::Result<(Option<Snapshot>, Instant, bool)> {
        let (platform, old) = (&self.platform, &before.version);
        let same_shop = old.same_shop(version) && tally::hour_of(held.taken_at) == tally::hour_of(now);
        let products = if version.products == old.products {
            held.products.clone()
        } else {
            Arc::new(load::products(platform, &held.products, old.products).await?)
        };
        let mut fresh = if same_shop {
            None
        } else {
            Some(load::snapshot(platform, &self.shared.meters, held, held.people.clone(), products.clone()).await?)
        };
        // Nobody is looked up where nothing is shown.
        let any = fresh.as_ref().map_or(!held.campaigns.is_empty(), |f| !f.campaigns.is_empty());
        let wanted = any || before.people || self.shared.people_wanted.load(Ordering::Relaxed);
        let (mut people_at, mut people) = (before.people_at, None);
        let moved = (old.model, old.picked, old.people) != (version.model, version.picked, version.people);
        let due = at_once || before.people_at.elapsed() >= PEOPLE_REFRESH;
        if wanted && (!before.people || old.model != version.model) {
            people = Some(Arc::new(load::people(platform, &self.shared.lots).await?));
        } else if wanted && moved && due {
            let mut changed: AdPeople = (*held.people).clone();
            let since = if old.picked == version.picked { old.people } else { old.people.min(Timestamp(old.picked).plus_us(-PICKING_US)) };
            load::people_changed(platform, &self.shared.lots, &mut changed, since).await?;
            people = Some(Arc::new(changed));
        }
        if people.is_some() {
            people_at = Instant::now();
        } else {
            (version.model, version.picked, version.people) = (old.model, old.picked, old.people);
        }
        if fresh.is_none() && (people.is_some() || version.products != old.products) {
            fresh = Some(Snapshot { products, ..held.clone() });
        }
        let has_people = before.people || people.is_some();
        if let (Some(fresh), Some(people)) = (&mut fresh, people) {
            fresh.people = people;
        }
        Ok((fresh, people_at, has_people))
    }

    /// Draws the posteriors of all line items anew.
    async fn learn(&self) -> sqlx::Result<()> {
        let now = self.platform.now();
        let mut arms = self.arms.lock().await;
        let rows = tally::arms_since(&self.platform.db, arms.read_to).await?;
        arms.put(rows);
        let meters: Vec<_> = locked(&self.shared.meters).iter().map(|(key, meter)| (*key, meter.clone())).collect();
        let counted: Vec<_> = {
            let mut recent = locked(&self.shared.recent);
            recent.trim(now);
            meters.into_iter().map(|(key, meter)| (arms.of(key, &recent, now), meter)).collect()
        };
        for (counts, meter) in counted {
            meter.policy.store(Arc::new(Policy::draw(&counts, &mut rand::rng())));
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Moves the throttles.
    pub fn pace(&self) {
        let (snapshot, now) = (self.shared.snapshot.load(), self.platform.now());
        for place in snapshot.placements.values() {
            for item in place.turns.iter().map(|t| &snapshot.items[t.item as usize]) {
                item.meter.pace(now, item.budget, item.flight.as_ref(), &place.forecast);
            }
        }
    }

    /// Waits until every impression so far is in the database, and what others have shown is known.
    pub async fn flush(&self) {
        self.shared.log.flush().await;
    }

    /// What the newest snapshot holds: people, campaigns, banners.
    pub fn size(&self) -> (usize, usize, usize) {
        let snapshot = self.shared.snapshot.load();
        (snapshot.people.len(), snapshot.campaigns.len(), snapshot.campaigns.iter().map(|c| c.creatives.len()).sum())
    }

    /// Puts a snapshot in place of the present one. Requests under way end on the old.
    pub fn put(&self, snapshot: Snapshot) {
        self.shared.snapshot.store(Arc::new(snapshot));
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// People are to be loaded even where no campaign runs.
    pub(super) fn want_people(&self) {
        self.shared.people_wanted.store(true, Ordering::Relaxed);
    }

    /// Day (since 1970) and hour of the shop's clock.
    pub fn local(&self, now: Timestamp) -> (i64, u32) {
        let quarter = now.micros().div_euclid(QUARTER_US) as u64 & 0xffff_ffff;
        let kept = self.shared.local.load(Ordering::Relaxed);
        if kept >> 32 == quarter {
            return ((kept >> 8 & 0xff_ffff) as i64, (kept & 0xff) as u32);
        }
        let zone = self.platform.config.shop.time_zone;
        let (day, hour) = (now.day_in(zone), now.hour_in(zone));
        let packed = quarter << 32 | (day.max(0) as u64 & 0xff_ffff) << 8 | u64::from(hour);
        self.shared.local.store(packed, Ordering::Relaxed);
        (day, hour)
    }

    /// Whom the request is about, as far as it is known.
    pub(super) fn viewer<'v>(&self, snapshot: &Snapshot, asked: AskedBy<'v>) -> (Option<PersonId>, Option<Subject>, Option<&'v str>) {
        let (viewer, anonymous) = match asked {
            AskedBy::Person(text) => (person_named(snapshot, text).map_or(Viewer::Nobody, Viewer::Person), None),
            AskedBy::Known(id) if snapshot.people.knows(id) => (Viewer::Person(id), None),
            AskedBy::Anonymous(id) => (Viewer::Anonymous(id), Some(id)),
            AskedBy::Known(_) | AskedBy::Nobody => (Viewer::Nobody, None),
        };
        let (person, subject) = decide::recognise(snapshot, viewer);
        (person, subject, anonymous)
    }

    /// Decides for some placements of one page, in order; no product is shown twice, and none of `exclude`. `write` gets each answer. False where a placement is
    /// not there (then nothing was decided).
    pub fn serve(
        &self,
        keys: &[&str],
        asked: AskedBy<'_>,
        context: &Context,
        exclude: &[ProductId],
        mut write: impl FnMut(&AdPlacement, Result<&Served<'_>, NoFill>),
    ) -> bool {
        let snapshot = self.shared.snapshot.load();
        let mut places: SmallVec<[&AdPlacement; 8]> = SmallVec::new();
        for key in keys {
            let Some(place) = snapshot.placements.get(*key) else { return false };
            places.push(place);
        }
        let now = self.platform.now();
        let (day, hour) = self.local(now);
        let (person, subject, anonymous) = self.viewer(&snapshot, asked);
        let personal = person.is_some_and(|p| snapshot.people.may_personalise(p));
        let mut on_page: SmallVec<[ProductId; 4]> = SmallVec::from_slice(exclude);
        let mut token = Vec::with_capacity(176);
        for place in places {
            let ask =
                Ask { placement: place, sizes: &place.sizes, person, subject, personal, context, now, hour, dry: false, auction: None };
            let answer = self.ask(&snapshot, &ask, day, &mut on_page, None);
            for ghost in &answer.ghosts {
                self.record_ghost(&snapshot, place, ghost, day, now);
            }
            place.outcomes.count(answer.shown.as_ref().err().copied());
            match answer.shown {
                Err(reason) => {
                    COUNTERS.empty.increment(1);
                    write(place, Err(reason));
                }
                Ok(shown) => {
                    COUNTERS.filled.increment(1);
                    let ticket = ticket_of(&shown, place, person, now, false);
                    token.clear();
                    ticket.sign_into(&self.shared.seals, &mut token);
                    self.record(&snapshot, &shown, ticket, anonymous, subject, now);
                    write(place, Ok(&Served { shown, ticket, token: &token }));
                }
            }
        }
        true
    }

    /// Answers without deciding. False where a placement is not there.
    pub fn refuse(&self, keys: &[&str], reason: NoFill, mut write: impl FnMut(&AdPlacement, Result<&Served<'_>, NoFill>)) -> bool {
        let snapshot = self.shared.snapshot.load();
        let places: Option<SmallVec<[&AdPlacement; 8]>> = keys.iter().map(|key| snapshot.placements.get(*key)).collect();
        let Some(places) = places else { return false };
        places.into_iter().for_each(|place| write(place, Err(reason)));
        true
    }

    /// One decision, with the viewer's counts locked.
    pub(super) fn ask<'s>(
        &self,
        snapshot: &'s Snapshot,
        ask: &Ask<'_>,
        day: i64,
        on_page: &mut SmallVec<[ProductId; 4]>,
        notes: Option<&mut Vec<Note>>,
    ) -> Answer<'s> {
        RNG.with_borrow_mut(|rng| {
            self.shared.caps.with(ask.subject, day, |seen| decide(snapshot, &self.shared.lots, ask, seen, on_page, rng, notes))
        })
    }

    /// The JSON of one placement's answer, appended; false where it is not there.
    pub fn creative(&self, placement: &str, asked: AskedBy<'_>, context: &Context, out: &mut Vec<u8>) -> bool {
        self.serve(&[placement], asked, context, &[], |place, served| write_answer(place, served, out))
    }

    fn record(
        &self,
        snapshot: &Snapshot,
        shown: &Shown<'_>,
        ticket: Ticket,
        anonymous: Option<&str>,
        subject: Option<Subject>,
        at: Timestamp,
    ) {
        let line = Line {
            ticket,
            at,
            anonymous: anonymous.map(Into::into),
            subject,
            cost_micro: shown.item.impression_micro,
            ghost: None,
            campaign_holdout_bp: shown.campaign.holdout_bp,
            global_holdout_bp: snapshot.global_holdout_bp,
            metered: true,
        };
        if !self.shared.log.add(line) {
            shown.item.meter.lost(1);
        }
    }

    /// A held-out person who would have been shown a banner: recorded once a day, so that lift compares like with like.
    fn record_ghost(&self, snapshot: &Snapshot, place: &AdPlacement, ghost: &Ghost<'_>, day: i64, at: Timestamp) {
        let ticket = Ticket {
            touch: ticket::ghost_touch(&self.platform.signer, ghost.campaign.id, ghost.person, day),
            campaign: ghost.campaign.id,
            item: 0,
            variant: ghost.variant,
            product: ghost.product,
            creative: crate::platform::ids::CreativeId(0),
            placement: place.id,
            person: Some(ghost.person),
            propensity: 0.0,
            item_chance: 0.0,
            click_micro: 0,
            bid: false,
        };
        self.shared.log.add(Line {
            ticket,
            at,
            anonymous: None,
            subject: Some(Subject::person(ghost.person)),
            cost_micro: 0,
            ghost: Some(ghost.global),
            campaign_holdout_bp: ghost.campaign.holdout_bp,
            global_holdout_bp: snapshot.global_holdout_bp,
            metered: false,
        });
    }

    /// An exchange's bill: the impression is written, once, and counts for budget and caps. Done when this returns.
    pub(super) async fn billed(&self, ticket: &Ticket, cost_micro: i64) {
        let now = self.platform.now();
        let subject = ticket.person.map(Subject::person);
        let first = locked(&self.shared.billed).insert(ticket.touch);
        let meter = locked(&self.shared.meters).entry((ticket.campaign.0, ticket.item)).or_default().clone();
        if first {
            if let Some(subject) = subject {
                self.shared.caps.learn(subject, self.local(now).0, ticket.campaign, ticket.item, 1);
            }
            meter.take(super::meter::Budget::Unlimited);
        }
        let line = Line {
            ticket: *ticket,
            at: now,
            anonymous: None,
            subject,
            cost_micro,
            ghost: None,
            campaign_holdout_bp: 0,
            global_holdout_bp: 0,
            metered: first,
        };
        if !self.shared.log.add(line) && first {
            meter.lost(1);
        }
        self.flush().await;
    }

    pub(super) fn seals(&self) -> &Seals {
        &self.shared.seals
    }
}

/// The ticket of a banner that was chosen.
pub(super) fn ticket_of(shown: &Shown<'_>, place: &AdPlacement, person: Option<PersonId>, now: Timestamp, bid: bool) -> Ticket {
    Ticket {
        touch: ticket::new_touch(now),
        campaign: shown.campaign.id,
        item: shown.item.id,
        variant: shown.creative.variant,
        product: shown.creative.product,
        creative: shown.creative.id,
        placement: place.id,
        person,
        propensity: shown.propensity,
        item_chance: shown.item_chance,
        click_micro: shown.item.click_micro,
        bid,
    }
}

/// Appends one placement's answer as JSON.
pub fn write_answer(place: &AdPlacement, served: Result<&Served<'_>, NoFill>, out: &mut Vec<u8>) {
    match served {
        Ok(s) => s.shown.creative.template.write(&place.key, s.token, s.ticket.touch, s.ticket.item, s.shown.personal, out),
        Err(reason) => render::write_no_fill(&place.key, reason, out),
    }
}

fn person_named(snapshot: &Snapshot, text: &str) -> Option<PersonId> {
    snapshot.people.by_external(text).or_else(|| text.parse().ok().filter(|id| snapshot.people.knows(*id)))
}
