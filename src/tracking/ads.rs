//! The links of banners. Their token carries the whole impression, so that any replica can take a click before the touch is written.

use actix_web::http::header;
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;

use super::api::{actor, pixel, target};
use super::pages;
use super::service::Tracker;
use crate::adserver::Ticket;
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::touches::{self, SignalKind};

#[derive(OpenApi)]
#[openapi(paths(ad_click, ad_viewable))]
struct Doc;

pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/a/c/{token}").route(web::get().to(ad_click)).route(web::head().to(ad_click)))
        .service(web::resource("/a/v/{token}").route(web::get().to(ad_viewable)).route(web::post().to(ad_viewable)));
}

/// A click on a banner: leads on to the product. Counts once.
#[utoipa::path(get, path = "/a/c/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 302, description = "To the product's page in the shop"), (status = 404, description = "Not a link of ours")))]
async fn ad_click(req: HttpRequest, token: Path<String>, platform: Data<Platform>, tracker: Data<Tracker>) -> ApiResult {
    let Some(ticket) = Ticket::open(&platform.signer, &token) else { return pages::gone(&req, &platform) };
    tracker.ad(&ticket, SignalKind::Click, actor(&req)).await?;
    let touch = touches::get(&platform.db, ticket.touch).await?;
    let touch = touch.ok_or_else(|| ApiError::internal(anyhow::anyhow!("a touch written a moment ago is gone")))?;
    Ok(HttpResponse::Found()
        .insert_header((header::LOCATION, target(&platform, &touch, 0).await?))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .finish())
}

/// Half of a banner was in view for a second. Counts once.
#[utoipa::path(get, path = "/a/v/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 200, content_type = "image/gif", description = "A pixel"), (status = 404, description = "Not a link of ours")))]
async fn ad_viewable(req: HttpRequest, token: Path<String>, platform: Data<Platform>, tracker: Data<Tracker>) -> ApiResult {
    let Some(ticket) = Ticket::open(&platform.signer, &token) else { return pages::gone(&req, &platform) };
    tracker.ad(&ticket, SignalKind::Viewable, actor(&req)).await?;
    Ok(pixel())
}
