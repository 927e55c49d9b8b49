//! Lists the banners of a campaign, for whoever serves them.

use crate::platform::Db;
use crate::platform::ids::{CampaignId, CreativeId, ProductId, VariantId};
use crate::read;

/// A banner that is drawn and ready.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ReadyBanner {
    pub id: CreativeId,
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub locale: String,
    pub width: i64,
    pub height: i64,
    pub asset_hash: String,
    /// Title of the product.
    pub title: String,
}

const READY: &str = "SELECT c.id, c.variant_id, c.product_id, c.locale, c.width, c.height, c.asset_hash, p.title
     FROM creative c JOIN product p ON p.id = c.product_id JOIN ad_copy a ON a.id = c.copy_id
     WHERE c.campaign_id = $1 AND a.status IN ('written', 'approved', 'edited') AND p.available AND p.retired_at IS NULL
       AND (p.stock IS NULL OR p.stock > 0)
     ORDER BY c.id";

/// The banners of a campaign whose copy may be shown and whose product can be bought.
pub async fn banners_of(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<ReadyBanner>> {
    read!(*db, |c| sqlx::query_as::<_, ReadyBanner>(READY).bind(campaign).fetch_all(c).await)
}
