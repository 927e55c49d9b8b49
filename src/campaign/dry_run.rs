//! The dry run: who would get what, when and in which variant, and who would not and why; and how large a lift this holdout could show.
//! It drafts with the very code that plans, and writes nothing: whether there would be words is found out by trying.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::QueryBuilder;
use utoipa::ToSchema;

use super::choice::Shelf;
use super::draft::{self, Draft};
use super::error::CampaignError;
use super::model::Campaign;
use super::policy::policy;
use super::{service, store};
use crate::platform::ids::{CampaignId, PersonId, ProductId, VariantId};
use crate::platform::{Db, Platform, Timestamp};
use crate::touches::Arm;
use crate::{audience, catalog, read};

const PAGE: i64 = 1_000;
/// Most people looked at; beyond it the report says that it is a part.
pub const MAX_PEOPLE: i64 = 200_000;
/// Normal quantiles for a two-sided 5 % test with 80 % power: 1.960 + 0.842.
const Z: f64 = 2.802;

/// What a run would do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DryRun {
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    /// The run that this is about.
    #[schema(value_type = String)]
    pub run_at: Timestamp,
    /// People of the segment now.
    pub audience: i64,
    /// The audience was larger than what a dry run looks at; the numbers are of its first part.
    pub partial: bool,
    /// Would get something.
    pub treated: i64,
    /// Would be left alone to measure lift.
    pub held_out: i64,
    /// Would get nothing, by reason.
    pub skipped: BTreeMap<String, i64>,
    /// Treated people by variant.
    pub variants: BTreeMap<String, i64>,
    /// The products shown most, with how many treated people would see each first.
    pub products: Vec<ProductShare>,
    #[schema(value_type = Option<String>)]
    pub first_due: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub last_due: Option<Timestamp>,
    pub detectable: Option<Detectable>,
    /// Some of the people, in order of id.
    pub people: Vec<PersonPart>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProductShare {
    #[schema(value_type = String)]
    pub product_id: ProductId,
    pub sku: String,
    pub title: String,
    pub people: i64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PersonPart {
    #[schema(value_type = String)]
    pub person_id: PersonId,
    pub arm: Arm,
    /// Why they get nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    pub variant: String,
    #[schema(value_type = String)]
    pub due_at: Timestamp,
    /// Skus, best first.
    pub products: Vec<String>,
}

/// The smallest true effect that a holdout of this size finds in four of five cases (two-sided, 5 %), by the normal approximation
/// (z₀.₉₇₅ + z₀.₈)·σ·√(1/n₁ + 1/n₂), before covariates make it sharper.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Detectable {
    pub treated: i64,
    pub held_out: i64,
    /// In standard deviations of the outcome.
    pub effect_sd: f64,
    /// Net revenue per person in the conversion window, as it was in the equally long span before now.
    pub baseline_minor_per_person: f64,
    /// Extra net revenue per person, in minor units of the shop's currency; absent where nobody bought.
    pub effect_minor_per_person: Option<f64>,
    /// The same as a share of the baseline.
    pub effect_relative: Option<f64>,
}

/// The smallest detectable effect for two groups whose outcome has this mean and standard deviation.
pub fn detectable(treated: i64, held_out: i64, mean: f64, sd: f64) -> Option<Detectable> {
    if treated < 2 || held_out < 2 {
        return None;
    }
    let effect_sd = Z * (1.0 / treated as f64 + 1.0 / held_out as f64).sqrt();
    let effect = (sd > 0.0).then_some(effect_sd * sd);
    Some(Detectable {
        treated,
        held_out,
        effect_sd,
        baseline_minor_per_person: mean,
        effect_minor_per_person: effect,
        effect_relative: effect.filter(|_| mean > 0.0).map(|e| e / mean),
    })
}

/// Sums of a stream of numbers, for mean and deviation.
#[derive(Default)]
pub(super) struct Moments {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    pub fn add(&mut self, values: impl Iterator<Item = f64>, people: usize) {
        self.n += people as f64;
        for value in values {
            self.sum += value;
            self.squares += value * value;
        }
    }
    pub fn mean_sd(&self) -> (f64, f64) {
        if self.n < 2.0 {
            return (0.0, 0.0);
        }
        let mean = self.sum / self.n;
        (mean, ((self.squares - self.n * mean * mean) / (self.n - 1.0)).max(0.0).sqrt())
    }
}

/// Drafts the next run over the whole segment. `sample`: how many people to name (at most 500).
pub async fn dry_run(platform: &Platform, id: CampaignId, sample: usize) -> Result<DryRun, CampaignError> {
    let db = &platform.db;
    let now = platform.now();
    let campaign = service::get(db, id).await?;
    let policy = policy(db).await?;
    let run_at = next_run(db, &campaign, now).await?.unwrap_or(now);
    let at = now.max(run_at);
    let shelf = Shelf::load(platform, &campaign.plan.choice, now).await?;
    let mut report = DryRun {
        campaign_id: id,
        run_at,
        audience: 0,
        partial: false,
        treated: 0,
        held_out: 0,
        skipped: BTreeMap::new(),
        variants: BTreeMap::new(),
        products: Vec::new(),
        first_due: None,
        last_due: None,
        detectable: None,
        people: Vec::new(),
    };
    let mut shown: HashMap<ProductId, i64> = HashMap::new();
    let mut named: Vec<Draft> = Vec::new();
    let mut money = Moments::default();
    let mut words = HashMap::new();
    let mut walk = audience::walk(db, campaign.plan.segment, now).await.map_err(anyhow::Error::from)?;
    loop {
        let people = walk.next(PAGE).await.map_err(anyhow::Error::from)?;
        if people.is_empty() {
            break;
        }
        if report.audience >= MAX_PEOPLE {
            report.partial = true;
            break;
        }
        let mut drafts = draft::page(platform, &campaign, &policy, &shelf, &people, run_at, at).await?;
        draft::foresee_copy(platform, &campaign, &mut drafts, &mut words).await.map_err(anyhow::Error::from)?;
        let reached: Vec<PersonId> = drafts.iter().filter(|d| d.skip.is_none()).map(|d| d.person).collect();
        let spent = revenue(platform, &reached, now.plus_us(-campaign.window_us()), now).await?;
        money.add(spent.into_iter().map(|minor| minor as f64), reached.len());
        for d in &drafts {
            count(&mut report, &campaign, d, &mut shown);
        }
        let room = sample.min(500) - named.len().min(sample.min(500));
        named.extend(drafts.into_iter().take(room));
    }
    let (mean, sd) = money.mean_sd();
    report.detectable = detectable(report.treated, report.held_out, mean, sd);
    name_products(db, &campaign, &mut report, shown, &named).await?;
    Ok(report)
}

