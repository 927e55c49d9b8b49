//! The ad server: holds the snapshot and the caps, answers from memory, writes impressions behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use utoipa::ToSchema;

use super::caps::{Caps, Subject};
use super::decide::{self, Ghost, NoFill, Shown, Viewer};
use super::flush::{Entry, Log};
use super::load;
use super::snapshot::Snapshot;
use super::ticket::{Ticket, TicketKind};
use crate::platform::ids::{CampaignId, CreativeId, PersonId, ProductId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::{Arm, NewTouch, TouchChannel, TouchState};

/// How often the snapshot is compared with the database.
const REFRESH: Duration = Duration::from_secs(1);
/// People change all the time (every visit does it); that alone renews the snapshot no oftener than this.
const PEOPLE_REFRESH: Duration = Duration::from_secs(30);

/// Decisions from memory. Cheap to clone.
#[derive(Clone)]
pub struct AdServer {
    platform: Platform,
    snapshot: Arc<ArcSwap<Snapshot>>,
    loaded: Arc<tokio::sync::Mutex<Option<Loaded>>>,
    caps: Arc<Caps>,
    log: Log,
    turn: Arc<AtomicU64>,
}

/// Of what state of the database the snapshot is.
struct Loaded {
    version: load::Version,
    /// When the people in it were read.
    people_at: Instant,
}

/// A banner to show, or the reason why there is none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Creative {
    /// The placement that was asked for.
    pub placement: String,
    pub filled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<NoFill>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub banner: Option<Banner>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Banner {
    #[schema(value_type = String, example = "crv_12")]
    pub creative_id: CreativeId,
    #[schema(value_type = String, example = "tch_0190c8f0a1b27c3d8e4f5a6b7c8d9e0f")]
    pub touch_id: TouchId,
    #[schema(value_type = String, example = "cmp_3")]
    pub campaign_id: CampaignId,
    #[schema(value_type = String, example = "prd_77")]
    pub product_id: ProductId,
    pub width: u32,
    pub height: u32,
    /// The picture (PNG).
    pub image_url: String,
    /// What to put into the page: the picture in a link.
    pub html: String,
    /// Where a click goes; it leads on to the product.
    pub click_url: String,
    /// Call once (GET or POST) when half of the banner was in view for a second.
    pub viewable_url: String,
    /// Whether the product was picked for this person, or suits anybody.
    pub personal: bool,
}

impl AdServer {
    /// Loads the first snapshot and keeps it fresh.
    pub async fn start(platform: Platform) -> anyhow::Result<Self> {
        let log = Log::start(platform.clone());
        let server = Self { platform, snapshot: Arc::default(), loaded: Arc::default(), caps: Arc::default(), log, turn: Arc::default() };
        server.refresh(true).await?;
        let beside = server.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                if let Err(error) = beside.refresh(false).await {
                    tracing::warn!(%error, "the ad snapshot could not be renewed; the old one still serves");
                }
            }
        });
        Ok(server)
    }

    /// Serves from a given snapshot, which nothing renews: for benches and tests of the path itself.
    pub fn fixed(platform: Platform, snapshot: Snapshot) -> Self {
        let log = Log::start(platform.clone());
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        Self { platform, snapshot, loaded: Arc::default(), caps: Arc::default(), log, turn: Arc::default() }
    }

    /// Loads a new snapshot where something changed since the last. People change all the time, and are read anew only every
    /// 30 seconds (`at_once`: now). Requests go on meanwhile from the old one. True where a new one was loaded.
    pub async fn refresh(&self, at_once: bool) -> anyhow::Result<bool> {
        let mut loaded = self.loaded.lock().await;
        let now = self.platform.now();
        let day = self.day(now);
        for (campaign, subject, seen) in load::impressions_of_day(&self.platform, now).await? {
            self.caps.learn(campaign, subject, day, seen);
        }
        let mut version = load::version(&self.platform).await?;
        let mut people_at = Instant::now();
        let mut people = None;
        if let Some(before) = loaded.as_ref() {
            let held = self.snapshot.load();
            // Nobody is in a snapshot without campaigns.
            let settled = before.version.same_people(&version) || !at_once && before.people_at.elapsed() < PEOPLE_REFRESH;
            if settled && before.version.same_shop(&version) {
                return Ok(false);
            }
            if settled && !(held.campaigns.is_empty()) {
                version.keep_people_of(&before.version);
                people_at = before.people_at;
                people = Some(held.people.clone());
            }
        }
        let fresh = load::snapshot(&self.platform, people).await?;
        self.caps.forget_before(day);
        self.snapshot.store(Arc::new(fresh));
        *loaded = Some(Loaded { version, people_at });
        Ok(true)
    }

    /// Waits until every impression so far is in the database.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    /// What the newest snapshot holds: people, campaigns, banners.
    pub fn size(&self) -> (usize, usize, usize) {
        let snapshot = self.snapshot.load();
        (snapshot.people.len(), snapshot.campaigns.len(), snapshot.campaigns.iter().map(|c| c.creatives.len()).sum())
    }

    fn day(&self, now: Timestamp) -> i64 {
        decide::cap_day(now, self.platform.config.shop.time_zone)
    }

    /// Chooses a banner; counts and records the impression. `None` where there is no such placement.
    pub fn creative(&self, placement: &str, viewer: AskedBy<'_>) -> Option<Creative> {
        let snapshot = self.snapshot.load();
        let now = self.platform.now();
        let day = self.day(now);
        let (viewer, anonymous) = match viewer {
            AskedBy::Person(text) => match person_named(&snapshot, text) {
                Some(person) => (Viewer::Person(person), None),
                None => (Viewer::Nobody, None),
            },
            AskedBy::Anonymous(id) => (Viewer::Anonymous(id), Some(id)),
            AskedBy::Nobody => (Viewer::Nobody, None),
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let answer = decide::decide(&snapshot, &self.caps, &self.platform.signer, placement, viewer, day, turn)?;
        for ghost in &answer.ghosts {
            self.record_ghost(&snapshot, ghost, day, now);
        }
        metrics::counter!("marquee_ad_decisions_total", "filled" => if answer.shown.is_ok() { "yes" } else { "no" }).increment(1);
        Some(match answer.shown {
            Ok(shown) => self.show(&snapshot, placement, &shown, anonymous, now),
            Err(reason) => Creative { placement: placement.to_owned(), filled: false, reason: Some(reason), banner: None },
        })
    }

    fn show(&self, snapshot: &Snapshot, placement: &str, shown: &Shown<'_>, anonymous: Option<&str>, now: Timestamp) -> Creative {
        let touch = TouchId::new(now);
        let ticket = Ticket {
            touch,
            campaign: shown.campaign.id,
            variant: shown.variant,
            product: shown.product,
            creative: shown.creative.id,
            placement: shown.placement,
            person: shown.person,
            served_at: now,
        };
        self.log.add(Entry {
            touch: NewTouch { anonymous_id: anonymous.map(ToOwned::to_owned), ..ticket.touch() },
            campaign_holdout_bp: shown.campaign.holdout_bp,
            global_holdout_bp: snapshot.global_holdout_bp,
        });
        let (config, signer) = (&self.platform.config, &self.platform.signer);
        let click_url = config.public(&format!("/a/c/{}", ticket.sign(signer, TicketKind::Click)));
        let viewable_url = config.public(&format!("/a/v/{}", ticket.sign(signer, TicketKind::Viewable)));
        let image_url = config.public(&format!("/assets/{}", shown.creative.asset_hash));
        let html = format!(
            "<a href=\"{click_url}\" target=\"_blank\" rel=\"noopener sponsored\"><img src=\"{image_url}\" width=\"{}\" height=\"{}\" alt=\"{}\" style=\"border:0\"></a>",
            shown.width,
            shown.height,
            html_escape::encode_double_quoted_attribute(&shown.creative.title)
        );
        let banner = Banner {
            creative_id: shown.creative.id,
            touch_id: touch,
            campaign_id: shown.campaign.id,
            product_id: shown.product,
            width: shown.width,
            height: shown.height,
            image_url,
            html,
            click_url,
            viewable_url,
            personal: shown.personal,
        };
        Creative { placement: placement.to_owned(), filled: true, reason: None, banner: Some(banner) }
    }

    /// A held-out person who would have been shown a banner: recorded once a day, so that lift compares like with like.
    fn record_ghost(&self, snapshot: &Snapshot, ghost: &Ghost<'_>, day: i64, now: Timestamp) {
        if !self.caps.take(ghost.campaign_id, Subject::ghost(ghost.person), day, 1) {
            return;
        }
        let holdout_bp = snapshot.campaigns.iter().find(|c| c.id == ghost.campaign_id).map_or(0, |c| c.holdout_bp);
        self.log.add(Entry {
            touch: NewTouch {
                arm: Arm::Ghost,
                state: TouchState::Held,
                reason: ghost.global.then(|| "global_holdout".to_owned()),
                variant_id: Some(ghost.variant),
                product_ids: vec![ghost.product],
                placement_id: Some(ghost.placement),
                ..NewTouch::planned(ghost.campaign_id, ghost.person, TouchChannel::Banner, now, now)
            },
            campaign_holdout_bp: holdout_bp,
            global_holdout_bp: snapshot.global_holdout_bp,
        });
    }
}

/// Who asks, as it stands in the request.
#[derive(Clone, Copy, Debug)]
pub enum AskedBy<'a> {
    /// The shop's own id of a person, or ours (`per_…`).
    Person(&'a str),
    Anonymous(&'a str),
    Nobody,
}

fn person_named(snapshot: &Snapshot, text: &str) -> Option<PersonId> {
    snapshot.people.by_external(text).or_else(|| text.parse().ok().filter(|id| snapshot.people.knows(*id)))
}

impl Ticket {
    /// The touch that this ticket is about, as the replica that decided writes it (but for the browser's id).
    pub fn touch(&self) -> NewTouch {
        NewTouch {
            id: self.touch,
            channel: TouchChannel::Banner,
            arm: Arm::Treated,
            state: TouchState::Served,
            reason: None,
            person_id: self.person,
            anonymous_id: None,
            campaign_id: self.campaign,
            run_id: None,
            variant_id: Some(self.variant),
            product_ids: vec![self.product],
            copy_id: None,
            creative_id: Some(self.creative),
            placement_id: Some(self.placement),
            due_at: self.served_at,
            expires_at: None,
        }
    }
}
