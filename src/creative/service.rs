//! Banners as they are stored: drawn once for the same inputs, kept as assets.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::banner::{self, Banner, BannerError, Format, ProductPicture};
use super::brand::BrandKit;
use crate::catalog::{self, CatalogError, Product};
use crate::copywriter::{self, Finding, FindingKind, Locale, Severity, StoredCopy};
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::ids::{CampaignId, CopyId, CreativeId, ProductId, VariantId};
use crate::platform::{Db, Platform, Tx};
use crate::{on, read};

#[derive(Debug, thiserror::Error)]
pub enum CreativeError {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The copy was dropped or rejected.
    #[error("this copy may not be shown")]
    Unusable,
    #[error(transparent)]
    Banner(#[from] BannerError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("drawing was interrupted")]
    Interrupted,
}

impl From<CreativeError> for ApiError {
    fn from(e: CreativeError) -> Self {
        match e {
            CreativeError::NotFound(what) => ApiError::not_found(what),
            CreativeError::Unusable => ApiError::conflict("copy_unusable", e.to_string()),
            CreativeError::Banner(BannerError::Glyphs(_)) => ApiError::conflict("no_font", e.to_string()),
            CreativeError::Database(e) => e.into(),
            other => ApiError::internal(other),
        }
    }
}

/// What a banner is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BannerRequest {
    pub campaign_id: CampaignId,
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub copy_id: CopyId,
    pub locale: Locale,
    pub format: Format,
}

/// A stored banner; its picture is at `/assets/{asset_hash}`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Creative {
    #[schema(value_type = String)]
    pub id: CreativeId,
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    #[schema(value_type = String)]
    pub variant_id: VariantId,
    #[schema(value_type = String)]
    pub product_id: ProductId,
    #[schema(value_type = String)]
    pub copy_id: CopyId,
    pub locale: String,
    /// `300x250`.
    pub format: String,
    pub width: i64,
    pub height: i64,
    pub asset_hash: String,
    pub findings: Vec<Finding>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: CreativeId,
    campaign_id: CampaignId,
    variant_id: VariantId,
    product_id: ProductId,
    copy_id: CopyId,
    locale: String,
    format: String,
    width: i64,
    height: i64,
    asset_hash: String,
    findings: Json<Vec<Finding>>,
}

impl From<Row> for Creative {
    fn from(r: Row) -> Self {
        Self {
            id: r.id,
            campaign_id: r.campaign_id,
            variant_id: r.variant_id,
            product_id: r.product_id,
            copy_id: r.copy_id,
            locale: r.locale,
            format: r.format,
            width: r.width,
            height: r.height,
            asset_hash: r.asset_hash,
            findings: r.findings.0,
        }
    }
}

/// What a stored banner was drawn from.
#[derive(sqlx::FromRow)]
struct Known {
    variant_id: VariantId,
    product_id: ProductId,
    locale: String,
    format: String,
    copy_id: CopyId,
    inputs_hash: String,
}

const KNOWN: &str = "SELECT variant_id, product_id, locale, format, copy_id, inputs_hash FROM creative WHERE campaign_id = $1";
const FIND: &str = "SELECT id, campaign_id, variant_id, product_id, copy_id, locale, format, width, height, asset_hash, findings
     FROM creative WHERE campaign_id = $1 AND variant_id = $2 AND product_id = $3 AND locale = $4 AND format = $5";
const PAGE: &str = "SELECT id, campaign_id, variant_id, product_id, copy_id, locale, format, width, height, asset_hash, findings
     FROM creative WHERE id > $1 AND ($2 < 0 OR campaign_id = $2) ORDER BY id LIMIT $3";
const PUT: &str =
    "INSERT INTO creative (campaign_id, variant_id, product_id, copy_id, locale, format, width, height, asset_hash, inputs_hash,
     findings, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
     ON CONFLICT (campaign_id, variant_id, product_id, locale, format) DO UPDATE SET copy_id = excluded.copy_id, width = excluded.width,
     height = excluded.height, asset_hash = excluded.asset_hash, inputs_hash = excluded.inputs_hash, findings = excluded.findings,
     updated_at = excluded.updated_at";

