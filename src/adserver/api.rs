//! HTTP of serving: creatives for ad servers and the shop's own server, decisions for whole pages, tokens for their tags.

use std::borrow::Cow;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Bytes, Data, Json, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::decide::NoFill;
use super::render::{Banner, Creative};
use super::service::{AdServer, AskedBy, Served, write_answer};
use super::snapshot::AdPlacement;
use super::targeting::{Context, Device, MAX_PAGE_KEYWORDS, country, is_crawler};
use super::{manage, openrtb, person_token, recommendations, tag};
use crate::account::{Guarded, KeyRing, Scope, key_in, scope};
use crate::people::{self, Identity};
use crate::platform::http::{ApiError, ApiResult, Problem, identified};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::{Platform, Timestamp};

/// Longest id that is looked up.
const MAX_ID_CHARS: usize = 200;
/// Placements of one page.
const MAX_PLACEMENTS: usize = 16;
/// Products that a page may say it shows.
const MAX_EXCLUDED: usize = 50;
const MAX_BODY_BYTES: usize = 16 << 10;

pub fn fast_routes(config: &mut ServiceConfig) {
    config.service(web::resource("/v1/creatives").route(web::get().to(creative)).default_service(web::to(no_such_method))).service(
        web::resource("/v1/decisions")
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route(web::post().to(decisions))
            .route(web::method(actix_web::http::Method::OPTIONS).to(preflight))
            .default_service(web::to(no_such_method)),
    );
    openrtb::fast_routes(config);
}

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/person-tokens", web::post().to(person_tokens));
    manage::routes(config);
    recommendations::routes(config);
    tag::routes(config);
    openrtb::routes(config);
}

#[derive(OpenApi)]
#[openapi(
    paths(creative, decisions, person_tokens),
    components(schemas(Creative, Banner, NoFill, DecisionRequest, DecisionContext, Decisions, NewPersonToken, PersonToken, Device))
)]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut doc = Doc::openapi();
    doc.merge(manage::openapi());
    doc.merge(recommendations::openapi());
    doc.merge(tag::openapi());
    doc.merge(openrtb::openapi());
    doc
}

/// For routes outside of the middleware that says so elsewhere.
pub async fn no_such_method(req: HttpRequest) -> HttpResponse {
    identified(&req, Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This address does not take this method.")))
}

/// A body that was read, or why not, as everything else says it.
pub fn read_body(body: Result<Bytes, actix_web::Error>, most: usize) -> ApiResult<Bytes> {
    body.map_err(|e| match e.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("The body is larger than the {most} bytes taken here.")),
        _ => ApiError::bad_request("bad_request", format!("The body cannot be read: {e}.")),
    })
}

/// The key of a request, where it has one: whether it may serve.
pub fn serving_key(req: &HttpRequest) -> ApiResult<Option<()>> {
    let headers = req.headers();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let key: Cow<'_, str> = match bearer {
        Some(key) => Cow::Borrowed(key.trim()),
        None => match key_in(req) {
            Some(key) => Cow::Owned(key),
            None => return Ok(None),
        },
    };
    let ring = req.app_data::<Data<KeyRing>>().ok_or_else(|| ApiError::internal(anyhow::anyhow!("no key ring in the app")))?;
    match ring.allows(&key, Scope::Serve) {
        Some(true) => Ok(Some(())),
        Some(false) => Err(ApiError::forbidden("This key lacks the scope “serve”.")),
        None => Err(ApiError::unauthorized("This key is unknown or revoked. `marquee key create` makes a new one.")),
    }
}

fn needed_key(req: &HttpRequest) -> ApiResult<()> {
    serving_key(req)?.ok_or_else(|| ApiError::unauthorized("Send an API key: “Authorization: Bearer mqk_…”."))
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CreativeQuery<'q> {
    /// Key of the placement.
    #[param(value_type = String)]
    placement: Option<Cow<'q, str>>,
    /// The person looking, by the shop's own id or ours (`per_…`). Only servers may name people.
    #[param(value_type = Option<String>)]
    person: Option<Cow<'q, str>>,
    /// The browser's id, where the person is not known.
    #[param(value_type = Option<String>)]
    anonymous_id: Option<Cow<'q, str>>,
    /// What the page is about: up to 50 words, separated by commas.
    #[param(value_type = Option<String>)]
    keywords: Option<Cow<'q, str>>,
    /// Country of the viewer, two letters.
    #[param(value_type = Option<String>)]
    country: Option<Cow<'q, str>>,
    /// `desktop`, `mobile` or `tablet`.
    #[param(value_type = Option<String>)]
    device: Option<Cow<'q, str>>,
}

