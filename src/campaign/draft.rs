//! Who of a page of people gets what, when, in which variant, and who nothing and why. Reads only: the dry run and the real run share it.

use std::collections::HashMap;

use super::choice::Shelf;
use super::error::CampaignError;
use super::facts::{Facts, reason};
use super::model::Campaign;
use super::plan::LocaleMode;
use super::policy::ContactPolicy;
use super::schedule::next_allowed;
use crate::copywriter::{self, CopyChannel, CopyError, CopyKey, CopyRequest, Locale};
use crate::people::Person;
use crate::platform::ids::{CopyId, PersonId, ProductId, VariantId};
use crate::platform::{Platform, Timestamp};
use crate::touches::holdout::{self, Scope};
use crate::touches::{Arm, TouchChannel};

/// One person's part in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub person: PersonId,
    pub arm: Arm,
    pub variant: VariantId,
    pub locale: Locale,
    pub due_at: Timestamp,
    /// Best first; empty where they are left out.
    pub products: Vec<ProductId>,
    /// Why they are left out.
    pub skip: Option<&'static str>,
}

/// The arms of people: what is stored, and the same draw that will be stored for the others.
pub async fn arms(
    platform: &Platform,
    campaign: &Campaign,
    policy: &ContactPolicy,
    people: &[PersonId],
) -> sqlx::Result<(HashMap<PersonId, Arm>, bool)> {
    let mut arms: HashMap<PersonId, Arm> = HashMap::with_capacity(people.len());
    let mut complete = true;
    for (scope, share) in scopes(campaign, policy) {
        let stored = holdout::assigned(&platform.db, scope, people).await?;
        complete &= stored.len() == people.len();
        for person in people {
            let arm = stored.get(person).copied().unwrap_or_else(|| holdout::draw(&platform.signer, scope, *person, share));
            if arm == Arm::Ghost {
                arms.insert(*person, Arm::Ghost);
            }
        }
    }
    for person in people {
        arms.entry(*person).or_insert(Arm::Treated);
    }
    Ok((arms, complete))
}

/// The holdouts that a campaign lies under, with their shares.
pub fn scopes(campaign: &Campaign, policy: &ContactPolicy) -> [(Scope, i64); 2] {
    [(Scope::Global, policy.global_holdout_bp), (Scope::Campaign(campaign.id), campaign.plan.holdout_bp)]
}

/// The variant that the stable hash draws by weight: the same for a person in every run of a campaign.
pub fn variant_for(platform: &Platform, campaign: &Campaign, person: PersonId) -> Option<VariantId> {
    let total: i64 = campaign.variants.iter().map(|v| v.variant.weight).sum();
    let drawn = holdout::stable_u64(&platform.signer, "variant", campaign.id.0, person) % u64::try_from(total).ok().filter(|t| *t > 0)?;
    let mut left = i64::try_from(drawn).ok()?;
    for variant in &campaign.variants {
        left -= variant.variant.weight;
        if left < 0 {
            return Some(variant.id);
        }
    }
    None
}

/// The language in which a variant addresses a person.
pub fn locale_for(platform: &Platform, campaign: &Campaign, variant: VariantId, person: Option<&Person>) -> Locale {
    match campaign.variant(variant).map(|v| v.variant.locale) {
        Some(LocaleMode::Fixed(locale)) => locale,
        _ => Locale::pick(person.and_then(|p| p.locale.as_deref()), &platform.config.shop.locale),
    }
}