async fn find(db: &Db, request: &BannerRequest) -> sqlx::Result<Option<Creative>> {
    let row = read!(*db, |c| sqlx::query_as::<_, Row>(FIND)
        .bind(request.campaign_id)
        .bind(request.variant_id)
        .bind(request.product_id)
        .bind(request.locale.as_str())
        .bind(request.format.to_string())
        .fetch_optional(c)
        .await)?;
    Ok(row.map(Creative::from))
}

/// The next creatives after an id; of all campaigns where none is given.
pub async fn page(db: &Db, after: CreativeId, campaign: Option<CampaignId>, limit: i64) -> sqlx::Result<Vec<Creative>> {
    let campaign = campaign.map_or(-1, |c| c.0);
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(PAGE).bind(after).bind(campaign).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Creative::from).collect())
}

/// Everything a banner shows, owned, so that it can be drawn on another thread.
#[derive(Clone, Serialize)]
pub(super) struct Inputs {
    version: u32,
    headline: String,
    body: String,
    cta: String,
    price: String,
    was: Option<String>,
    ad_mark: &'static str,
    image_hash: Option<String>,
    format: Format,
    brand: BrandKit,
    cjk: bool,
}

impl Inputs {
    pub(super) fn of(copy: &StoredCopy, product: &Product, brand: BrandKit, request: &BannerRequest) -> Self {
        let text = copy.copy.fill(None, product.price_now(), request.locale);
        Self {
            version: banner::VERSION,
            headline: text.headline,
            body: text.body,
            cta: text.cta,
            price: product.price_now().to_string(),
            was: product.sale_price.filter(|s| s.minor < product.price.minor).map(|_| product.price.to_string()),
            ad_mark: if request.locale == Locale::Zh { "广告" } else { "Ad" },
            image_hash: product.image_hash.clone(),
            format: request.format,
            brand,
            cjk: request.locale == Locale::Zh && super::fonts::has_cjk(),
        }
    }
    fn hash(&self) -> String {
        hex::encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
    pub(super) fn draw(&self, picture: Option<&[u8]>) -> Result<banner::Drawn, BannerError> {
        let mut noted = None;
        let picture = picture.and_then(|bytes| match ProductPicture::decode(bytes) {
            Ok(picture) => Some(picture),
            Err(error) => {
                noted = Some(Finding {
                    kind: FindingKind::Format,
                    severity: Severity::Warning,
                    field: "picture".into(),
                    text: String::new(),
                    message: format!("Drawn without the product's picture: {error}."),
                });
                None
            }
        });
        let mut drawn = banner::draw(
            &Banner {
                headline: &self.headline,
                body: &self.body,
                cta: &self.cta,
                price: &self.price,
                was: self.was.as_deref(),
                shop: &self.brand.name,
                ad_mark: self.ad_mark,
                picture: picture.as_ref(),
            },
            &self.brand,
            self.format,
        )?;
        drawn.findings.extend(noted);
        Ok(drawn)
    }
}

/// What became of banners that were asked for.
#[derive(Debug, Default)]
pub struct Banners {
    /// Shown as they were.
    pub kept: usize,
    pub drawn: usize,
    pub failed: Vec<(BannerRequest, CreativeError)>,
}

/// Banners drawn, and stored in one transaction, at a time: each has some tens of kilobytes.
const DRAWN_AT_ONCE: usize = 32;

/// The banner for a product and a copy: from the store where nothing it shows has changed, else drawn and stored now.
pub async fn ensure_banner(platform: &Platform, request: BannerRequest) -> Result<Creative, CreativeError> {
    let banners = ensure_banners(platform, &[request]).await?;
    if let Some((_, error)) = banners.failed.into_iter().next() {
        return Err(error);
    }
    find(&platform.db, &request).await?.ok_or(CreativeError::NotFound("creative"))
}

/// Many banners, as [`ensure_banner`]: what there is already is found in a few statements, and what is missing is drawn on all cores.
pub async fn ensure_banners(platform: &Platform, requests: &[BannerRequest]) -> Result<Banners, CreativeError> {
    let db = &platform.db;
    let brand = BrandKit::load(platform).await?;
    let copies = copywriter::get_many(db, &distinct(requests.iter().map(|r| r.copy_id))).await?;
    let products = catalog::get_many(db, &distinct(requests.iter().map(|r| r.product_id))).await?;
    let mut stored = HashMap::new();
    for campaign in distinct(requests.iter().map(|r| r.campaign_id)) {
        let rows: Vec<Known> = read!(*db, |c| sqlx::query_as(KNOWN).bind(campaign).fetch_all(c).await)?;
        stored.extend(rows.into_iter().map(|k| ((campaign, k.variant_id, k.product_id, k.locale, k.format), (k.copy_id, k.inputs_hash))));
    }
    let (mut banners, mut missing) = (Banners::default(), Vec::new());
    for request in requests {
        let inputs = match (copies.get(&request.copy_id), products.get(&request.product_id)) {
            (None, _) => Err(CreativeError::NotFound("copy")),
            (Some(copy), _) if !copy.status.usable() => Err(CreativeError::Unusable),
            (_, None) => Err(CreativeError::NotFound("product")),
            (Some(copy), Some(product)) => Ok(Inputs::of(copy, product, brand.clone(), request)),
        };
        let key =
            (request.campaign_id, request.variant_id, request.product_id, request.locale.as_str().to_owned(), request.format.to_string());
        match inputs.map(|i| (i.hash(), i)) {
            Err(error) => banners.failed.push((*request, error)),
            Ok((hash, _)) if stored.get(&key).is_some_and(|(copy, known)| (*copy, known) == (request.copy_id, &hash)) => banners.kept += 1,
            Ok((hash, inputs)) => missing.push((*request, hash, inputs)),
        }
    }
    for some in missing.chunks(DRAWN_AT_ONCE) {
        draw(platform, some, &mut banners).await?;
    }
    Ok(banners)
}

fn distinct<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.collect::<BTreeSet<T>>().into_iter().collect()
}

