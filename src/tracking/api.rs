//! The routes behind signed links. They need no login and set no cookie; whatever does not open gets one and the same page.
//!
//! A click tells the touch, and by it the person; the landing address gets UTM tags and nothing that names anybody. Orders are joined to
//! touches by person, through the events that the shop sends.

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;

use super::agents::classify_request;
use super::pages::{self, View};
use super::service::{Choice, Tracker};
use crate::campaign::{self, Campaign, CampaignError};
use crate::catalog;
use crate::creative::Utm;
use crate::people::{self, Consent, Person};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::touches::links::{self, Link, LinkKind};
use crate::touches::{self, Actor, SignalKind, Touch};

/// 1 × 1, transparent.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// A form with two check boxes.
const MAX_FORM_BYTES: usize = 4_096;

#[derive(OpenApi)]
#[openapi(paths(open, click, viewable, unsubscribe_page, unsubscribe, preferences_page, preferences))]
struct Doc;

/// The routes' part of the API reference.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

pub(super) fn routes(config: &mut ServiceConfig) {
    let form = || web::PayloadConfig::new(MAX_FORM_BYTES);
    config
        .service(web::resource("/o/{token}").route(web::get().to(open)).route(web::head().to(open)))
        .service(web::resource("/c/{token}").route(web::get().to(click)).route(web::head().to(click)))
        .service(web::resource("/v/{token}").route(web::get().to(viewable)).route(web::head().to(viewable)).route(web::post().to(viewable)))
        .service(
            web::resource("/u/{token}")
                .app_data(form())
                .route(web::get().to(unsubscribe_page))
                .route(web::head().to(unsubscribe_page))
                .route(web::post().to(unsubscribe)),
        )
        .service(
            web::resource("/p/{token}")
                .app_data(form())
                .route(web::get().to(preferences_page))
                .route(web::head().to(preferences_page))
                .route(web::post().to(preferences)),
        );
}

/// The link and its touch; `None` for anything that is not a link of ours to a touch that exists.
async fn opened(platform: &Platform, kind: LinkKind, token: &str) -> ApiResult<Option<(Link, Touch)>> {
    let token = token.strip_suffix(".gif").unwrap_or(token);
    let Some(link) = links::open_link(&platform.signer, kind, token) else { return Ok(None) };
    Ok(touches::get(&platform.db, link.touch).await?.map(|touch| (link, touch)))
}

pub(super) fn actor(req: &HttpRequest) -> Actor {
    classify_request(req.headers(), req.method() == Method::HEAD).into()
}

pub(super) fn pixel() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("image/gif")
        .insert_header((header::CACHE_CONTROL, "no-store, no-cache, must-revalidate, private, max-age=0"))
        .insert_header((header::PRAGMA, "no-cache"))
        .body(PIXEL)
}

/// The pixel in a mail: records that somebody or something loaded it.
#[utoipa::path(get, path = "/o/{token}", tag = "tracking", params(("token" = String, Path, description = "As in the mail, with or without .gif")), responses((status = 200, content_type = "image/gif", description = "A pixel"), (status = 404, description = "Not a link of ours")))]
async fn open(req: HttpRequest, token: Path<String>, platform: Data<Platform>, tracker: Data<Tracker>) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Open, &token).await? else { return pages::gone(&req, &platform) };
    tracker.open(&touch, SignalKind::Open, actor(&req));
    Ok(pixel())
}

/// A banner was in view.
#[utoipa::path(get, path = "/v/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 200, content_type = "image/gif", description = "A pixel"), (status = 404, description = "Not a link of ours")))]
async fn viewable(req: HttpRequest, token: Path<String>, platform: Data<Platform>, tracker: Data<Tracker>) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Viewable, &token).await? else { return pages::gone(&req, &platform) };
    tracker.open(&touch, SignalKind::Viewable, actor(&req));
    Ok(pixel())
}

/// Goes to the product. The target is looked up, never taken from the address.
#[utoipa::path(get, path = "/c/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 302, description = "To the product's page in the shop"), (status = 404, description = "Not a link of ours")))]
async fn click(req: HttpRequest, token: Path<String>, platform: Data<Platform>, tracker: Data<Tracker>) -> ApiResult {
    let Some((link, touch)) = opened(&platform, LinkKind::Click, &token).await? else { return pages::gone(&req, &platform) };
    let target = target(&platform, &touch, link.slot).await?;
    if let Err(error) = tracker.click(&touch, link.slot, actor(&req)).await {
        // Whoever clicked gets to the shop all the same.
        metrics::counter!("marquee_clicks_lost_total").increment(1);
        tracing::error!(%error, touch = %touch.id, "a click could not be written");
    }
    Ok(HttpResponse::Found()
        .insert_header((header::LOCATION, target))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer-when-downgrade"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .finish())
}

/// The product's page, else the shop's, with UTM tags.
pub(super) async fn target(platform: &Platform, touch: &Touch, slot: u8) -> ApiResult<String> {
    let campaign = match campaign::get(&platform.db, touch.campaign_id).await {
        Ok(campaign) => Some(campaign),
        Err(CampaignError::NotFound) => None,
        Err(other) => return Err(other.into()),
    };
    let utm = tags(touch, campaign.as_ref());
    let product = match touch.product_at(slot) {
        Some(id) => catalog::get(&platform.db, id).await?,
        None => None,
    };
    let own = product.and_then(|p| p.url).and_then(|url| utm.append(&url));
    own.or_else(|| utm.append(&platform.config.shop.url))
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("shop.url is not a web address; set it")))
}

