//! Loads the snapshot from the database: people with their picks, running banner campaigns with their banners, placements.

use std::collections::HashMap;
use std::sync::Arc;

use super::caps::Subject;
use super::placements;
use super::snapshot::{AdCampaign, AdCreative, AdPeople, AdPerson, AdPlacement, CreativeKey, Snapshot};
use crate::audience::{self, Rule};
use crate::campaign::{self, Campaign};
use crate::creative;
use crate::people::{self, Consent};
use crate::platform::ids::{CampaignId, PersonId, ProductId, VariantId};
use crate::platform::{Platform, Timestamp};
use crate::recommend;
use crate::touches::TouchChannel;
use crate::{platform::db::Db, read};

/// Rows read at once.
const PAGE: i64 = 1_000;
/// Picks kept per person: those that take turns, and some more for places where a banner is missing.
const PICKS: usize = 12;
/// Products that suit anybody.
const POPULAR: usize = 20;
/// Impressions per person, campaign and day where a campaign sets no cap of its own.
const DEFAULT_CAP_PER_DAY: u32 = 10;

/// Tells whether anything changed that a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Version {
    campaigns: i64,
    creatives: i64,
    placements: i64,
    snapshots: i64,
    settings: i64,
    /// The model that picks are made from.
    model: i64,
    /// When picks last followed people's newest facts.
    picked: i64,
    people: i64,
}

impl Version {
    /// Whether campaigns, banners, places and settings are the same.
    pub fn same_shop(&self, other: &Self) -> bool {
        Self { model: other.model, picked: other.picked, people: other.people, ..self.clone() } == *other
    }
    /// Says that the people are still those of `other`.
    pub fn keep_people_of(&mut self, other: &Self) {
        (self.model, self.picked, self.people) = (other.model, other.picked, other.people);
    }
    /// Whether people and their picks are the same.
    pub fn same_people(&self, other: &Self) -> bool {
        (self.model, self.picked, self.people) == (other.model, other.picked, other.people)
    }
}

const VERSION: &str = "SELECT
     (SELECT COALESCE(MAX(updated_at), 0) FROM campaign) AS campaigns,
     (SELECT COALESCE(MAX(id), 0) FROM creative) AS creatives,
     (SELECT COALESCE(MAX(created_at), 0) + COUNT(*) FROM placement) AS placements,
     (SELECT COALESCE(MAX(id), 0) FROM segment_snapshot WHERE status = 'complete') AS snapshots,
     (SELECT COALESCE(MAX(updated_at), 0) FROM setting WHERE key NOT LIKE 'adserver.%' AND key NOT LIKE 'recommend.%') AS settings,
     (SELECT COALESCE(MAX(model_id), 0) FROM pick WHERE person_id = 0) AS model,
     (SELECT COALESCE(MAX(updated_at), 0) FROM setting WHERE key LIKE 'recommend.%') AS picked,
     (SELECT COALESCE(MAX(updated_at), 0) FROM person) AS people";

pub async fn version(platform: &Platform) -> sqlx::Result<Version> {
    read!(platform.db, |c| sqlx::query_as::<_, Version>(VERSION).fetch_one(c).await)
}

const IMPRESSIONS: &str = "SELECT campaign_id, person_id, COUNT(*) FROM touch
     WHERE channel = 'banner' AND state = 'served' AND person_id IS NOT NULL AND sent_at >= $1 GROUP BY campaign_id, person_id";
const ANONYMOUS_IMPRESSIONS: &str = "SELECT campaign_id, anonymous_id, COUNT(*) FROM touch
     WHERE channel = 'banner' AND state = 'served' AND person_id IS NULL AND anonymous_id IS NOT NULL AND sent_at >= $1
     GROUP BY campaign_id, anonymous_id";

/// What all replicas together showed today.
pub async fn impressions_of_day(platform: &Platform, now: Timestamp) -> sqlx::Result<Vec<(CampaignId, Subject, u32)>> {
    let zone = platform.config.shop.time_zone;
    let midnight = Timestamp::from_date(now.in_zone(zone).date_naive(), zone);
    let people = read!(platform.db, |c| sqlx::query_as::<_, (CampaignId, PersonId, i64)>(IMPRESSIONS).bind(midnight).fetch_all(c).await)?;
    let browsers =
        read!(platform.db, |c| sqlx::query_as::<_, (CampaignId, String, i64)>(ANONYMOUS_IMPRESSIONS).bind(midnight).fetch_all(c).await)?;
    let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(people
        .into_iter()
        .map(|(c, p, n)| (c, Subject::person(p), count(n)))
        .chain(browsers.into_iter().map(|(c, a, n)| (c, Subject::anonymous(&a), count(n))))
        .collect())
}

