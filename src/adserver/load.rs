//! Loads the snapshot from the database: placements, line items, running banner campaigns with their banners; people and products by what
//! changed of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::item_store;
use super::line_items::{ItemStatus, LineItem};
use super::meter::{Meter, Meters};
use super::pacing::Forecast;
use super::people::{AdPeople, AdPerson, PICKS};
use super::placements;
use super::render::{Parts, Template};
use super::snapshot::{AdCampaign, AdCreative, AdItem, AdPlacement, AdProduct, Products, Snapshot, Turn};
use super::tally;
use super::targeting::{Members, Target, Targeting, country};
use crate::audience::{self, Rule};
use crate::campaign::{self, Campaign};
use crate::catalog::{self, Product};
use crate::creative::{self, Utm};
use crate::people::{self, Consent, Person};
use crate::platform::Db;
use crate::platform::ids::{LineItemId, PersonId, PlacementId, ProductId, SegmentId};
use crate::platform::{Platform, Timestamp};
use crate::read;
use crate::recommend;
use crate::touches::TouchChannel;
use crate::touches::holdout::{Lots, Scope};

/// Rows read at once.
const PAGE: i64 = 1_000;
/// Products that suit anybody.
const POPULAR: usize = 20;
/// Impressions per person, campaign and day where a campaign sets no cap of its own.
const DEFAULT_CAP_PER_DAY: u32 = 10;
/// Hours of traffic that a forecast is made from.
const PAST_HOURS: i64 = 28 * 24;

/// Tells whether anything changed that a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Version {
    campaigns: i64,
    creatives: i64,
    placements: i64,
    items: i64,
    snapshots: i64,
    settings: i64,
    /// The model that picks are made from.
    pub model: i64,
    /// When picks last followed people's newest facts.
    pub picked: i64,
    pub people: Timestamp,
    pub products: Timestamp,
}

impl Version {
    /// Whether campaigns, banners, places and settings are the same.
    pub fn same_shop(&self, other: &Self) -> bool {
        let moving = Self { model: other.model, picked: other.picked, people: other.people, products: other.products, ..self.clone() };
        moving == *other
    }
}

const VERSION: &str = "SELECT
     (SELECT COALESCE(MAX(updated_at), 0) FROM campaign) AS campaigns,
     (SELECT COALESCE(MAX(updated_at), 0) FROM creative) AS creatives,
     (SELECT COALESCE(MAX(updated_at), 0) + COUNT(*) FROM placement) AS placements,
     (SELECT COALESCE(MAX(updated_at), 0) + COUNT(*) FROM line_item) AS items,
     (SELECT COALESCE(MAX(id), 0) FROM segment_snapshot WHERE status = 'complete') AS snapshots,
     (SELECT COALESCE(MAX(updated_at), 0) FROM setting WHERE key NOT LIKE 'adserver.%' AND key NOT LIKE 'recommend.%') AS settings,
     (SELECT COALESCE(MAX(model_id), 0) FROM pick WHERE person_id = 0) AS model,
     (SELECT COALESCE(MAX(updated_at), 0) FROM setting WHERE key LIKE 'recommend.%') AS picked,
     (SELECT COALESCE(MAX(updated_at), 0) FROM person) AS people,
     (SELECT COALESCE(MAX(updated_at), 0) FROM product) AS products";

pub async fn version(platform: &Platform) -> sqlx::Result<Version> {
    read!(platform.db, |c| sqlx::query_as::<_, Version>(VERSION).fetch_one(c).await)
}

/// Segments' members, each read once.
#[derive(Default)]
struct Segments {
    known: HashMap<SegmentId, Option<Arc<Members>>>,
}

impl Segments {
    /// The latest members; `None` where the segment is everyone.
    async fn get(&mut self, db: &Db, segment: SegmentId) -> anyhow::Result<Option<Arc<Members>>> {
        if let Some(known) = self.known.get(&segment) {
            return Ok(known.clone());
        }
        let members =
            if matches!(audience::get(db, segment).await?.rule, Rule::Everyone {}) { None } else { Some(members_of(db, segment).await?) };
        self.known.insert(segment, members.clone());
        Ok(members)
    }

