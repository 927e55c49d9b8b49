//! The catalogue over HTTP: products for keys with the scope `manage`, pictures for everybody.

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::asset::servable;
use super::model::{CatalogError, NewProduct, Product, is_asset_hash};
use super::store;
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::ProductId;

/// Most products in one request.
pub const MAX_PRODUCTS: usize = 500;
const MAX_BODY: usize = 4 * 1024 * 1024;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/v1/products")
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .route(web::get().to(list_products))
                .route(web::post().to(upsert_products)),
        )
        .service(web::resource("/v1/products/{sku}").route(web::get().to(get_product)))
        .service(web::resource("/v1/products/{sku}/retire").route(web::post().to(retire_product)))
        .service(web::resource("/v1/products/{sku}/restore").route(web::post().to(restore_product)))
        .service(web::resource("/assets/{hash}").route(web::get().to(get_asset)).route(web::head().to(get_asset)));
}

#[derive(OpenApi)]
#[openapi(
    paths(list_products, upsert_products, get_product, retire_product, restore_product, get_asset),
    components(schemas(Product, NewProduct, UpsertProducts, Upserted, Problem))
)]
struct Api;

/// The part of the API description that this slice answers for.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// Products to insert or replace, by sku.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpsertProducts {
    /// 1 to 500 products.
    pub products: Vec<NewProduct>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Upserted {
    pub inserted: usize,
    pub updated: usize,
    /// As they were; not touched.
    pub unchanged: usize,
}

/// Products by age, oldest first.
#[utoipa::path(get, path = "/v1/products", tag = "catalog", params(PageQuery), security(("bearer" = []), ("basic" = [])),
    responses((status = 200, description = "One page", body = Page<Product>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_products(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    query: web::Query<PageQuery>,
) -> ApiResult<web::Json<Page<Product>>> {
    let limit = query.limit()?;
    let after = match query.after.as_deref() {
        None => ProductId(0),
        Some(text) => text.parse().map_err(|e: crate::platform::ids::IdError| ApiError::invalid("after", e.to_string()))?,
    };
    let mut items = store::page(&platform.db, after, limit + 1).await?;
    let more = items.len() as i64 > limit;
    items.truncate(usize::try_from(limit).unwrap_or(0));
    let next = if more { items.last().map(|p| p.id.to_string()) } else { None };
    Ok(web::Json(Page { items, next }))
}

/// Inserts or replaces up to 500 products by sku. All or none: the first that breaks a rule is named and nothing is written.
#[utoipa::path(post, path = "/v1/products", tag = "catalog", request_body = UpsertProducts, security(("bearer" = []), ("basic" = [])),
    responses((status = 200, description = "Written", body = Upserted), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem)))]
async fn upsert_products(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    body: Result<web::Bytes, actix_web::Error>,
) -> ApiResult<web::Json<Upserted>> {
    let body = body.map_err(|e| match e.as_response_error().status_code() {
        actix_web::http::StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("The body holds more than {MAX_BODY} bytes.")),
        _ => ApiError::bad_request("bad_body", "The body could not be read to its end."),
    })?;
    let request: UpsertProducts = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request("bad_json", e.to_string()))?;
    if request.products.is_empty() {
        return Err(ApiError::invalid("products", "There is no product in it."));
    }
    if request.products.len() > MAX_PRODUCTS {
        return Err(CatalogError::TooMany(request.products.len(), MAX_PRODUCTS).into());
    }
    let mut tx = platform.db.begin().await?;
    let done = store::bulk_upsert(&mut tx, &request.products, platform.now()).await?;
    tx.commit().await?;
    Ok(web::Json(Upserted { inserted: done.inserted, updated: done.updated, unchanged: done.unchanged }))
}

/// One product.
#[utoipa::path(get, path = "/v1/products/{sku}", tag = "catalog", params(("sku" = String, Path,)), security(("bearer" = []), ("basic" = [])),
    responses((status = 200, body = Product), (status = 404, body = Problem)))]
async fn get_product(_: Guarded<scope::Manage>, platform: web::Data<Platform>, sku: web::Path<String>) -> ApiResult<web::Json<Product>> {
    find(&platform, &sku).await.map(web::Json)
}

/// Takes a product out of every choice; what points at it stays.
#[utoipa::path(post, path = "/v1/products/{sku}/retire", tag = "catalog", params(("sku" = String, Path,)), security(("bearer" = []), ("basic" = [])),
    responses((status = 200, body = Product), (status = 404, body = Problem)))]
async fn retire_product(_: Guarded<scope::Manage>, platform: web::Data<Platform>, sku: web::Path<String>) -> ApiResult<web::Json<Product>> {
    let id = find(&platform, &sku).await?.id;
    let mut tx = platform.db.begin().await?;
    store::retire(&mut tx, id, platform.now()).await?;
    tx.commit().await?;
    find(&platform, &sku).await.map(web::Json)
}

/// Offers a retired product again.
#[utoipa::path(post, path = "/v1/products/{sku}/restore", tag = "catalog", params(("sku" = String, Path,)), security(("bearer" = []), ("basic" = [])),
    responses((status = 200, body = Product), (status = 404, body = Problem)))]
async fn restore_product(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    sku: web::Path<String>,
) -> ApiResult<web::Json<Product>> {
    let id = find(&platform, &sku).await?.id;
    let mut tx = platform.db.begin().await?;
    store::restore(&mut tx, id, platform.now()).await?;
    tx.commit().await?;
    find(&platform, &sku).await.map(web::Json)
}

async fn find(platform: &Platform, sku: &str) -> ApiResult<Product> {
    // Postgres refuses NUL in any text, so such a sku cannot exist.
    if sku.contains('\0') {
        return Err(ApiError::not_found("product"));
    }
    store::get_by_sku(&platform.db, sku).await?.ok_or_else(|| ApiError::not_found("product"))
}

/// A picture by its SHA-256, with or without a file ending. It never changes, so it may be cached for ever.
#[utoipa::path(get, path = "/assets/{hash}", tag = "catalog", params(("hash" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, description = "The picture"), (status = 304, description = "You have it"), (status = 404, body = Problem)))]
async fn get_asset(request: HttpRequest, platform: web::Data<Platform>, hash: web::Path<String>) -> ApiResult<HttpResponse> {
    let hash = hash.split_once('.').map_or(hash.as_str(), |(hash, _)| hash);
    if !is_asset_hash(hash) {
        return Err(ApiError::not_found("picture"));
    }
    let etag = format!("\"{hash}\"");
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(&etag));
    let asset = store::asset(&platform.db, hash).await?.filter(|a| servable(&a.mime)).ok_or_else(|| ApiError::not_found("picture"))?;
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        // Shown inside mails and other people's pages.
        .insert_header(("cross-origin-resource-policy", "cross-origin"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if known {
        return Ok(answer.finish());
    }
    Ok(answer.content_type(asset.mime).body(asset.bytes))
}
