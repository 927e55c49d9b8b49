//! Bidding over OpenRTB 2.6: banners of priced line items on placements that are open to exchanges. A bid costs nothing; what the exchange
//! bills (`burl`) is an impression, counted once.

mod bid;
mod consent;
mod model;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;

use super::api::{no_such_method, read_body};
use super::service::AdServer;
use super::ticket::Ticket;
use crate::account::{KeyRing, Scope, key_in};
use crate::platform::http::{ApiError, ApiResult, Problem, identified};

pub use consent::{Signals, may_personalise};
pub use model::{BidRequest, BidResponse};

const MAX_BODY_BYTES: usize = 128 << 10;

pub fn fast_routes(config: &mut ServiceConfig) {
    config.service(
        web::resource("/openrtb2/bid")
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route(web::post().to(answer))
            .default_service(web::to(no_such_method)),
    );
}

pub fn routes(config: &mut ServiceConfig) {
    for (path, notice) in [("/openrtb2/win/{token}", Notice::Win), ("/openrtb2/loss/{token}", Notice::Loss)] {
        let told = move |token: Path<String>, server: Data<AdServer>| async move { heard(&token, &server, notice) };
        config.service(web::resource(path).route(web::get().to(told)).route(web::post().to(told)));
    }
    config.service(web::resource("/openrtb2/bill/{token}").route(web::get().to(bill)).route(web::post().to(bill)));
}

#[derive(OpenApi)]
#[openapi(
    paths(answer, bill),
    components(schemas(
        model::BidRequest,
        model::Imp,
        model::BannerAsk,
        model::Size,
        model::Pmp,
        model::DealAsk,
        model::Site,
        model::Device,
        model::Geo,
        model::User,
        model::Regs,
        model::BidResponse,
        model::SeatBid,
        model::Bid
    ))
)]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

fn with_version(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(header::HeaderName::from_static("x-openrtb-version"), header::HeaderValue::from_static("2.6"));
    response
}

/// Exchanges that cannot send headers may have the key in the address.
fn check_key(req: &HttpRequest) -> ApiResult<()> {
    let in_query = || url::form_urlencoded::parse(req.query_string().as_bytes()).find(|(k, _)| k == "key").map(|(_, v)| v.into_owned());
    let key = key_in(req).or_else(in_query);
    let key = key.ok_or_else(|| ApiError::unauthorized("Send an API key: “Authorization: Bearer mqk_…”, or ?key=mqk_… in the address."))?;
    let ring = req.app_data::<Data<KeyRing>>().ok_or_else(|| ApiError::internal(anyhow::anyhow!("no key ring in the app")))?;
    match ring.allows(&key, Scope::Serve) {
        Some(true) => Ok(()),
        Some(false) => Err(ApiError::forbidden("This key lacks the scope “serve”.")),
        None => Err(ApiError::unauthorized("This key is unknown or revoked.")),
    }
}

/// An exchange's auction (OpenRTB 2.6): bids for banners, or 204. Without consent (TCF, GPP, US privacy, COPPA, limited tracking) the choice
/// goes by the page alone. A request that breaks a rule of the specification is answered with `nbr`.
#[utoipa::path(post, path = "/openrtb2/bid", tag = "openrtb", request_body = model::BidRequest, security(("bearer" = [])),
    responses((status = 200, body = model::BidResponse), (status = 204, description = "No bid"), (status = 400, body = Problem, description = "Not JSON, or not a bid request"), (status = 413, body = Problem)))]
async fn answer(req: HttpRequest, body: Result<Bytes, actix_web::Error>, server: Data<AdServer>) -> HttpResponse {
    identified(&req, bids(&req, body, &server))
}

fn bids(req: &HttpRequest, body: Result<Bytes, actix_web::Error>, server: &AdServer) -> ApiResult {
    let body = read_body(body, MAX_BODY_BYTES)?;
    check_key(req)?;
    let request: BidRequest =
        serde_json::from_slice(&body).map_err(|e| ApiError::bad_request("bad_json", format!("The body is not a bid request: {e}.")))?;
    let nothing = |nbr| BidResponse { id: request.id.clone(), seatbid: Vec::new(), bidid: None, cur: None, nbr: Some(nbr) };
    if let Err(broken) = request.check() {
        tracing::debug!(broken, "a bid request breaks the specification");
        return Ok(with_version(HttpResponse::Ok().json(nothing(bid::NBR_INVALID))));
    }
    Ok(with_version(match bid::bid(server, &request) {
        Ok(response) => HttpResponse::Ok().json(response),
        Err(Some(nbr)) => HttpResponse::Ok().json(nothing(nbr)),
        Err(None) => HttpResponse::build(StatusCode::NO_CONTENT).finish(),
    }))
}

#[derive(Clone, Copy)]
enum Notice {
    Win,
    Loss,
}

fn opened(server: &AdServer, token: &str) -> ApiResult<Ticket> {
    Ticket::open_notice(&server.platform.signer, token).filter(|t| t.bid).ok_or_else(|| ApiError::not_found("bid"))
}

fn heard(token: &str, server: &AdServer, notice: Notice) -> ApiResult {
    opened(server, token)?;
    let name = match notice {
        Notice::Win => "win",
        Notice::Loss => "loss",
    };
    metrics::counter!("marquee_bid_notices_total", "notice" => name).increment(1);
    Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish())
}

/// The exchange bills an impression: it counts from now on, once however often this is called. `price` is what `${AUCTION_PRICE}` became,
/// plain or by `:B64`; never more than was bid.
#[utoipa::path(get, path = "/openrtb2/bill/{token}", tag = "openrtb",
    params(("token" = String, Path), ("price" = Option<String>, Query, description = "Per thousand impressions")),
    responses((status = 204, description = "Counted"), (status = 404, body = Problem), (status = 410, body = Problem, description = "The bid stood longer ago than `exp` says")))]
async fn bill(req: HttpRequest, token: Path<String>, server: Data<AdServer>) -> ApiResult {
    let ticket = opened(&server, &token)?;
    if server.platform.now().since(ticket.served_at()) > bid::BILLABLE_US {
        return Err(ApiError::new(StatusCode::GONE, "bid_over", "This bid is over: it stood for ten minutes."));
    }
    let price = url::form_urlencoded::parse(req.query_string().as_bytes()).find(|(k, _)| k == "price").map(|(_, v)| v.into_owned());
    server.billed(&ticket, bid::charged_micro(&ticket, price.as_deref(), server.platform.config.shop.currency)).await;
    Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish())
}
