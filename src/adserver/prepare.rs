//! The job that makes banner campaigns ready: fresh members, and copy and banners for the products that people of the segment would be shown.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{item_store, placements, tally};
use crate::audience;
use crate::campaign::{self, Campaign};
use crate::catalog::{self, Product};
use crate::copywriter::{self, CopyChannel, CopyKey, CopyRequest, Locale};
use crate::creative::{self, BannerRequest, Format};
use crate::people;
use crate::platform::clock::HOUR_US;
use crate::platform::ids::{CopyId, LineItemId, PersonId, ProductId, SegmentId};
use crate::platform::queue::JobContext;
use crate::platform::{Platform, Timestamp, setting};
use crate::read;
use crate::recommend;
use crate::touches::TouchChannel;

/// Most products with banners per campaign: what is picked for the most people.
const PRODUCTS: usize = 150;
/// Picks of each person that count.
const PICKS: usize = 5;
const PAGE: i64 = 1_000;
const COPY_BATCH: usize = 200;
/// Members older than this are taken afresh.
const MEMBERS_AGE_US: i64 = HOUR_US;

pub async fn run(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let running = campaign::running(&platform.db, TouchChannel::Banner).await?;
    let mut drawn = 0_u64;
    let mut dropped = 0_u64;
    let mut unchanged = 0_u64;
    tally::forget_replicas(&platform.db, platform.now().plus_days(-7)).await?;
    for campaign in &running {
        renew_members(&platform, campaign).await?;
        let inputs = Inputs { campaign: campaign.updated_at, ..inputs(&platform).await? };
        let key = format!("adserver.prepared.{}", campaign.id);
        if setting::get::<Inputs>(&platform.db, &key).await?.as_ref() == Some(&inputs) {
            unchanged += 1;
            continue;
        }
        let (ready, without) = prepare(&platform, campaign, &context).await?;
        drawn += ready;
        dropped += without;
        if context.stop.is_cancelled() {
            break;
        }
        // What was read before the work: a change meanwhile makes the next run work again.
        let mut tx = platform.db.begin().await?;
        setting::put(&mut tx, &key, &inputs, platform.now()).await?;
        tx.commit().await?;
    }
    Ok(json!({ "campaigns": running.len(), "unchanged": unchanged, "banners": drawn, "without_copy": dropped }))
}

/// All that banners are made from, as times of its last change: where it is as it was, every banner is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
struct Inputs {
    #[sqlx(skip)]
    campaign: Timestamp,
    picks: i64,
    products: i64,
    placements: i64,
    copies: i64,
    brand: i64,
}

const INPUTS: &str = "SELECT
     (SELECT COALESCE(MAX(finished_at), 0) FROM job_run WHERE job = 'recommend.pick' AND status = 'done') AS picks,
     (SELECT COALESCE(MAX(updated_at), 0) FROM product) AS products,
     (SELECT COALESCE(MAX(updated_at), 0) + COUNT(*) FROM placement) + (SELECT COALESCE(MAX(updated_at), 0) FROM line_item) AS placements,
     (SELECT COALESCE(MAX(updated_at), 0) FROM ad_copy WHERE channel = 'banner' AND status IN ('approved', 'edited', 'rejected')) AS copies,
     (SELECT COALESCE(MAX(updated_at), 0) FROM setting WHERE key = 'brand') AS brand";

async fn inputs(platform: &Platform) -> sqlx::Result<Inputs> {
    read!(platform.db, |c| sqlx::query_as::<_, Inputs>(INPUTS).fetch_one(c).await)
}

