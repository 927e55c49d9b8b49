//! Line items: a campaign on a placement, with priority, budget, price, dates, pacing, caps and targeting.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auction::Declared;
use super::targeting::{Targeting, TargetingError};
use crate::fault;
use crate::platform::Fault;
use crate::platform::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::ids::{CampaignId, LineItemId, PlacementId};
use crate::touches::word_enum;

word_enum!(
    /// Who goes first. The next tier is asked only where no line item of the tier before it has anything to show.
    Tier {
        Sponsored = "sponsored",
        Standard = "standard",
        /// Fills what nobody else wants.
        House = "house",
    }
);
word_enum!(
    /// What a budget counts.
    BudgetKind {
        None = "none",
        Impressions = "impressions",
        Clicks = "clicks",
        /// Minor units of the shop's currency.
        Money = "money",
    }
);
word_enum!(
    /// What is paid for.
    PriceKind {
        Free = "free",
        /// Per thousand impressions.
        Cpm = "cpm",
        /// Per click.
        Cpc = "cpc",
    }
);
word_enum!(
    /// How a budget is spread.
    Pacing {
        /// Over its days, along the traffic that is expected.
        Even = "even",
        /// As soon as anybody looks.
        Fast = "fast",
    }
);
word_enum!(
    /// How a creative is chosen.
    Chooser {
        /// By what was clicked so far.
        Thompson = "thompson",
        /// By the variants' weights, whatever comes of it: for a clean comparison.
        Weights = "weights",
    }
);
word_enum!(
    ItemStatus {
        Active = "active",
        Paused = "paused",
        /// Gone from lists; its figures stay.
        Archived = "archived",
    }
);

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LineItem {
    #[schema(value_type = String, example = "lin_4")]
    pub id: LineItemId,
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    #[schema(value_type = String)]
    pub placement_id: PlacementId,
    pub name: String,
    pub tier: Tier,
    pub budget_kind: BudgetKind,
    /// Impressions, clicks or minor units; 0 without a budget.
    pub budget: i64,
    pub price_kind: PriceKind,
    /// Minor units.
    pub price_minor: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
    pub pacing: Pacing,
    /// Impressions per person and day; 0 leaves it to the campaign.
    pub cap_per_day: i64,
    pub choice: Chooser,
    pub targeting: Targeting,
    pub exchange: Declared,
    pub status: ItemStatus,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl LineItem {
    /// Cost of one impression, in millionths of a minor unit.
    pub fn impression_micro(&self) -> i64 {
        if self.price_kind == PriceKind::Cpm { self.price_minor.saturating_mul(1_000) } else { 0 }
    }
    /// Cost of one click, in millionths of a minor unit.
    pub fn click_micro(&self) -> i64 {
        if self.price_kind == PriceKind::Cpc { self.price_minor.saturating_mul(1_000_000) } else { 0 }
    }
}

fn standard() -> Tier {
    Tier::Standard
}
fn no_budget() -> BudgetKind {
    BudgetKind::None
}
fn free() -> PriceKind {
    PriceKind::Free
}
fn even() -> Pacing {
    Pacing::Even
}
fn thompson() -> Chooser {
    Chooser::Thompson
}

/// A line item to be made, or what it becomes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLineItem {
    #[schema(value_type = String, example = "cmp_3")]
    pub campaign: CampaignId,
    /// Key of the placement.
    #[schema(example = "home-top")]
    pub placement: String,
    pub name: String,
    #[serde(default = "standard")]
    pub tier: Tier,
    #[serde(default = "no_budget")]
    pub budget_kind: BudgetKind,
    #[serde(default)]
    pub budget: i64,
    #[serde(default = "free")]
    pub price_kind: PriceKind,
    #[serde(default)]
    pub price_minor: i64,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
    #[serde(default = "even")]
    pub pacing: Pacing,
    #[serde(default)]
    pub cap_per_day: i64,
    #[serde(default = "thompson")]
    pub choice: Chooser,
    #[serde(default)]
    pub targeting: Targeting,
    /// What exchanges are told, and a deal.
    #[serde(default)]
    pub exchange: Declared,
}