/// When a campaign (also one that is not stored) would run next.
pub(super) async fn next_run(db: &Db, campaign: &Campaign, now: Timestamp) -> Result<Option<Timestamp>, CampaignError> {
    let done = store::run_count(db, campaign.id).await?;
    match campaign.next_run_at {
        Some(at) => Ok(Some(at)),
        None if done == 0 => campaign.plan.schedule.first_run(now),
        None => campaign.plan.schedule.next_run(now, done),
    }
}

fn count(report: &mut DryRun, campaign: &Campaign, draft: &Draft, shown: &mut HashMap<ProductId, i64>) {
    report.audience += 1;
    if let Some(reason) = draft.skip {
        *report.skipped.entry(reason.to_owned()).or_default() += 1;
        return;
    }
    report.first_due = Some(report.first_due.map_or(draft.due_at, |t| t.min(draft.due_at)));
    report.last_due = Some(report.last_due.map_or(draft.due_at, |t| t.max(draft.due_at)));
    if draft.arm == Arm::Ghost {
        report.held_out += 1;
        return;
    }
    report.treated += 1;
    *report.variants.entry(variant_name(campaign, draft.variant)).or_default() += 1;
    if let Some(product) = draft.products.first() {
        *shown.entry(*product).or_default() += 1;
    }
}

fn variant_name(campaign: &Campaign, id: VariantId) -> String {
    campaign.variant(id).map(|v| v.variant.name.clone()).unwrap_or_default()
}

async fn name_products(
    db: &Db,
    campaign: &Campaign,
    report: &mut DryRun,
    shown: HashMap<ProductId, i64>,
    named: &[Draft],
) -> sqlx::Result<()> {
    let mut top: Vec<(ProductId, i64)> = shown.into_iter().collect();
    top.sort_by_key(|(id, n)| (-n, *id));
    top.truncate(20);
    let ids: Vec<ProductId> = top.iter().map(|(id, _)| *id).chain(named.iter().flat_map(|d| d.products.iter().copied())).collect();
    let known = catalog::get_many(db, &ids).await?;
    report.products = top
        .into_iter()
        .filter_map(|(id, people)| {
            known.get(&id).map(|p| ProductShare { product_id: id, sku: p.sku.clone(), title: p.title.clone(), people })
        })
        .collect();
    report.people = named
        .iter()
        .map(|d| PersonPart {
            person_id: d.person,
            arm: d.arm,
            skipped: d.skip,
            variant: variant_name(campaign, d.variant),
            due_at: d.due_at,
            products: d.products.iter().filter_map(|id| known.get(id).map(|p| p.sku.clone())).collect(),
        })
        .collect();
    Ok(())
}

/// Net revenue of those of these people who bought in a span, in the shop's currency; of the orders that lift is measured by.
pub(super) async fn revenue(platform: &Platform, people: &[PersonId], from: Timestamp, to: Timestamp) -> sqlx::Result<Vec<i64>> {
    if people.is_empty() {
        return Ok(Vec::new());
    }
    read!(platform.db, |c| {
        let mut q = QueryBuilder::new(
            "SELECT CAST(SUM(total_minor - refunded_minor) AS BIGINT) FROM shop_order
             WHERE flag IS NULL AND source <> 'page' AND currency = ",
        );
        q.push_bind(platform.config.shop.currency.code())
            .push(" AND placed_at >= ")
            .push_bind(from)
            .push(" AND placed_at < ")
            .push_bind(to);
        q.push(" AND person_id IN (");
        let mut list = q.separated(", ");
        for id in people {
            list.push_bind(*id);
        }
        q.push(") GROUP BY person_id");
        q.build_query_scalar::<i64>().persistent(false).fetch_all(c).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detectable_effect_follows_the_two_sample_formula() {
        let d = detectable(800, 200, 500.0, 1_000.0).expect("groups");
        assert!((d.effect_sd - 2.802 * (1.0_f64 / 800.0 + 1.0 / 200.0).sqrt()).abs() < 1e-12);
        assert!((d.effect_minor_per_person.expect("money") - 221.5).abs() < 0.1, "{d:?}");
        assert!((d.effect_relative.expect("share") - 0.443).abs() < 0.001);
        assert!(detectable(800, 0, 1.0, 1.0).is_none());
        assert_eq!(detectable(10, 10, 0.0, 0.0).and_then(|d| d.effect_minor_per_person), None);
    }

    #[test]
    fn moments_count_those_who_bought_nothing() {
        let mut m = Moments::default();
        m.add([10.0, 10.0].into_iter(), 4);
        let (mean, sd) = m.mean_sd();
        assert!((mean - 5.0).abs() < 1e-12 && (sd - (100.0_f64 / 3.0).sqrt()).abs() < 1e-9);
    }
}
