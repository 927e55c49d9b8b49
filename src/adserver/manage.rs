//! HTTP of what serving is made of: placements and line items.

use actix_web::Responder;
use actix_web::web::{self, Data, Json, Path, Query, ServiceConfig};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::auction::Declared;
use super::line_items::{BudgetKind, Chooser, ItemStatus, LineItem, NewLineItem, Pacing, PriceKind, Tier};
use super::placements::{NewPlacement, Placement};
use super::service::AdServer;
use super::targeting::Targeting;
use super::{item_store, placements};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::LineItemId;

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/placements", web::get().to(list_placements))
        .route("/v1/placements", web::post().to(put_placement))
        .route("/v1/line-items", web::get().to(list_line_items))
        .route("/v1/line-items", web::post().to(create_line_item))
        .route("/v1/line-items/{id}", web::get().to(get_line_item))
        .route("/v1/line-items/{id}", web::put().to(update_line_item))
        .route("/v1/line-items/{id}/status", web::put().to(set_line_item_status));
}

#[derive(OpenApi)]
#[openapi(
    paths(list_placements, put_placement, list_line_items, create_line_item, get_line_item, update_line_item, set_line_item_status),
    components(schemas(
        Placement,
        NewPlacement,
        LineItem,
        NewLineItem,
        Targeting,
        Declared,
        Tier,
        BudgetKind,
        PriceKind,
        Pacing,
        Chooser,
        ItemStatus,
        NewStatus
    ))
)]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

/// All placements.
#[utoipa::path(get, path = "/v1/placements", tag = "serving", security(("bearer" = [])), responses((status = 200, body = [Placement])))]
pub async fn list_placements(_: Guarded<scope::Manage>, platform: Data<Platform>) -> ApiResult<impl Responder> {
    Ok(Json(placements::list(&platform.db).await?))
}

/// Make a placement, or change the one with this key.
#[utoipa::path(post, path = "/v1/placements", tag = "serving", request_body = NewPlacement, security(("bearer" = [])),
    responses((status = 200, body = Placement), (status = 422, body = Problem)))]
pub async fn put_placement(
    _: Guarded<scope::Manage>,
    platform: Data<Platform>,
    server: Data<AdServer>,
    body: Json<NewPlacement>,
) -> ApiResult<impl Responder> {
    let placement = placements::put(&platform, body.into_inner()).await?;
    renewed(&server).await?;
    Ok(Json(placement))
}

/// Whoever was told of a change may ask for it at once; other replicas follow within a second.
async fn renewed(server: &AdServer) -> ApiResult<()> {
    server.refresh(true).await.map_err(ApiError::internal)?;
    Ok(())
}

/// Line items in order of their ids, without archived ones.
#[utoipa::path(get, path = "/v1/line-items", tag = "serving", params(PageQuery), security(("bearer" = [])), responses((status = 200, body = Page<LineItem>)))]
pub async fn list_line_items(_: Guarded<scope::Manage>, platform: Data<Platform>, query: Query<PageQuery>) -> ApiResult<impl Responder> {
    let limit = query.limit()?;
    let after = match query.after.as_deref() {
        Some(text) => text.parse::<LineItemId>().map_err(|e| ApiError::invalid("after", e.to_string()))?,
        None => LineItemId(0),
    };
    let items = item_store::page(&platform.db, after, limit).await?;
    let next = (items.len() as i64 == limit).then(|| items.last().map(|i| i.id.to_string())).flatten();
    Ok(Json(Page { items, next }))
}

/// Put a campaign on a placement, with budget, price, dates, pacing, cap and targeting. A campaign with line items serves by them alone.
#[utoipa::path(post, path = "/v1/line-items", tag = "serving", request_body = NewLineItem, security(("bearer" = [])),
    responses((status = 200, body = LineItem), (status = 422, body = Problem)))]
pub async fn create_line_item(
    _: Guarded<scope::Manage>,
    platform: Data<Platform>,
    server: Data<AdServer>,
    body: Json<NewLineItem>,
) -> ApiResult<impl Responder> {
    let item = item_store::create(&platform, body.into_inner()).await?;
    renewed(&server).await?;
    Ok(Json(item))
}

fn id_in(path: &str) -> ApiResult<LineItemId> {
    path.parse().map_err(|_| ApiError::not_found("line item"))
}

/// One line item.
#[utoipa::path(get, path = "/v1/line-items/{id}", tag = "serving", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = LineItem), (status = 404, body = Problem)))]
pub async fn get_line_item(_: Guarded<scope::Manage>, platform: Data<Platform>, path: Path<String>) -> ApiResult<impl Responder> {
    Ok(Json(item_store::get(&platform.db, id_in(&path)?).await?))
}

/// Replace a line item; its figures and status stay.
#[utoipa::path(put, path = "/v1/line-items/{id}", tag = "serving", params(("id" = String, Path)), request_body = NewLineItem, security(("bearer" = [])),
    responses((status = 200, body = LineItem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn update_line_item(
    _: Guarded<scope::Manage>,
    platform: Data<Platform>,
    server: Data<AdServer>,
    path: Path<String>,
    body: Json<NewLineItem>,
) -> ApiResult<impl Responder> {
    let item = item_store::update(&platform, id_in(&path)?, body.into_inner()).await?;
    renewed(&server).await?;
    Ok(Json(item))
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStatus {
    pub status: ItemStatus,
}

/// Pause a line item, let it go on, or archive it.
#[utoipa::path(put, path = "/v1/line-items/{id}/status", tag = "serving", params(("id" = String, Path)), request_body = NewStatus, security(("bearer" = [])),
    responses((status = 200, body = LineItem), (status = 404, body = Problem)))]
pub async fn set_line_item_status(
    _: Guarded<scope::Manage>,
    platform: Data<Platform>,
    server: Data<AdServer>,
    path: Path<String>,
    body: Json<NewStatus>,
) -> ApiResult<impl Responder> {
    let item = item_store::set_status(&platform, id_in(&path)?, body.status).await?;
    renewed(&server).await?;
    Ok(Json(item))
}
