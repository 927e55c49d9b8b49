//! The choice now and why: what a campaign would show this person at this moment.

use actix_web::web::{Data, Path};
use serde::Serialize;
use serde_json::json;

use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::PersonId;
use crate::platform::money::Money;
use crate::recommend::{self, ChoiceRules};
use crate::web::page::Shell;
use crate::{catalog, people};

const PRODUCTS: usize = 6;

/// One product with its reason.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Chosen {
    title: String,
    sku: String,
    price: Money,
    why: String,
}

/// Chosen now: newest events folded in, stock and purchases checked.
pub(super) async fn choice(shell: &Shell, platform: &Platform, person: PersonId) -> ApiResult<Vec<Chosen>> {
    let rules = ChoiceRules { count: PRODUCTS, ..ChoiceRules::default() };
    let found = recommend::choose(platform, &rules, &[person], shell.reader().now).await.map_err(ApiError::internal)?;
    let picks = found.into_values().next().unwrap_or_default();
    let products = catalog::get_many(&platform.db, &picks.iter().map(|p| p.product_id).collect::<Vec<_>>()).await?;
    Ok(picks
        .into_iter()
        .filter_map(|pick| {
            let product = products.get(&pick.product_id)?;
            Some(Chosen {
                title: product.title.clone(),
                sku: product.sku.clone(),
                price: product.price_now(),
                why: why(shell, &pick.reason),
            })
        })
        .collect())
}

/// The recommender's reason, of this person.
fn why(shell: &Shell, reason: &str) -> String {
    let about = |key: &str, what: &str| shell.say_with(&format!("people.why.{key}"), &[("what", what.to_owned())]);
    if let Some(what) = reason.strip_prefix("Because you bought ") {
        about("bought", what)
    } else if let Some(what) = reason.strip_prefix("Because you looked at ") {
        about("viewed", what)
    } else if let Some(what) = reason.strip_prefix("Popular in ") {
        about("popular_in", what)
    } else if reason.starts_with("Bought before") {
        shell.say("people.why.again")
    } else if reason == "Popular now" {
        shell.say("people.why.popular")
    } else {
        reason.to_owned()
    }
}

pub(super) async fn part(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let chosen = choice(&shell, &platform, person.id).await?;
    // Who may not be written to by name is chosen for all the same: banners are.
    let silent = person.ads_consent == people::Consent::Unsubscribed && person.email_consent != people::Consent::Subscribed;
    shell.fragment("people/choice.html", &json!({ "chosen": chosen, "silent": silent }), true)
}
