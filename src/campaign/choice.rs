//! Which products a campaign shows each person: the recommender's choice, within the campaign's filter.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::CampaignError;
use super::plan::Choice;
use crate::catalog::{self, Product};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::{Platform, Timestamp};
use crate::recommend::{ChoiceRules, Chooser, Pick};

impl Choice {
    /// Whether the filter says more than the recommender's own rules can.
    fn lists(&self) -> bool {
        !self.brands.is_empty() || self.on_sale || self.min_price_minor.is_some() || self.max_price_minor.is_some()
    }

    /// Whether a product lies within the filter.
    pub fn admits(&self, product: &Product) -> bool {
        let listed = |list: &[String], value: Option<&str>| list.is_empty() || value.is_some_and(|v| list.iter().any(|l| l == v));
        let price = product.price_now().minor;
        (self.categories.is_empty() || product.categories().iter().any(|path| self.categories.iter().any(|c| c == path)))
            && listed(&self.brands, product.brand.as_deref())
            && listed(&self.skus, Some(&product.sku))
            && (!self.on_sale || product.sale_price.is_some())
            && self.min_price_minor.is_none_or(|low| price >= low)
            && self.max_price_minor.is_none_or(|high| price <= high)
    }
}

/// A campaign's choice, ready to be asked; loaded once per run or batch.
pub struct Shelf {
    chooser: Arc<Chooser>,
    /// `None`: the filter admits no product at all.
    rules: Option<ChoiceRules>,
}

impl Shelf {
    pub async fn load(platform: &Platform, choice: &Choice, as_of: Timestamp) -> Result<Self, CampaignError> {
        let mut rules = ChoiceRules {
            count: choice.products,
            categories: choice.categories.clone(),
            skus: choice.skus.clone(),
            not_bought_days: choice.exclude_bought_days,
            not_shown_days: choice.exclude_shown_days,
            ..ChoiceRules::default()
        };
        let mut empty = false;
        if choice.lists() {
            rules.skus = catalog::all(&platform.db).await?.into_iter().filter(|p| choice.admits(p)).map(|p| p.sku).collect();
            empty = rules.skus.is_empty();
        }
        Ok(Self { chooser: Chooser::load(platform, as_of).await?, rules: (!empty).then_some(rules) })
    }

    /// The products for each person, best first, at most `choice.products`; nobody for whom there is none.
    pub async fn choose(
        &self,
        platform: &Platform,
        people: &[PersonId],
        now: Timestamp,
    ) -> Result<HashMap<PersonId, Vec<ProductId>>, CampaignError> {
        let Some(rules) = self.rules.as_ref().filter(|_| !people.is_empty()) else { return Ok(HashMap::new()) };
        let picks = self.chooser.choose(platform, rules, people, now).await?;
        Ok(picks
            .into_iter()
            .map(|(person, list)| (person, list.into_iter().map(|p| p.product_id).collect::<Vec<_>>()))
            .filter(|(_, list)| !list.is_empty())
            .collect())
    }
}

/// What a plan's choice would show one person now, best first, each with why; empty where nothing may be shown.
pub async fn explain(platform: &Platform, choice: &Choice, person: PersonId, now: Timestamp) -> Result<Vec<Pick>, CampaignError> {
    let shelf = Shelf::load(platform, choice, now).await?;
    let Some(rules) = &shelf.rules else { return Ok(Vec::new()) };
    Ok(shelf.chooser.choose(platform, rules, &[person], now).await?.remove(&person).unwrap_or_default())
}