/// Who of a page of people (at most 1,000) is reached and when, in the order given: everything but the products.
pub async fn who(
    platform: &Platform,
    campaign: &Campaign,
    policy: &ContactPolicy,
    people: &[PersonId],
    run_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<Draft>, CampaignError> {
    let db = &platform.db;
    let plan = &campaign.plan;
    let facts = Facts::load(db, people, plan.channel, now).await?;
    let (arms, _) = arms(platform, campaign, policy, people).await?;
    let quiet = policy.quiet_hours_for(plan);
    let drafts = people
        .iter()
        .filter_map(|id| {
            let person = facts.people.get(id);
            let arm = arms.get(id).copied().unwrap_or(Arm::Treated);
            let zone = person.map_or(platform.config.shop.time_zone, |p| p.zone(platform.config.shop.time_zone));
            let due = plan.schedule.due(run_at, zone, now);
            let allowed = due.and_then(|at| next_allowed(at, zone, quiet, plan.send_window.as_ref()));
            let due_at = allowed.or(due).unwrap_or(now);
            let timing = if due.is_none() { Some(reason::HOUR_PASSED) } else { allowed.is_none().then_some(reason::NO_TIME) };
            let skip = facts.refusal(*id, arm, plan, policy, due_at).or(timing);
            let variant = variant_for(platform, campaign, *id)?;
            let locale = locale_for(platform, campaign, variant, person);
            Some(Draft { person: *id, arm, variant, locale, due_at, products: Vec::new(), skip })
        })
        .collect();
    Ok(drafts)
}

/// Drafts a page (at most 1,000 people), in the order given.
pub async fn page(
    platform: &Platform,
    campaign: &Campaign,
    policy: &ContactPolicy,
    shelf: &Shelf,
    people: &[PersonId],
    run_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<Draft>, CampaignError> {
    let mut drafts = who(platform, campaign, policy, people, run_at, now).await?;
    products(platform, shelf, &mut drafts, now).await?;
    Ok(drafts)
}

/// Chooses the products of those who are reached; for whom there is none is left out.
pub async fn products(platform: &Platform, shelf: &Shelf, drafts: &mut [Draft], now: Timestamp) -> Result<(), CampaignError> {
    let reached: Vec<PersonId> = drafts.iter().filter(|d| d.skip.is_none()).map(|d| d.person).collect();
    let mut chosen = shelf.choose(platform, &reached, now).await?;
    for draft in drafts.iter_mut().filter(|d| d.skip.is_none()) {
        match chosen.remove(&draft.person) {
            Some(products) => draft.products = products,
            None => draft.skip = Some(reason::NO_PRODUCT),
        }
    }
    Ok(())
}

/// The copy that a variant needs for a product.
pub fn copy_request(campaign: &Campaign, variant: VariantId, product: ProductId, locale: Locale) -> Option<CopyRequest> {
    let settings = &campaign.variant(variant)?.variant;
    Some(CopyRequest {
        campaign_id: campaign.id,
        variant_id: variant,
        product_id: product,
        locale,
        channel: match campaign.plan.channel {
            TouchChannel::Email => CopyChannel::Email,
            TouchChannel::Banner => CopyChannel::Banner,
        },
        tone: settings.tone,
        occasion: settings.occasion,
    })
}

fn wanted(campaign: &Campaign, draft: &Draft) -> Option<CopyRequest> {
    copy_request(campaign, draft.variant, *draft.products.first()?, draft.locale)
}

/// Leaves those out for whose main product there is no copy and none can be written, and writes none. `known`: what was found out before.
pub async fn foresee_copy(
    platform: &Platform,
    campaign: &Campaign,
    drafts: &mut [Draft],
    known: &mut HashMap<CopyKey, bool>,
) -> Result<(), CopyError> {
    let mut requests: HashMap<CopyKey, CopyRequest> = HashMap::new();
    for request in drafts.iter().filter(|d| d.skip.is_none()).filter_map(|d| wanted(campaign, d)) {
        if !known.contains_key(&request.key()) {
            requests.insert(request.key(), request);
        }
    }
    let requests: Vec<CopyRequest> = requests.into_values().collect();
    known.extend(copywriter::foresee(platform, &requests).await?);
    for draft in drafts.iter_mut().filter(|d| d.skip.is_none()) {
        if !wanted(campaign, draft).is_some_and(|r| known.get(&r.key()).copied().unwrap_or(false)) {
            draft.skip = Some(reason::NO_COPY);
        }
    }
    Ok(())
}

/// Has the copy written that these drafts need (for their main products only); a draft for which there is none is left out.
pub async fn with_copy(platform: &Platform, campaign: &Campaign, drafts: &mut [Draft]) -> Result<HashMap<PersonId, CopyId>, CopyError> {
    let mut unique: HashMap<CopyKey, CopyRequest> = HashMap::new();
    for request in drafts.iter().filter_map(|d| wanted(campaign, d)) {
        unique.insert(request.key(), request);
    }
    let mut requests: Vec<CopyRequest> = unique.into_values().collect();
    requests.sort_by_key(CopyRequest::key);
    let ensured = copywriter::ensure(platform, &requests).await?;
    let mut copies = HashMap::new();
    for draft in drafts.iter_mut().filter(|d| d.skip.is_none()) {
        match wanted(campaign, draft).and_then(|r| ensured.ids.get(&r.key()).copied()) {
            Some(copy) => {
                copies.insert(draft.person, copy);
            }
            None => draft.skip = Some(reason::NO_COPY),
        }
    }
    Ok(copies)
}