/// One value of a query, decoded where it must be.
fn decoded(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b == b'%' || b == b'+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    } else {
        Cow::Borrowed(text)
    }
}

impl<'q> CreativeQuery<'q> {
    fn read(query: &'q str) -> ApiResult<Self> {
        let mut found = Self::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "placement" => &mut found.placement,
                "person" => &mut found.person,
                "anonymous_id" => &mut found.anonymous_id,
                "keywords" => &mut found.keywords,
                "country" => &mut found.country,
                "device" => &mut found.device,
                other => {
                    let name: String = other.chars().take(40).collect();
                    return Err(ApiError::bad_request("bad_query", format!("There is no parameter “{name}” here.")));
                }
            };
            *slot = Some(decoded(value));
        }
        Ok(found)
    }
}

fn context_of(keywords: &mut dyn Iterator<Item = &str>, country_name: Option<&str>, device: Option<&str>) -> ApiResult<Context> {
    let country = match country_name.filter(|c| !c.is_empty()) {
        None => None,
        Some(name) => Some(country(name).ok_or_else(|| ApiError::invalid("country", "A country has two letters, such as DE."))?),
    };
    let device = match device.filter(|d| !d.is_empty()) {
        None => None,
        Some(name) => Some(Device::parse(name).ok_or_else(|| ApiError::invalid("device", "A device is desktop, mobile or tablet."))?),
    };
    Ok(Context { country, device, ..Context::default() }.with_keywords(keywords))
}

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(body)
}

/// The banner for a place and a viewer. Asking counts as an impression; caps and budgets hold.
#[utoipa::path(get, path = "/v1/creatives", tag = "serving", params(CreativeQuery), security(("bearer" = [])),
    responses((status = 200, body = Creative), (status = 404, body = Problem, description = "No such placement"), (status = 422, body = Problem)))]
pub async fn creative(req: HttpRequest, server: Data<AdServer>) -> HttpResponse {
    identified(&req, one(&req, &server))
}

fn one(req: &HttpRequest, server: &AdServer) -> ApiResult {
    needed_key(req)?;
    let query = CreativeQuery::read(req.query_string())?;
    let placement = query.placement.as_deref().ok_or_else(|| ApiError::bad_request("bad_query", "missing field `placement`"))?;
    let asked_by = match (query.person.as_deref(), query.anonymous_id.as_deref()) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("anonymous_id", "Name either a person or an anonymous_id, not both.")),
        (Some(id), None) => AskedBy::Person(checked("person", id)?),
        (None, Some(id)) => AskedBy::Anonymous(checked("anonymous_id", id)?),
        (None, None) => AskedBy::Nobody,
    };
    let words = query.keywords.as_deref().unwrap_or_default();
    let context = context_of(&mut words.split(','), query.country.as_deref(), query.device.as_deref())?;
    let mut body = Vec::with_capacity(1_536);
    if server.creative(placement, asked_by, &context, &mut body) { Ok(json(body)) } else { Err(ApiError::not_found("placement")) }
}

pub fn checked<'a>(field: &str, id: &'a str) -> Result<&'a str, ApiError> {
    if id.is_empty() || id.len() > MAX_ID_CHARS {
        return Err(ApiError::invalid(field, format!("An id has 1 to {MAX_ID_CHARS} characters.")));
    }
    // Postgres takes no NUL in a text: one such line would keep all that are written with it waiting.
    if id.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "An id has no control characters."));
    }
    Ok(id)
}

/// What a page is about and who looks with what.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionContext {
    /// At most 50.
    pub keywords: Vec<String>,
    /// Two letters. Of a browser only a proxy in front of us knows it.
    pub country: Option<String>,
    /// Of a browser its name tells.
    pub device: Option<Device>,
}