async fn draw(platform: &Platform, some: &[(BannerRequest, String, Inputs)], banners: &mut Banners) -> Result<(), CreativeError> {
    let mut work = Vec::with_capacity(some.len());
    for (_, _, inputs) in some {
        let picture = match &inputs.image_hash {
            Some(hash) => catalog::asset(&platform.db, hash).await?.map(|a| a.bytes),
            None => None,
        };
        work.push((inputs.clone(), picture));
    }
    let drawn = tokio::task::spawn_blocking(move || {
        use rayon::prelude::*;
        work.par_iter().map(|(inputs, picture)| inputs.draw(picture.as_deref())).collect::<Vec<_>>()
    })
    .await
    .map_err(|_| CreativeError::Interrupted)?;
    let mut tx = platform.db.begin().await?;
    for ((request, hash, _), drawn) in some.iter().zip(drawn) {
        match drawn {
            Ok(drawn) => {
                store(&mut tx, request, &drawn, hash, platform.now()).await?;
                banners.drawn += 1;
            }
            Err(error) => banners.failed.push((*request, error.into())),
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn store(
    tx: &mut Tx,
    request: &BannerRequest,
    drawn: &banner::Drawn,
    inputs_hash: &str,
    now: Timestamp,
) -> Result<(), CreativeError> {
    let asset = catalog::put_asset(tx, "image/png", &drawn.png, drawn.width, drawn.height, now).await?;
    on!(tx, |c| sqlx::query(PUT)
        .bind(request.campaign_id)
        .bind(request.variant_id)
        .bind(request.product_id)
        .bind(request.copy_id)
        .bind(request.locale.as_str())
        .bind(request.format.to_string())
        .bind(i64::from(drawn.width))
        .bind(i64::from(drawn.height))
        .bind(&asset)
        .bind(inputs_hash)
        .bind(Json(&drawn.findings))
        .bind(now)
        .execute(&mut *c)
        .await
        .map(|_| ()))?;
    Ok(())
}