/// What a plan leaves open gets sensible words.
fn tags(touch: &Touch, campaign: Option<&Campaign>) -> Utm {
    let own = campaign.map(|c| c.plan.utm.clone()).unwrap_or_default();
    let variant = touch.variant_id.and_then(|id| campaign?.variant(id)).map(|v| v.variant.name.clone());
    Utm {
        source: own.source.unwrap_or_else(|| "marquee".into()),
        medium: own.medium.unwrap_or_else(|| touch.channel.to_string()),
        campaign: own.campaign.unwrap_or_else(|| campaign.map_or_else(|| touch.campaign_id.to_string(), |c| c.key.clone())),
        content: own.content.or(variant).unwrap_or_default(),
        term: own.term.unwrap_or_default(),
    }
}

async fn person_of(platform: &Platform, touch: &Touch) -> ApiResult<Option<Person>> {
    match touch.person_id {
        Some(id) => Ok(people::get(&platform.db, id).await?.filter(|p| p.erased_at.is_none())),
        None => Ok(None),
    }
}

fn preferences_url(platform: &Platform, touch: &Touch) -> String {
    // Relative: the page is already on this server, under whatever name it was reached.
    let token = links::token(&platform.signer, Link { kind: LinkKind::Preferences, touch: touch.id, slot: 0 });
    format!("/p/{token}")
}

async fn unsubscribe_view(req: &HttpRequest, platform: &Platform, touch: &Touch, done: bool) -> ApiResult {
    let person = person_of(platform, touch).await?;
    let t = pages::texts(req, platform, person.as_ref().and_then(|p| p.locale.as_deref()));
    let preferences_url = preferences_url(platform, touch);
    let view = View { done, preferences_url: &preferences_url, ..View::default() };
    pages::page(StatusCode::OK, "unsubscribe.html", platform, t, view)
}

/// Asks; changes nothing (scanners follow every link).
#[utoipa::path(get, path = "/u/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 200, content_type = "text/html", description = "A page with a button"), (status = 404, description = "Not a link of ours")))]
async fn unsubscribe_page(req: HttpRequest, token: Path<String>, platform: Data<Platform>) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Unsubscribe, &token).await? else { return pages::gone(&req, &platform) };
    unsubscribe_view(&req, &platform, &touch, false).await
}

/// Unsubscribes: by the page's button, or by a mail service's one click (RFC 8058, `List-Unsubscribe=One-Click`). Done when answered.
#[utoipa::path(post, path = "/u/{token}", tag = "tracking", request_body(content = String, content_type = "application/x-www-form-urlencoded"), params(("token" = String, Path)), responses((status = 200, description = "Unsubscribed"), (status = 404, description = "Not a link of ours"), (status = 503, description = "Not saved; try again")))]
async fn unsubscribe(
    req: HttpRequest,
    token: Path<String>,
    body: web::Bytes,
    platform: Data<Platform>,
    tracker: Data<Tracker>,
) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Unsubscribe, &token).await? else { return pages::gone(&req, &platform) };
    // RFC 8058 senders may use form or multipart bodies; both carry the words in plain sight.
    let one_click = String::from_utf8_lossy(&body).contains("One-Click");
    let source = if one_click { "one_click" } else { "unsubscribe_page" };
    if let Err(error) = tracker.unsubscribe(&touch, source).await {
        tracing::error!(%error, touch = %touch.id, "an unsubscribe could not be written");
        return pages::busy(&req, &platform);
    }
    if one_click {
        return Ok(HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body("unsubscribed"));
    }
    unsubscribe_view(&req, &platform, &touch, true).await
}

async fn preferences_view(req: &HttpRequest, platform: &Platform, person: &Person, choice: Choice, done: bool) -> ApiResult {
    let t = pages::texts(req, platform, person.locale.as_deref());
    let view = View { done, email: choice.email, ads: choice.ads, ..View::default() };
    pages::page(StatusCode::OK, "preferences.html", platform, t, view)
}

/// What the person gets now, with boxes to change it. Changes nothing.
#[utoipa::path(get, path = "/p/{token}", tag = "tracking", params(("token" = String, Path)), responses((status = 200, content_type = "text/html", description = "The choices"), (status = 404, description = "Not a link of ours")))]
async fn preferences_page(req: HttpRequest, token: Path<String>, platform: Data<Platform>) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Preferences, &token).await? else { return pages::gone(&req, &platform) };
    let Some(person) = person_of(&platform, &touch).await? else { return pages::gone(&req, &platform) };
    let choice = Choice { email: person.email_consent == Consent::Subscribed, ads: person.ads_consent == Consent::Subscribed };
    preferences_view(&req, &platform, &person, choice, false).await
}

/// Saves the boxes: `email=on`, `ads=on`; what is missing is off.
#[utoipa::path(post, path = "/p/{token}", tag = "tracking", request_body(content = String, content_type = "application/x-www-form-urlencoded"), params(("token" = String, Path)), responses((status = 200, description = "Saved"), (status = 404, description = "Not a link of ours"), (status = 503, description = "Not saved; try again")))]
async fn preferences(
    req: HttpRequest,
    token: Path<String>,
    body: web::Bytes,
    platform: Data<Platform>,
    tracker: Data<Tracker>,
) -> ApiResult {
    let Some((_, touch)) = opened(&platform, LinkKind::Preferences, &token).await? else { return pages::gone(&req, &platform) };
    let Some(person) = person_of(&platform, &touch).await? else { return pages::gone(&req, &platform) };
    let on = |name: &str| url::form_urlencoded::parse(&body).any(|(key, value)| key == name && value == "on");
    let choice = Choice { email: on("email"), ads: on("ads") };
    if let Err(error) = tracker.choose(person.id, choice).await {
        tracing::error!(%error, touch = %touch.id, "choices could not be written");
        return pages::busy(&req, &platform);
    }
    preferences_view(&req, &platform, &person, choice, true).await
}
