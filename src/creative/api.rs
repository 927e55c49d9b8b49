//! Creatives and the brand kit over HTTP, for keys with the scope `manage`.

use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;
use utoipa::OpenApi;

use super::brand::{self, BrandKit};
use super::service::{self, Creative};
use crate::account::{Guarded, scope};
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::{CampaignId, CreativeId, IdError};
use crate::platform::{Platform, setting};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(web::resource("/v1/banners").route(web::get().to(list_banners))).service(
        web::resource("/v1/brand")
            .app_data(web::PayloadConfig::new(16 * 1024))
            .route(web::get().to(get_brand))
            .route(web::put().to(put_brand)),
    );
}

#[derive(OpenApi)]
#[openapi(paths(list_banners, get_brand, put_brand), components(schemas(Creative, BrandKit, Problem)))]
struct Api;

/// The part of the API description that this slice answers for.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BannerQuery {
    /// Only banners of this campaign (`cmp_…`).
    campaign: Option<String>,
    /// Rows to return, 1 to 500 (default 50).
    limit: Option<i64>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Banners by age, oldest first; each picture is at `/assets/{asset_hash}`.
#[utoipa::path(get, path = "/v1/banners", tag = "Words", params(BannerQuery), security(("key" = ["manage"])),
    responses((status = 200, description = "One page", body = Page<Creative>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_banners(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    query: web::Query<BannerQuery>,
) -> ApiResult<web::Json<Page<Creative>>> {
    let wrong = |field: &'static str| move |e: IdError| ApiError::invalid(field, e.to_string());
    let limit = PageQuery { limit: query.limit, after: None }.limit()?;
    let after = query.after.as_deref().map_or(Ok(CreativeId(0)), |t| t.parse().map_err(wrong("after")))?;
    let campaign = query.campaign.as_deref().map(|t| t.parse::<CampaignId>().map_err(wrong("campaign"))).transpose()?;
    let mut items = service::page(&platform.db, after, campaign, limit + 1).await?;
    let more = i64::try_from(items.len()).unwrap_or(i64::MAX) > limit;
    items.truncate(usize::try_from(limit).unwrap_or(0));
    let next = if more { items.last().map(|c| c.id.to_string()) } else { None };
    Ok(web::Json(Page { items, next }))
}

/// The brand kit, completed with the shop's defaults.
#[utoipa::path(get, path = "/v1/brand", tag = "Words", security(("key" = ["manage"])), responses((status = 200, body = BrandKit)))]
async fn get_brand(_: Guarded<scope::Manage>, platform: web::Data<Platform>) -> ApiResult<web::Json<BrandKit>> {
    Ok(web::Json(BrandKit::load(&platform).await?))
}

/// Replaces the brand kit; what is not given falls back to its default.
#[utoipa::path(put, path = "/v1/brand", tag = "Words", request_body = BrandKit, security(("key" = ["manage"])),
    responses((status = 200, body = BrandKit), (status = 400, body = Problem), (status = 422, body = Problem)))]
async fn put_brand(_: Guarded<scope::Manage>, platform: web::Data<Platform>, body: web::Bytes) -> ApiResult<web::Json<BrandKit>> {
    let kit: BrandKit = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request("bad_json", e.to_string()))?;
    kit.check().map_err(|e| ApiError::invalid(e.field, e.why))?;
    let mut tx = platform.db.begin().await?;
    setting::put(&mut tx, brand::SETTING, &kit, platform.now()).await?;
    tx.commit().await?;
    Ok(web::Json(BrandKit::load(&platform).await?))
}
