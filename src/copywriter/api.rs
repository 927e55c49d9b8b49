//! Copy over HTTP, for keys with the scope `manage`: look at it, approve, edit, reject.

use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;
use utoipa::OpenApi;

use super::model::{Copy, CopyStatus, Finding, StoredCopy};
use super::{service, store};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Page, Problem};
use crate::platform::ids::{CampaignId, CopyId, IdError};

const MAX_BODY: usize = 32 * 1024;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/v1/copies").route(web::get().to(list_copies)))
        .service(
            web::resource("/v1/copies/{id}")
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .route(web::get().to(get_copy))
                .route(web::put().to(edit_copy)),
        )
        .service(web::resource("/v1/copies/{id}/approve").route(web::post().to(approve_copy)))
        .service(web::resource("/v1/copies/{id}/reject").route(web::post().to(reject_copy)));
}

#[derive(OpenApi)]
#[openapi(paths(list_copies, get_copy, edit_copy, approve_copy, reject_copy), components(schemas(StoredCopy, Copy, Finding, Problem)))]
struct Api;

/// The part of the API description that this slice answers for.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CopyQuery {
    /// Only copy of this campaign (`cmp_…`).
    campaign: Option<String>,
    /// `written`, `approved`, `edited`, `rejected` or `dropped`.
    status: Option<String>,
    /// Rows to return, 1 to 500 (default 50).
    limit: Option<i64>,
    /// The `next` of the page before.
    after: Option<String>,
}

fn id<T: std::str::FromStr<Err = IdError>>(field: &str, text: &str) -> ApiResult<T> {
    text.parse().map_err(|e: IdError| ApiError::invalid(field, e.to_string()))
}

/// Copy by age, oldest first.
#[utoipa::path(get, path = "/v1/copies", tag = "Words", params(CopyQuery), security(("key" = ["manage"])),
    responses((status = 200, description = "One page", body = Page<StoredCopy>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_copies(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    query: web::Query<CopyQuery>,
) -> ApiResult<web::Json<Page<StoredCopy>>> {
    let limit = crate::platform::http::PageQuery { limit: query.limit, after: None }.limit()?;
    let after = query.after.as_deref().map_or(Ok(CopyId(0)), |t| id("after", t))?;
    let campaign = query.campaign.as_deref().map(|t| id::<CampaignId>("campaign", t)).transpose()?;
    let status =
        query.status.as_deref().map(str::parse::<CopyStatus>).transpose().map_err(|e| ApiError::invalid("status", e.to_string()))?;
    let mut items = store::page(&platform.db, after, campaign, status, limit + 1).await?;
    let more = i64::try_from(items.len()).unwrap_or(i64::MAX) > limit;
    items.truncate(usize::try_from(limit).unwrap_or(0));
    let next = if more { items.last().map(|c| c.id.to_string()) } else { None };
    Ok(web::Json(Page { items, next }))
}

/// One copy with its findings.
#[utoipa::path(get, path = "/v1/copies/{id}", tag = "Words", params(("id" = String, Path,)), security(("key" = ["manage"])),
    responses((status = 200, body = StoredCopy), (status = 404, body = Problem)))]
async fn get_copy(_: Guarded<scope::Manage>, platform: web::Data<Platform>, path: web::Path<String>) -> ApiResult<web::Json<StoredCopy>> {
    Ok(web::Json(service::get(&platform, id("id", &path)?).await?))
}

/// Replaces the text. It passes the same guardrails as generated text: 422 says what is not among the facts.
#[utoipa::path(put, path = "/v1/copies/{id}", tag = "Words", params(("id" = String, Path,)), request_body = Copy, security(("key" = ["manage"])),
    responses((status = 200, body = StoredCopy), (status = 400, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn edit_copy(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: web::Bytes,
) -> ApiResult<web::Json<StoredCopy>> {
    let text: Copy = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request("bad_json", e.to_string()))?;
    Ok(web::Json(service::edit(&platform, id("id", &path)?, &text).await?))
}

/// Approves the text as it stands; it is kept when the product's facts change, unless it becomes untrue.
#[utoipa::path(post, path = "/v1/copies/{id}/approve", tag = "Words", params(("id" = String, Path,)), security(("key" = ["manage"])),
    responses((status = 200, body = StoredCopy), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn approve_copy(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> ApiResult<web::Json<StoredCopy>> {
    Ok(web::Json(service::approve(&platform, id("id", &path)?).await?))
}

/// Rejects the text: it is neither used nor written again.
#[utoipa::path(post, path = "/v1/copies/{id}/reject", tag = "Words", params(("id" = String, Path,)), security(("key" = ["manage"])),
    responses((status = 200, body = StoredCopy), (status = 404, body = Problem)))]
async fn reject_copy(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> ApiResult<web::Json<StoredCopy>> {
    Ok(web::Json(service::reject(&platform, id("id", &path)?).await?))
}