/// Banners for several placements of one page.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Keys of 1 to 16 placements, in order of importance.
    pub placements: Vec<String>,
    /// The person looking, by the shop's own id or ours. Needs a server's key.
    #[serde(default)]
    pub person: Option<String>,
    /// The browser's id, where the person is not known.
    #[serde(default)]
    pub anonymous_id: Option<String>,
    /// From `POST /v1/person-tokens`: names the person without a key.
    #[serde(default)]
    pub person_token: Option<String>,
    /// Products (`prd_…`) that the page shows already, at most 50.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub exclude: Vec<ProductId>,
    #[serde(default)]
    pub context: DecisionContext,
    /// Global Privacy Control: the viewer is nobody, and the choice goes by the page alone. A browser's own `Sec-GPC: 1` says the same.
    #[serde(default)]
    pub gpc: bool,
}

/// One answer per placement, in the order asked. No product is shown twice.
#[derive(Serialize, ToSchema)]
pub struct Decisions {
    pub decisions: Vec<Creative>,
}

/// Decides for several placements at once. With a server's key a person may be named; without a key (a page's tag) only by a person token,
/// or by the browser's own id.
#[utoipa::path(post, path = "/v1/decisions", tag = "serving", request_body = DecisionRequest, security((), ("bearer" = [])),
    responses((status = 200, body = Decisions), (status = 403, body = Problem, description = "Not on this site, or a person named without a key"),
        (status = 404, body = Problem, description = "No such placement"), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub async fn decisions(req: HttpRequest, body: Result<Bytes, actix_web::Error>, server: Data<AdServer>) -> HttpResponse {
    // An error, too, is for the page's script to read.
    open_to_pages(identified(&req, decided(&req, body, &server)))
}

fn decided(req: &HttpRequest, body: Result<Bytes, actix_web::Error>, server: &AdServer) -> ApiResult {
    let body = read_body(body, MAX_BODY_BYTES)?;
    let keyed = serving_key(req)?.is_some();
    let asked: DecisionRequest = serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad_request("bad_json", format!("The body is not the JSON expected here: {e}.")))?;
    if asked.placements.is_empty() || asked.placements.len() > MAX_PLACEMENTS {
        return Err(ApiError::invalid("placements", format!("Name 1 to {MAX_PLACEMENTS} placements.")));
    }
    if asked.context.keywords.len() > MAX_PAGE_KEYWORDS {
        return Err(ApiError::invalid("keywords", format!("At most {MAX_PAGE_KEYWORDS} keywords.")));
    }
    if asked.exclude.len() > MAX_EXCLUDED {
        return Err(ApiError::invalid("exclude", format!("At most {MAX_EXCLUDED} products.")));
    }
    if [asked.person.is_some(), asked.anonymous_id.is_some(), asked.person_token.is_some()].iter().filter(|b| **b).count() > 1 {
        return Err(ApiError::invalid("person", "Name one of person, anonymous_id and person_token."));
    }
    let gpc = asked.gpc || says_gpc(req);
    let asked_by = asked_by(&server.platform, &asked, keyed, gpc)?;
    let mut context = context_of(&mut asked.context.keywords.iter().map(String::as_str), asked.context.country.as_deref(), None)?;
    context.device = asked.context.device;
    if !keyed {
        on_its_site(req, server, &asked.placements)?;
        from_browser(req, &server.platform, &mut context);
    }
    let keys: Vec<&str> = asked.placements.iter().map(String::as_str).collect();
    let mut out = Vec::with_capacity(64 + 1_536 * keys.len());
    out.extend_from_slice(b"{\"decisions\":[");
    let mut first = true;
    let write = |place: &AdPlacement, served: Result<&Served<'_>, NoFill>| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_answer(place, served, &mut out);
    };
    let found = if !keyed && crawls(req) {
        server.refuse(&keys, NoFill::Crawler, write)
    } else {
        server.serve(&keys, asked_by, &context, &asked.exclude, write)
    };
    if !found {
        return Err(ApiError::not_found("placement"));
    }
    out.extend_from_slice(b"]}");
    Ok(json(out))
}

