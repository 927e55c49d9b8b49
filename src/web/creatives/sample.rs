//! Something to show a brand or a template with: a product of the shop where there is one, with words that the phrase grammar writes for it.

use crate::catalog::{self, NewProduct, Product};
use crate::copywriter::{self, Copy, CopyChannel, CopyRequest, CopyStatus, Locale, Occasion, StoredCopy, Tone, grammar};
use crate::platform::http::ApiResult;
use crate::platform::ids::{CampaignId, CopyId, ProductId, VariantId};
use crate::platform::{Money, Platform, Timestamp};
use crate::recommend;

/// Products looked at for one with a picture.
const LOOKED_AT: i64 = 50;
/// Up to four products fit into a mail.
const PRODUCTS: usize = 4;

pub(super) struct Sample {
    pub products: Vec<Product>,
    pub locale: Locale,
    pub mail: Copy,
    pub banner: StoredCopy,
}

/// A product that no shop sells, for shops that sell nothing yet.
fn imagined(platform: &Platform) -> Product {
    let currency = platform.config.shop.currency;
    let new = NewProduct::new("SAMPLE", "Stoneware mug", Money::new(2490, currency));
    Product {
        id: ProductId(0),
        content_hash: new.content_hash(),
        sku: new.sku,
        title: new.title,
        description: "Holds 350 ml. Made of stoneware, glazed by hand.".into(),
        brand: None,
        category_path: "Home > Kitchen".into(),
        price: new.price,
        sale_price: Some(Money::new(1990, currency)),
        stock: None,
        available: true,
        url: None,
        image_url: None,
        image_hash: None,
        attributes: new.attributes,
        created_at: Timestamp::MIN,
        updated_at: Timestamp::MIN,
        retired_at: None,
    }
}

pub(super) async fn load(platform: &Platform) -> ApiResult<Sample> {
    let db = &platform.db;
    let popular: Vec<ProductId> = recommend::popular(db, 12).await?.into_iter().map(|p| p.product_id).collect();
    let mut products: Vec<Product> = if popular.is_empty() {
        catalog::page(db, ProductId(0), LOOKED_AT).await?
    } else {
        let mut found = catalog::get_many(db, &popular).await?;
        popular.iter().filter_map(|id| found.remove(id)).collect()
    };
    products.retain(Product::sellable);
    products.sort_by_key(|p| p.image_hash.is_none());
    products.truncate(PRODUCTS);
    let locale = Locale::pick(None, &platform.config.shop.locale);
    // Of a product that no words can be written for, nothing can be shown.
    let written = products.iter().position(|p| words(platform, p, locale).is_some()).unwrap_or(0);
    if written > 0 {
        products.swap(0, written);
    }
    let (mail, banner) = match products.first().and_then(|p| words(platform, p, locale)) {
        Some(pair) => pair,
        None => {
            products = vec![imagined(platform)];
            words(platform, &products[0], Locale::En).unwrap_or_default()
        }
    };
    let locale = if products[0].id == ProductId(0) { Locale::En } else { locale };
    let banner = stored(banner, &products[0], locale, platform.now());
    Ok(Sample { products, locale, mail, banner })
}

fn request(product: &Product, locale: Locale, channel: CopyChannel) -> CopyRequest {
    let occasion = if product.sale_price.is_some() { Occasion::PriceDrop } else { Occasion::Recommendation };
    CopyRequest {
        campaign_id: CampaignId(0),
        variant_id: VariantId(0),
        product_id: product.id,
        locale,
        channel,
        tone: Tone::Friendly,
        occasion,
    }
}

/// Words for a mail and for a banner.
fn words(platform: &Platform, product: &Product, locale: Locale) -> Option<(Copy, Copy)> {
    let write = |channel| {
        let request = request(product, locale, channel);
        let brief = copywriter::brief_for(product, &request, &platform.config.shop.name);
        grammar::write(&brief, request.seed()).ok()
    };
    Some((write(CopyChannel::Email)?, write(CopyChannel::Banner)?))
}

fn stored(copy: Copy, product: &Product, locale: Locale, now: Timestamp) -> StoredCopy {
    let request = request(product, locale, CopyChannel::Banner);
    StoredCopy {
        id: CopyId(0),
        campaign_id: request.campaign_id,
        variant_id: request.variant_id,
        product_id: product.id,
        locale,
        channel: CopyChannel::Banner,
        tone: request.tone,
        occasion: request.occasion,
        generator: String::new(),
        status: CopyStatus::Written,
        stale: false,
        copy,
        findings: Vec::new(),
        created_at: now,
        updated_at: now,
        facts_hash: String::new(),
    }
}
