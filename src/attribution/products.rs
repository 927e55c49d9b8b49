//! The job `attribution.products`: writes what products came to, and for how many people they are picked, beside the catalogue, so that its page
//! is ordered by it without adding anything up.

use serde_json::{Value, json};

use super::rollup::{self, Days, Reading};
use crate::catalog::{self, ProductFigures};
use crate::platform::Platform;
use crate::platform::ids::ProductId;
use crate::platform::queue::JobContext;
use crate::recommend;

/// Products in one transaction.
const PIECE: i64 = 1_000;

/// Counts all products. Returns how many rows changed.
///
/// # Errors
/// Those of the database; what was committed stays.
pub async fn count_products(platform: &Platform, mut stop: impl FnMut() -> bool) -> anyhow::Result<u64> {
    let db = &platform.db;
    let currency = platform.config.shop.currency;
    let picked = recommend::picked_everywhere(db).await?;
    let (mut after, mut changed) = (ProductId(0), 0);
    while !stop() {
        let ids = catalog::ids_after(db, after, PIECE).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        let came = rollup::by_product(db, &ids, Days::ALL).await?;
        let figures: Vec<ProductFigures> = ids
            .iter()
            .map(|id| {
                let f = came.get(id);
                ProductFigures {
                    product_id: *id,
                    picked: (!picked.is_empty()).then(|| picked.get(id).copied().unwrap_or(0)),
                    shown: f.map_or(0, |f| f.counts.sent),
                    clicked: f.map_or(0, |f| f.counts.clicked),
                    earned_minor: f.map_or(0, |f| f.revenue(currency.code(), Reading::default())),
                }
            })
            .collect();
        let mut tx = db.begin().await?;
        changed += catalog::put_figures(&mut tx, &figures).await?;
        tx.commit().await?;
    }
    Ok(changed)
}

pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let changed = count_products(&platform, || context.stop.is_cancelled()).await?;
    Ok(json!({ "changed": changed }))
}
