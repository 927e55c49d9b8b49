//! How a campaign goes: touches by state and reason, and what each variant came to.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::error::CampaignError;
use super::model::Campaign;
use super::service;
use crate::platform::Db;
use crate::platform::ids::{CampaignId, VariantId};
use crate::touches::{self, StateCount};

/// A variant's results. Rates are of treated touches that went out; opens and clicks by humans only.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VariantResult {
    #[schema(value_type = String)]
    pub variant_id: VariantId,
    pub name: String,
    pub sent: i64,
    pub held: i64,
    pub opened: i64,
    pub clicked: i64,
    pub open_rate: Option<f64>,
    pub click_rate: Option<f64>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Progress {
    /// Touches by arm, state and reason.
    pub states: Vec<StateCount>,
    /// Those left out, by reason (both arms).
    pub left_out: BTreeMap<String, i64>,
    pub variants: Vec<VariantResult>,
}

pub async fn progress(db: &Db, id: CampaignId) -> Result<Progress, CampaignError> {
    let campaign = service::get(db, id).await?;
    let states = touches::counts_of_campaign(db, id).await?;
    let mut left_out = BTreeMap::new();
    for row in states.iter().filter(|r| r.state == touches::TouchState::Skipped) {
        *left_out.entry(row.reason.clone().unwrap_or_default()).or_default() += row.touches;
    }
    Ok(Progress { states, left_out, variants: variants(db, &campaign).await? })
}

/// What each variant came to, in the order of the plan.
pub async fn variants(db: &Db, campaign: &Campaign) -> sqlx::Result<Vec<VariantResult>> {
    let counts = touches::counts_by_variant(db, campaign.id).await?;
    Ok(campaign
        .variants
        .iter()
        .map(|v| {
            let found = counts.iter().find(|c| c.variant_id == Some(v.id));
            let (sent, held) = found.map_or((0, 0), |c| (c.sent, c.held));
            let (opened, clicked) = found.map_or((0, 0), |c| (c.opened, c.clicked));
            let rate = |n: i64| (sent > 0).then(|| n as f64 / sent as f64);
            let name = v.variant.name.clone();
            VariantResult { variant_id: v.id, name, sent, held, opened, clicked, open_rate: rate(opened), click_rate: rate(clicked) }
        })
        .collect())
}