    async fn target(&mut self, db: &Db, rules: &Targeting) -> anyhow::Result<Target> {
        let mut found: HashMap<SegmentId, Arc<Members>> = HashMap::new();
        for segment in &rules.segments {
            // A segment that is gone has nobody; one that is everyone still asks for a known person.
            let members = match audience::get(db, *segment).await {
                Ok(_) => match self.get(db, *segment).await? {
                    Some(members) => members,
                    None => everyone(db).await?,
                },
                Err(_) => Arc::default(),
            };
            found.insert(*segment, members);
        }
        Ok(Target::compile(rules, |segment| found.get(&segment).cloned().unwrap_or_default()))
    }
}

async fn members_of(db: &Db, segment: SegmentId) -> anyhow::Result<Arc<Members>> {
    let mut all = Members::default();
    if let Some(snapshot) = audience::latest_snapshot(db, segment).await? {
        let mut after = PersonId(0);
        loop {
            let page = audience::members(db, snapshot.id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            page.iter().for_each(|p| all.insert(p.0));
        }
    }
    Ok(Arc::new(all))
}

async fn everyone(db: &Db) -> anyhow::Result<Arc<Members>> {
    let (mut all, mut after) = (Members::default(), PersonId(0));
    loop {
        let page = people::ids_after(db, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(Arc::new(all)) };
        after = *last;
        page.iter().for_each(|p| all.insert(p.0));
    }
}

fn meter(meters: &std::sync::Mutex<Meters>, campaign: i64, item: i64) -> Arc<Meter> {
    meters.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry((campaign, item)).or_default().clone()
}

/// All line items that are not archived.
async fn line_items(db: &Db) -> sqlx::Result<Vec<LineItem>> {
    let (mut all, mut after) = (Vec::new(), LineItemId(0));
    loop {
        let page = item_store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.id;
        all.extend(page);
    }
}

/// Everything but people and products, which are those given.
pub async fn snapshot(
    platform: &Platform,
    meters: &std::sync::Mutex<Meters>,
    before: &Snapshot,
    people: Arc<AdPeople>,
    products: Arc<Products>,
) -> anyhow::Result<Snapshot> {
    let db = &platform.db;
    let taken_at = platform.now();
    let running = campaign::running(db, TouchChannel::Banner).await?;
    let popular: Vec<ProductId> = recommend::popular(db, POPULAR).await?.into_iter().map(|p| p.product_id).collect();
    let mut segments = Segments::default();
    let mut campaigns = Vec::with_capacity(running.len());
    for c in &running {
        campaigns.push(ad_campaign(platform, c, &popular, &mut segments).await?);
    }
    let traffic = forecasts(db, taken_at).await?;
    let listed = line_items(db).await?;
    let mut items = Vec::new();
    let mut by_place: HashMap<PlacementId, Vec<Turn>> = HashMap::new();
    for item in listed.iter().filter(|i| i.status == ItemStatus::Active) {
        let Some(at) = running.iter().position(|c| c.id == item.campaign_id) else { continue };
        let target = segments.target(db, &item.targeting).await?;
        by_place.entry(item.placement_id).or_default().push(Turn { item: items.len() as u32, tier: item.tier, campaign: item.campaign_id });
        items.push(AdItem::of(item, at as u32, target, meter(meters, item.campaign_id.0, item.id.0)));
    }
    let mut placements = HashMap::new();
    for p in placements::list(db).await? {
        let mut on_it = by_place.remove(&p.id).unwrap_or_default();
        for (at, c) in running.iter().enumerate() {
            // Whoever has line items serves by them alone, also while all are paused.
            let by_itself = !listed.iter().any(|i| i.campaign_id == c.id);
            if by_itself && (c.plan.placements.is_empty() || c.plan.placements.contains(&p.key)) {
                let own = AdItem::own(at as u32, meter(meters, c.id.0, 0));
                on_it.push(Turn { item: items.len() as u32, tier: own.tier, campaign: c.id });
                items.push(own);
            }
        }
        on_it.sort_by_key(|turn| turn.tier);
        let place = AdPlacement {
            id: p.id,
            key: p.key.clone(),
            sizes: p.sizes().into_iter().map(creative::Format::size).collect(),
            target: segments.target(db, &p.rules).await?,
            floor_micro: p.floor_minor.saturating_mul(1_000),
            turns: on_it,
            forecast: traffic.get(&p.id).cloned().unwrap_or_default(),
            outcomes: before.placements.get(&p.key).map(|b| b.outcomes.clone()).unwrap_or_default(),
            site: p.site,
            paused: p.paused,
            exchange: p.exchange,
        };
        placements.insert(p.key, place);
    }
    Ok(Snapshot {
        taken_at,
        placements: placements.into(),
        campaigns: campaigns.into(),
        items: items.into(),
        people,
        products,
        popular,
        global_holdout_bp: campaign::policy(db).await?.global_holdout_bp,
        default_locale: platform.config.shop.locale.clone(),
    })
}

/// What traffic each placement may expect.
async fn forecasts(db: &Db, now: Timestamp) -> sqlx::Result<HashMap<PlacementId, Arc<Forecast>>> {
    let hour = tally::hour_of(now);
    let mut past: HashMap<PlacementId, Vec<(i64, i64)>> = HashMap::new();
    for (placement, hour, requests) in tally::traffic(db, hour - PAST_HOURS, hour).await? {
        past.entry(placement).or_default().push((hour, requests));
    }
    Ok(past.into_iter().map(|(placement, hours)| (placement, Arc::new(Forecast::learn(&hours)))).collect())
}

async fn ad_campaign(platform: &Platform, c: &Campaign, popular: &[ProductId], segments: &mut Segments) -> anyhow::Result<AdCampaign> {
    let db = &platform.db;
    let banners = creative::banners_of(db, c.id).await?;
    let base = platform.config.server.public_url.trim_end_matches('/');
    let size = |n: i64| u32::try_from(n).unwrap_or(0);
    let creatives: Vec<(AdCreative, &str)> = banners
        .iter()
        .map(|b| {
            let parts = Parts {
                creative: b.id,
                campaign: c.id,
                variant: b.variant_id,
                product: b.product_id,
                width: size(b.width),
                height: size(b.height),
                title: &b.title,
                asset_hash: &b.asset_hash,
                base,
            };
            (ad_creative(&parts), b.locale.as_str())
        })
        .collect();
    let drawn: std::collections::HashSet<ProductId> = banners.iter().map(|b| b.product_id).collect();
    let mut suits_anybody: Vec<ProductId> = popular.iter().copied().filter(|p| drawn.contains(p)).collect();
    if suits_anybody.is_empty() {
        suits_anybody = drawn.into_iter().collect();
        suits_anybody.sort_unstable();
    }
    let mut campaign = AdCampaign {
        holdout_bp: c.plan.holdout_bp,
        members: segments.get(db, c.plan.segment).await?,
        variants: c.variants.iter().map(|v| (v.id, u32::try_from(v.variant.weight).unwrap_or(1))).collect(),
        popular: suits_anybody,
        cap_per_day: c.plan.caps.and_then(|caps| u32::try_from(caps.per_day).ok()).filter(|n| *n > 0).unwrap_or(DEFAULT_CAP_PER_DAY),
        ..AdCampaign::new(c.id, &c.name)
    };
    campaign.stock(creatives);
    Ok(campaign)
}

/// A banner, its answer written as far as it can be.
pub fn ad_creative(parts: &Parts<'_>) -> AdCreative {
    AdCreative {
        id: parts.creative,
        variant: parts.variant,
        product: parts.product,
        locale: 0,
        width: parts.width,
        height: parts.height,
        template: Template::cut(parts),
        image_url: format!("{}/assets/{}", parts.base, parts.asset_hash),
        title: parts.title.to_owned(),
    }
}

fn ad_person(platform: &Platform, lots: &Lots, person: &Person, picks: Vec<recommend::Pick>) -> AdPerson {
    AdPerson {
        id: person.id,
        external_id: person.external_id.clone(),
        locale: person.locale.as_deref().map_or_else(|| platform.config.shop.locale.clone(), language),
        personal: person.ads_consent != Consent::Unsubscribed,
        country: person.country.as_deref().and_then(country),
        lot: lots.place(Scope::Global, person.id),
        picks: picks.into_iter().map(|p| p.product_id).collect(),
    }
}

async fn put_in(platform: &Platform, lots: &Lots, people: &mut AdPeople, page: &[Person]) -> anyhow::Result<()> {
    let (gone, here): (Vec<&Person>, Vec<&Person>) = page.iter().partition(|p| p.erased_at.is_some());
    let ids: Vec<PersonId> = here.iter().map(|p| p.id).collect();
    let mut picks = recommend::picks_for(&platform.db, &ids, PICKS).await?;
    let fresh = here.iter().map(|p| ad_person(platform, lots, p, picks.remove(&p.id).unwrap_or_default())).collect();
    people.update(fresh, &gone.iter().map(|p| p.id).collect::<Vec<_>>());
    Ok(())
}

/// Everybody.
pub async fn people(platform: &Platform, lots: &Lots) -> anyhow::Result<AdPeople> {
    let db = &platform.db;
    let mut people = AdPeople::default();
    let mut after = PersonId(0);
    loop {
        let page = people::list(db, "", after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        put_in(platform, lots, &mut people, &page).await?;
    }
    let mut after = String::new();
    loop {
        let page = people::anonymous_page(db, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        people.name_anonymous(page);
    }
    Ok(people)
}

/// Puts in who changed since; returns how many.
pub async fn people_changed(platform: &Platform, lots: &Lots, people: &mut AdPeople, since: Timestamp) -> anyhow::Result<usize> {
    // What was written in the same microsecond as the last look may have come after it.
    let (mut at, mut id, mut count) = (since.plus_us(-1), PersonId(i64::MAX), 0);
    loop {
        let page = people::changed_after(&platform.db, at, id, PAGE).await?;
        let Some(last) = page.last() else { return Ok(count) };
        (at, id) = (last.updated_at, last.id);
        count += page.len();
        put_in(platform, lots, people, &page).await?;
        let ids: Vec<PersonId> = page.iter().filter(|p| p.erased_at.is_none()).map(|p| p.id).collect();
        people.name_anonymous(people::anonymous_of(&platform.db, &ids).await?);
    }
}

fn ad_product(platform: &Platform, product: &Product) -> AdProduct {
    let config = &platform.config;
    let utm = Utm { source: "marquee".into(), medium: "recommendation".into(), ..Utm::default() };
    let own = product.url.as_deref().and_then(|url| utm.append(url));
    let image = product.image_hash.as_ref().map(|hash| config.public(&format!("/assets/{hash}")));
    AdProduct {
        sku: product.sku.clone(),
        title: product.title.clone(),
        brand: product.brand.clone(),
        category: product.category_path.clone(),
        price: product.price_now(),
        was: product.sale_price.filter(|s| s.minor < product.price.minor).map(|_| product.price),
        url: own.or_else(|| utm.append(&config.shop.url)).unwrap_or_default(),
        image_url: image.or_else(|| product.image_url.as_deref().and_then(|url| Utm::default().append(url))),
        words: super::targeting::fold(&format!(
            "{} {} {}",
            product.title,
            product.brand.as_deref().unwrap_or_default(),
            product.category_path
        )),
    }
}

/// The products that may be shown, with those changed since put in anew.
pub async fn products(platform: &Platform, before: &Products, since: Timestamp) -> anyhow::Result<Products> {
    let mut products = before.clone();
    for product in catalog::changed_since(&platform.db, since.plus_us(-1)).await? {
        let Ok(key) = u32::try_from(product.id.0) else { continue };
        if product.sellable() {
            products.insert(key, ad_product(platform, &product));
        } else {
            products.remove(&key);
        }
    }
    Ok(products)
}

/// `zh-Hans-CN` → `zh`.
pub fn language(locale: &str) -> String {
    locale.split(['-', '_']).next().unwrap_or(locale).to_lowercase()
}
