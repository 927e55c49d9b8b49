//! The checks at the claim: may this touch go out now? The same for treated and ghost, so that the two stay comparable. Set-based: a few
//! queries for a batch.

use std::collections::{HashMap, HashSet};

use super::choice::Shelf;
use super::draft::{copy_request, locale_for};
use super::error::CampaignError;
use super::facts::{Facts, reason};
use super::model::{Campaign, Status};
use super::policy::policy;
use super::schedule::next_allowed;
use super::store;
use crate::catalog;
use crate::copywriter::{self, CopyKey, CopyRequest};
use crate::platform::ids::{CampaignId, CopyId, PersonId, ProductId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::{Arm, Content, Outcome, Touch, TouchChannel};

/// What may become of a claimed touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it; a ghost is `held`.
    Go,
    Defer {
        until: Timestamp,
        reason: &'static str,
    },
    Skip(&'static str),
    Expire,
    Cancel(&'static str),
    /// Not now, and no word about later: the campaign is paused.
    GiveBack,
}

/// A touch's verdict, and its new content where another product or copy had to be chosen.
#[derive(Clone, Debug)]
pub struct Checked {
    pub id: TouchId,
    pub verdict: Verdict,
    /// To be written with `touches::set_content` before the touch goes on.
    pub content: Option<Content>,
}

impl Checked {
    /// How the touch ends here; `None` for a treated touch that is to be sent.
    pub fn outcome(&self, arm: Arm) -> Option<Outcome> {
        match &self.verdict {
            Verdict::Go if arm == Arm::Ghost => Some(Outcome::Held),
            Verdict::Go => None,
            Verdict::Defer { until, reason } => Some(Outcome::Deferred { until: *until, reason: (*reason).to_owned() }),
            Verdict::Skip(reason) => Some(Outcome::Skipped((*reason).to_owned())),
            Verdict::Expire => Some(Outcome::Expired),
            Verdict::Cancel(reason) => Some(Outcome::Cancelled((*reason).to_owned())),
            Verdict::GiveBack => Some(Outcome::GivenBack),
        }
    }
}

/// Checks claimed touches of one channel; one answer per touch, in order. Caps compare what was really sent by now (for ghosts: sent or
/// held). A touch over a cap is skipped: yesterday's newsletter is not worth sending tomorrow.
pub async fn recheck(platform: &Platform, touches: &[Touch], now: Timestamp) -> Result<Vec<Checked>, CampaignError> {
    let db = &platform.db;
    let Some(channel) = touches.first().map(|t| t.channel) else { return Ok(Vec::new()) };
    let ids: Vec<CampaignId> = touches.iter().map(|t| t.campaign_id).collect::<HashSet<_>>().into_iter().collect();
    let campaigns = store::many(db, &ids).await?;
    let policy = policy(db).await?;
    let people: Vec<PersonId> = touches.iter().filter_map(|t| t.person_id).collect::<HashSet<_>>().into_iter().collect();
    let facts = Facts::load(db, &people, channel, now).await?;
    let zone_of = |person: PersonId| {
        let shop = platform.config.shop.time_zone;
        facts.people.get(&person).map_or(shop, |p| p.zone(shop))
    };

    let mut checked: Vec<Checked> = touches
        .iter()
        .map(|t| {
            let verdict = match (campaigns.get(&t.campaign_id), t.person_id) {
                (None, _) => Verdict::Cancel(reason::CANCELLED),
                (_, None) => Verdict::Skip(reason::GONE),
                (Some(campaign), Some(person)) => match campaign.status {
                    Status::Cancelled => Verdict::Cancel(reason::CANCELLED),
                    Status::Paused | Status::Draft | Status::Scheduled => Verdict::GiveBack,
                    // Done: a person asked for an uncertain touch to be sent again.
                    Status::Running | Status::Done => {
                        let quiet = policy.quiet_hours_for(&campaign.plan);
                        let allowed = next_allowed(now, zone_of(person), quiet, campaign.plan.send_window.as_ref());
                        let refused = facts.refusal(person, t.arm, &campaign.plan, &policy, now);
                        timed(t, allowed, refused, now)
                    }
                },
            };
            Checked { id: t.id, verdict, content: None }
        })
        .collect();
    renew_content(platform, touches, &campaigns, &facts, &mut checked, now).await?;
    Ok(checked)
}

fn timed(touch: &Touch, allowed: Option<Timestamp>, refused: Option<&'static str>, now: Timestamp) -> Verdict {
    if touch.expires_at.is_some_and(|at| at <= now) {
        return Verdict::Expire;
    }
    match (refused, allowed) {
        (Some(reason), _) => Verdict::Skip(reason),
        (None, None) => Verdict::Skip(reason::NO_TIME),
        (None, Some(until)) if until > now => {
            if touch.expires_at.is_some_and(|at| at <= until) {
                Verdict::Expire
            } else {
                Verdict::Defer { until, reason: reason::QUIET }
            }
        }
        (None, Some(_)) => Verdict::Go,
    }
}

/// Products that can no longer be sold leave a touch; where the main one is gone, another is chosen and its copy written. Copy that a person
/// rejected meanwhile is replaced. Runs over treated and ghost alike.
async fn renew_content(
    platform: &Platform,
    touches: &[Touch],
    campaigns: &HashMap<CampaignId, Campaign>,
    facts: &Facts,
    checked: &mut [Checked],
    now: Timestamp,
) -> Result<(), CampaignError> {
    let db = &platform.db;
    let going: Vec<usize> = (0..touches.len()).filter(|i| checked[*i].verdict == Verdict::Go).collect();
    let products: Vec<ProductId> =
        going.iter().flat_map(|i| touches[*i].product_ids.iter().copied().map(ProductId)).collect::<HashSet<_>>().into_iter().collect();
    let known = catalog::get_many(db, &products).await?;
    let sellable = |id: &ProductId| known.get(id).is_some_and(catalog::Product::sellable);
    let copies: Vec<CopyId> = going.iter().filter_map(|i| touches[*i].copy_id).collect::<HashSet<_>>().into_iter().collect();
    let copies = copywriter::get_many(db, &copies).await?;

    // What each touch shows now, and whom another product must be found for.
    let mut lists: HashMap<usize, Vec<ProductId>> = HashMap::new();
    let mut repick: HashMap<CampaignId, Vec<usize>> = HashMap::new();
    for i in going {
        let touch = &touches[i];
        let left: Vec<ProductId> = touch.product_ids.iter().copied().map(ProductId).filter(sellable).collect();
        if left.first().copied() == touch.product_id && touch.product_id.is_some() {
            lists.insert(i, left);
        } else {
            repick.entry(touch.campaign_id).or_default().push(i);
        }
    }
    for (id, places) in repick {
        let Some(campaign) = campaigns.get(&id) else { continue };
        let shelf = Shelf::load(platform, &campaign.plan.choice, now).await?;
        let people: Vec<PersonId> = places.iter().filter_map(|i| touches[*i].person_id).collect();
        let mut chosen = shelf.choose(platform, &people, now).await?;
        for i in places {
            match touches[i].person_id.and_then(|p| chosen.remove(&p)) {
                Some(list) => {
                    lists.insert(i, list);
                }
                None => checked[i].verdict = Verdict::Skip(reason::NO_PRODUCT),
            }
        }
    }

    // Copy for what changed, or whose copy may no longer be sent.
    let mut wanted: HashMap<CopyKey, CopyRequest> = HashMap::new();
    let mut missing: Vec<(usize, CopyKey)> = Vec::new();
    for (i, list) in &lists {
        let touch = &touches[*i];
        let main = list.first().copied();
        let usable = touch.copy_id.and_then(|c| copies.get(&c)).is_some_and(|c| c.status.usable());
        let same = main == touch.product_id && usable;
        if same {
            if list.len() != touch.product_ids.len() {
                checked[*i].content = Some(content(touch, list.clone(), touch.copy_id));
            }
            continue;
        }
        let request = campaigns.get(&touch.campaign_id).zip(touch.variant_id).zip(main).and_then(|((campaign, variant), product)| {
            let person = touch.person_id.and_then(|p| facts.people.get(&p));
            copy_request(campaign, variant, product, locale_for(platform, campaign, variant, person))
        });
        match request {
            Some(request) => {
                missing.push((*i, request.key()));
                wanted.insert(request.key(), request);
            }
            None => checked[*i].verdict = Verdict::Skip(reason::NO_COPY),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let requests: Vec<CopyRequest> = wanted.into_values().collect();
    let ensured = copywriter::ensure(platform, &requests).await.map_err(anyhow::Error::from)?;
    for (i, key) in missing {
        match ensured.ids.get(&key) {
            Some(copy) => checked[i].content = Some(content(&touches[i], lists.remove(&i).unwrap_or_default(), Some(*copy))),
            None => checked[i].verdict = Verdict::Skip(reason::NO_COPY),
        }
    }
    Ok(())
}

fn content(touch: &Touch, product_ids: Vec<ProductId>, copy_id: Option<CopyId>) -> Content {
    let creative_id =
        touch.creative_id.filter(|_| touch.channel == TouchChannel::Banner && product_ids.first().copied() == touch.product_id);
    Content { id: touch.id, product_ids, copy_id, creative_id }
}