/// `people`: those of the last snapshot, where they are still good.
pub async fn snapshot(platform: &Platform, people: Option<Arc<AdPeople>>) -> anyhow::Result<Snapshot> {
    let db = &platform.db;
    let taken_at = platform.now();
    let running = campaign::running(db, TouchChannel::Banner).await?;
    let mut campaigns = Vec::with_capacity(running.len());
    let popular: Vec<ProductId> = recommend::popular(db, POPULAR).await?.into_iter().map(|p| p.product_id).collect();
    for c in &running {
        campaigns.push(ad_campaign(platform, c, &popular).await?);
    }
    let placements = placements::list(db)
        .await?
        .into_iter()
        .map(|p| {
            let on_it = running.iter().enumerate().filter(|(_, c)| c.plan.placements.is_empty() || c.plan.placements.contains(&p.key));
            let campaigns = on_it.map(|(i, _)| i).collect();
            let size = |n: i64| u32::try_from(n).unwrap_or(0);
            (p.key, AdPlacement { id: p.id, width: size(p.width), height: size(p.height), campaigns })
        })
        .collect();
    // Nobody is looked up where nothing is shown.
    let people = match people {
        Some(people) => people,
        None if campaigns.is_empty() => Arc::default(),
        None => Arc::new(ad_people(platform).await?),
    };
    Ok(Snapshot {
        taken_at,
        placements,
        campaigns,
        people,
        global_holdout_bp: campaign::policy(db).await?.global_holdout_bp,
        default_locale: platform.config.shop.locale.clone(),
    })
}

async fn ad_campaign(platform: &Platform, c: &Campaign, popular: &[ProductId]) -> anyhow::Result<AdCampaign> {
    let db = &platform.db;
    let creatives: HashMap<CreativeKey, AdCreative> = creative::banners_of(db, c.id)
        .await?
        .into_iter()
        .map(|b| {
            let size = |n: i64| u32::try_from(n).unwrap_or(0);
            let key = CreativeKey {
                variant: b.variant_id,
                product: b.product_id,
                locale: b.locale,
                width: size(b.width),
                height: size(b.height),
            };
            (key, AdCreative { id: b.id, asset_hash: b.asset_hash, title: b.title })
        })
        .collect();
    let drawn: std::collections::HashSet<ProductId> = creatives.keys().map(|k| k.product).collect();
    let mut suits_anybody: Vec<ProductId> = popular.iter().copied().filter(|p| drawn.contains(p)).collect();
    if suits_anybody.is_empty() {
        suits_anybody = drawn.into_iter().collect();
        suits_anybody.sort_unstable();
    }
    Ok(AdCampaign {
        id: c.id,
        name: c.name.clone(),
        holdout_bp: c.plan.holdout_bp,
        members: members(db, c).await?,
        variants: c.variants.iter().map(|v| (v.id, u32::try_from(v.variant.weight).unwrap_or(1))).collect::<Vec<(VariantId, u32)>>(),
        creatives,
        popular: suits_anybody,
        cap_per_day: c.plan.caps.and_then(|caps| u32::try_from(caps.per_day).ok()).filter(|n| *n > 0).unwrap_or(DEFAULT_CAP_PER_DAY),
    })
}

/// The segment's latest members, sorted; `None` where the segment is everyone.
async fn members(db: &Db, c: &Campaign) -> anyhow::Result<Option<Vec<PersonId>>> {
    if matches!(audience::get(db, c.plan.segment).await?.rule, Rule::Everyone {}) {
        return Ok(None);
    }
    let mut all = Vec::new();
    if let Some(snapshot) = audience::latest_snapshot(db, c.plan.segment).await? {
        let mut after = PersonId(0);
        loop {
            let page = audience::members(db, snapshot.id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            all.extend(page);
        }
    }
    Ok(Some(all))
}

async fn ad_people(platform: &Platform) -> anyhow::Result<AdPeople> {
    let db = &platform.db;
    let mut people = AdPeople::default();
    let mut after = PersonId(0);
    loop {
        let page = people::list(db, "", after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let ids: Vec<PersonId> = page.iter().map(|p| p.id).collect();
        let mut picks = recommend::picks_for(db, &ids, PICKS).await?;
        for person in page {
            people.push(AdPerson {
                id: person.id,
                external_id: person.external_id,
                locale: person.locale.as_deref().map_or_else(|| platform.config.shop.locale.clone(), language),
                personal: person.ads_consent != Consent::Unsubscribed,
                picks: picks.remove(&person.id).unwrap_or_default().into_iter().map(|p| p.product_id).collect(),
            });
        }
    }
    let mut after = String::new();
    loop {
        let page = people::anonymous_page(db, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (anonymous_id, person) in page {
            people.name_anonymous(anonymous_id, person);
        }
    }
    Ok(people)
}

/// `zh-Hans-CN` → `zh`.
pub fn language(locale: &str) -> String {
    locale.split(['-', '_']).next().unwrap_or(locale).to_lowercase()
}