fn asked_by<'a>(platform: &Platform, asked: &'a DecisionRequest, keyed: bool, gpc: bool) -> ApiResult<AskedBy<'a>> {
    if let Some(id) = &asked.person {
        if !keyed {
            return Err(ApiError::forbidden("Only a server's key may name a person. A page names one by a person token."));
        }
        let id = checked("person", id)?;
        return Ok(if gpc { AskedBy::Nobody } else { AskedBy::Person(id) });
    }
    if gpc {
        return Ok(AskedBy::Nobody);
    }
    if let Some(token) = &asked.person_token {
        // A token that is over is no error: the page still gets its banner, chosen for anybody.
        return Ok(person_token::open(&platform.signer, token, platform.now()).map_or(AskedBy::Nobody, AskedBy::Known));
    }
    match &asked.anonymous_id {
        Some(id) => Ok(AskedBy::Anonymous(checked("anonymous_id", id)?)),
        None => Ok(AskedBy::Nobody),
    }
}

/// A machine that reads pages: it is shown nothing, so that it uses up no budget.
pub fn crawls(req: &HttpRequest) -> bool {
    req.headers().get(header::USER_AGENT).and_then(|v| v.to_str().ok()).is_some_and(is_crawler)
}

pub fn says_gpc(req: &HttpRequest) -> bool {
    req.headers().get("sec-gpc").is_some_and(|v| v.as_bytes() == b"1")
}

/// Where a placement belongs to a site, a browser on another gets nothing.
pub fn on_its_site(req: &HttpRequest, server: &AdServer, placements: &[String]) -> ApiResult<()> {
    let snapshot = server.snapshot();
    let text = |name: header::HeaderName| req.headers().get(name).and_then(|v| v.to_str().ok());
    let from = text(header::ORIGIN).or_else(|| text(header::REFERER)).unwrap_or_default();
    let authority = from.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    for site in placements.iter().filter_map(|key| snapshot.placements.get(key)).map(|p| p.site.as_str()).filter(|s| !s.is_empty()) {
        if host != site && !host.strip_suffix(site).is_some_and(|sub| sub.ends_with('.')) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_site", "This placement belongs to another site."));
        }
    }
    Ok(())
}

/// What a browser's request tells by itself.
pub fn from_browser(req: &HttpRequest, platform: &Platform, context: &mut Context) {
    let text = |name: &str| req.headers().get(name).and_then(|v| v.to_str().ok());
    context.device = Some(Device::of_agent(text("user-agent").unwrap_or_default()));
    // A page may not say where its reader is; a proxy of ours may.
    context.country =
        if platform.config.server.behind_proxy { text("x-country").or_else(|| text("cf-ipcountry")).and_then(country) } else { None };
}

/// Pages anywhere may read the answer; it carries no cookie and needs none.
pub fn open_to_pages(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, header::HeaderValue::from_static("*"));
    headers.insert(header::HeaderName::from_static("cross-origin-resource-policy"), header::HeaderValue::from_static("cross-origin"));
    response
}

async fn preflight() -> HttpResponse {
    open_to_pages(
        HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
            .finish(),
    )
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPersonToken {
    /// By the shop's own id or ours (`per_…`).
    pub person: String,
    /// Seconds that it is good for, 60 to 86,400 (default 3,600).
    #[serde(default)]
    pub ttl_s: Option<i64>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PersonToken {
    /// Put it into the page's tag.
    pub token: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A token by which a page may ask for a person's own choice, for a while. It names nobody to who reads it.
#[utoipa::path(post, path = "/v1/person-tokens", tag = "serving", request_body = NewPersonToken, security(("bearer" = [])),
    responses((status = 200, body = PersonToken), (status = 404, body = Problem, description = "No such person"), (status = 422, body = Problem)))]
pub async fn person_tokens(_: Guarded<scope::Serve>, platform: Data<Platform>, body: Json<NewPersonToken>) -> ApiResult {
    let ttl_s = body.ttl_s.unwrap_or(person_token::DEFAULT_TTL_S);
    if !person_token::TTL_S.contains(&ttl_s) {
        return Err(ApiError::invalid("ttl_s", "A token lives 60 to 86,400 seconds."));
    }
    let name = checked("person", &body.person)?;
    let found = match name.parse::<PersonId>() {
        Ok(id) => people::get(&platform.db, id).await?,
        Err(_) => people::find(&platform.db, &Identity::External(name.to_owned())).await?,
    };
    let person = found.filter(|p| p.erased_at.is_none()).ok_or_else(|| ApiError::not_found("person"))?;
    let (token, expires_at) = person_token::mint(&platform.signer, person.id, ttl_s, platform.now());
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(PersonToken { token, expires_at }))
}