async fn prepare(platform: &Platform, campaign: &Campaign, context: &JobContext) -> anyhow::Result<(u64, u64)> {
    let formats = formats_of(platform, campaign).await?;
    if formats.is_empty() {
        return Ok((0, 0));
    }
    let products = catalog::all(&platform.db).await?;
    let fits: HashMap<ProductId, &Product> =
        products.iter().filter(|p| p.sellable() && campaign.plan.choice.admits(p)).map(|p| (p.id, p)).collect();
    let (wanted, locales) = wanted(platform, campaign, &fits).await?;
    let requests: Vec<CopyRequest> = wanted
        .iter()
        .flat_map(|product| locales.iter().map(move |locale| (*product, *locale)))
        .flat_map(|(product_id, locale)| {
            campaign.variants.iter().map(move |v| CopyRequest {
                campaign_id: campaign.id,
                variant_id: v.id,
                product_id,
                locale,
                channel: CopyChannel::Banner,
                tone: v.variant.tone,
                occasion: v.variant.occasion,
            })
        })
        .collect();
    context.progress.total(i64::try_from(requests.len()).unwrap_or(i64::MAX));
    let (mut ready, mut dropped) = (0, 0);
    for batch in requests.chunks(COPY_BATCH) {
        let copies = copywriter::ensure(platform, batch).await?;
        dropped += copies.dropped.len() as u64;
        let banners: Vec<BannerRequest> =
            copies.ids.into_iter().flat_map(|(key, copy_id)| formats.iter().map(move |format| banner_of(&key, copy_id, *format))).collect();
        let done = creative::ensure_banners(platform, &banners).await?;
        ready += (done.kept + done.drawn) as u64;
        for (request, error) in done.failed {
            tracing::warn!(campaign = %campaign.id, product = %request.product_id, %error, "a banner could not be drawn");
        }
        context.progress.add(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        if context.stop.is_cancelled() {
            break;
        }
    }
    Ok((ready, dropped))
}

fn banner_of(key: &CopyKey, copy_id: CopyId, format: Format) -> BannerRequest {
    BannerRequest {
        campaign_id: key.campaign_id,
        variant_id: key.variant_id,
        product_id: key.product_id,
        copy_id,
        locale: key.locale,
        format,
    }
}

async fn formats_of(platform: &Platform, campaign: &Campaign) -> anyhow::Result<Vec<Format>> {
    let mut formats = Vec::new();
    let items = item_store::of_campaign(&platform.db, campaign.id, LineItemId(0), PAGE).await?;
    for placement in placements::list(&platform.db).await? {
        let planned = campaign.plan.placements.is_empty() || campaign.plan.placements.contains(&placement.key);
        let used = if items.is_empty() { planned } else { items.iter().any(|i| i.placement_id == placement.id) };
        for format in placement.sizes().into_iter().filter(|_| used) {
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
    }
    Ok(formats)
}

async fn renew_members(platform: &Platform, campaign: &Campaign) -> anyhow::Result<()> {
    let now = platform.now();
    let items = item_store::of_campaign(&platform.db, campaign.id, LineItemId(0), PAGE).await?;
    let mut segments: Vec<SegmentId> = items.into_iter().flat_map(|i| i.targeting.segments).collect();
    segments.push(campaign.plan.segment);
    segments.sort_unstable();
    segments.dedup();
    for segment in segments {
        // What a line item names may have been deleted since.
        if audience::get(&platform.db, segment).await.is_err() {
            continue;
        }
        let latest = audience::latest_snapshot(&platform.db, segment).await?;
        if latest.is_none_or(|s| now.since(s.taken_at) >= MEMBERS_AGE_US) {
            audience::snapshot(platform, segment, now).await?;
        }
    }
    Ok(())
}

/// The products picked for the most members and what is popular, within the campaign's filter; and the languages that members speak.
async fn wanted(
    platform: &Platform,
    campaign: &Campaign,
    fits: &HashMap<ProductId, &Product>,
) -> anyhow::Result<(Vec<ProductId>, Vec<Locale>)> {
    let db = &platform.db;
    let mut votes: BTreeMap<ProductId, i64> = BTreeMap::new();
    let mut locales = vec![Locale::pick(None, &platform.config.shop.locale)];
    if let Some(snapshot) = audience::latest_snapshot(db, campaign.plan.segment).await? {
        let mut after = PersonId(0);
        loop {
            let page = audience::members(db, snapshot.id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            for (product, people) in recommend::picked_for(db, &page, PICKS).await?.into_iter().filter(|(p, _)| fits.contains_key(p)) {
                *votes.entry(product).or_default() += people;
            }
            for tag in people::locales(db, &page).await? {
                let locale = Locale::pick(tag.as_deref(), &platform.config.shop.locale);
                if !locales.contains(&locale) {
                    locales.push(locale);
                }
            }
        }
    }
    let mut by_votes: Vec<(ProductId, i64)> = votes.into_iter().collect();
    by_votes.sort_by_key(|(id, n)| (std::cmp::Reverse(*n), *id));
    let mut wanted: Vec<ProductId> = by_votes.into_iter().map(|(id, _)| id).take(PRODUCTS).collect();
    let popular = recommend::popular(db, PRODUCTS).await?.into_iter().map(|p| p.product_id);
    let mut rest: Vec<ProductId> = fits.keys().copied().collect();
    rest.sort_unstable();
    // What nobody was picked for still fills the shelf of a small or new shop.
    for id in popular.filter(|id| fits.contains_key(id)).take(20).chain(rest.into_iter().take(20)) {
        if !wanted.contains(&id) {
            wanted.push(id);
        }
    }
    Ok((wanted, locales))
}