#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    #[error("{detail}")]
    Invalid { field: &'static str, detail: Fault },
    #[error("there is no such line item")]
    NotFound,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<TargetingError> for ItemError {
    fn from(e: TargetingError) -> Self {
        Self::Invalid { field: e.0, detail: e.1 }
    }
}
impl From<ItemError> for ApiError {
    fn from(e: ItemError) -> Self {
        match e {
            ItemError::Invalid { field, detail } => Self::invalid(field, detail),
            ItemError::NotFound => Self::not_found("line item"),
            ItemError::Database(e) => e.into(),
        }
    }
}

/// Ten to the twelfth: more than any shop spends, far from overflow when multiplied by a million.
const MOST: i64 = 1_000_000_000_000;

fn wrong<T>(field: &'static str, detail: impl Into<Fault>) -> Result<T, ItemError> {
    Err(ItemError::Invalid { field, detail: detail.into() })
}

impl NewLineItem {
    /// Trims, and refuses what contradicts itself.
    pub fn checked(mut self) -> Result<Self, ItemError> {
        self.name = self.name.trim().to_owned();
        if self.name.is_empty() || self.name.chars().count() > 200 {
            return wrong("name", fault!("item.name", "A line item's name has 1 to 200 characters."));
        }
        let budgeted = self.budget_kind != BudgetKind::None;
        if budgeted && !(1..=MOST).contains(&self.budget) {
            return wrong("budget", fault!("item.budget", "A budget is a whole number above 0."));
        }
        if !budgeted {
            self.budget = 0;
        }
        let priced = self.price_kind != PriceKind::Free;
        if priced && !(1..=MOST / 1_000_000).contains(&self.price_minor) {
            return wrong("price_minor", fault!("item.price", "A price is a whole number of minor units, from 1 to 1,000,000."));
        }
        if !priced {
            self.price_minor = 0;
        }
        if self.budget_kind == BudgetKind::Money && !priced {
            return wrong(
                "price_kind",
                fault!("item.budget_price", "A budget in money needs a price: per thousand impressions or per click."),
            );
        }
        if budgeted && self.pacing == Pacing::Even && self.ends_at.is_none() {
            return wrong("ends_at", fault!("item.pace", "An even pace needs an end: until when is the budget to last?"));
        }
        if let (Some(start), Some(end)) = (self.starts_at, self.ends_at)
            && end <= start
        {
            return wrong("ends_at", fault!("item.ends", "It ends before it starts."));
        }
        if !(0..=10_000).contains(&self.cap_per_day) {
            return wrong("cap_per_day", fault!("item.cap", "A cap is between 0 (the campaign's) and 10,000."));
        }
        self.targeting = self.targeting.checked()?;
        self.exchange = self.exchange.checked().map_err(|(field, detail)| ItemError::Invalid { field, detail })?;
        if !self.exchange.deal.is_empty() && self.price_kind != PriceKind::Cpm {
            return wrong("deal", fault!("item.deal_price", "A deal is paid per thousand impressions: choose this price."));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused_by_field() {
        let ok = serde_json::json!({ "campaign": "cmp_1", "placement": "home", "name": " Spring " });
        let with = |changes: serde_json::Value| {
            let mut all = ok.clone();
            all.as_object_mut().expect("object").extend(changes.as_object().expect("object").clone());
            serde_json::from_value::<NewLineItem>(all).expect("parses").checked()
        };
        assert_eq!(with(serde_json::json!({})).expect("fine").name, "Spring");
        for (changes, field) in [
            (serde_json::json!({ "name": " " }), "name"),
            (serde_json::json!({ "budget_kind": "impressions" }), "budget"),
            (serde_json::json!({ "budget_kind": "money", "budget": 100 }), "price_kind"),
            (serde_json::json!({ "price_kind": "cpm" }), "price_minor"),
            (serde_json::json!({ "budget_kind": "clicks", "budget": 5 }), "ends_at"),
            (serde_json::json!({ "starts_at": "2026-02-01", "ends_at": "2026-01-01" }), "ends_at"),
            (serde_json::json!({ "cap_per_day": -1 }), "cap_per_day"),
            (serde_json::json!({ "targeting": { "hours": [77] } }), "hours"),
            (serde_json::json!({ "exchange": { "categories": ["IAB99"] } }), "categories"),
            (serde_json::json!({ "exchange": { "deal": "d1" } }), "deal"),
        ] {
            match with(changes.clone()) {
                Err(ItemError::Invalid { field: f, .. }) => assert_eq!(f, field),
                other => panic!("{changes}: {other:?}"),
            }
        }
    }
}
