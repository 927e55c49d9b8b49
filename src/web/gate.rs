//! The gate before every page: session, permission, CSRF, security headers, error pages, audit. The one place that decides who gets in.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::Tz;
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::format::Reader;
use super::i18n::Locale;
use super::page::{Flash, Inner, Note, Shell, cookie_name, is_secure};
use super::route::Need;
use super::ui::Ui;
use crate::account::{NewAudit, Session, Visitor, sessions};
use crate::platform::Platform;
use crate::platform::http::ApiError;

/// What one method of a resource needs.
#[derive(Clone)]
pub(super) struct Rule {
    pub method: Method,
    pub need: Need,
    pub action: Option<&'static str>,
}

/// Largest form; uploads (multipart) are limited by their own pages.
const MAX_FORM_BYTES: usize = 512 << 10;

/// Nothing from elsewhere, nothing inline. SVG charts use presentation attributes, which need no exception.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
     frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn pass(
    mut req: ServiceRequest,
    next: Next<BoxBody>,
    rules: Arc<[Rule]>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let shell = shell(&mut req).await?;
    req.extensions_mut().insert(shell.clone());
    let method = if req.method() == Method::HEAD { Method::GET } else { req.method().clone() };
    let Some(rule) = rules.iter().find(|r| r.method == method).cloned() else {
        let refused = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This address does not take this method.");
        return Ok(finish(&shell, req.into_response(refusal(&shell, &refused))));
    };
    let wants_page = wants_page(req.headers());
    if let Err(stop) = admit(&mut req, &shell, &rule).await {
        let response = match stop {
            Stop::SignIn(to) => shell.redirect(&to),
            Stop::Refuse(error) if wants_page => refusal(&shell, &error),
            Stop::Refuse(error) => actix_web::ResponseError::error_response(&error),
        };
        return Ok(finish(&shell, req.into_response(response)));
    }
    let path = req.path().to_owned();
    let response = next.call(req).await?;
    let response = if wants_page { as_page(&shell, response) } else { response };
    audit(&shell, &rule, &path, response.status()).await;
    Ok(finish(&shell, response))
}

enum Stop {
    SignIn(String),
    Refuse(ApiError),
}

async fn admit(req: &mut ServiceRequest, shell: &Shell, rule: &Rule) -> Result<(), Stop> {
    if !rule.need.met_by(shell.viewer()) {
        if shell.viewer().is_some() {
            return Err(Stop::Refuse(ApiError::forbidden(shell.say("error.forbidden"))));
        }
        if rule.method != Method::GET {
            return Err(Stop::Refuse(ApiError::unauthorized(shell.say("error.signed_out"))));
        }
        let anybody = shell.ui().accounts.any().await.map_err(|e| Stop::Refuse(e.into()))?;
        let from = req.uri().path_and_query().map_or("/", |p| p.as_str());
        let next = percent_encoding::utf8_percent_encode(from, percent_encoding::NON_ALPHANUMERIC);
        return Err(Stop::SignIn(match (anybody, from) {
            (false, _) => "/set-up".to_owned(),
            (true, "/") => "/sign-in".to_owned(),
            (true, _) => format!("/sign-in?next={next}"),
        }));
    }
    if rule.method != Method::GET {
        let refused = || Stop::Refuse(ApiError::new(StatusCode::FORBIDDEN, "csrf", shell.say("error.csrf")));
        if !same_origin(req, &shell.inner.platform) {
            return Err(refused());
        }
        let token = sent_token(req).await.map_err(Stop::Refuse)?.ok_or_else(refused)?;
        if !token_matches(&shell.inner.csrf, &token) {
            return Err(refused());
        }
    }
    Ok(())
}

/// A form comes from our own pages: browsers say so, and cannot be made to lie about it.
fn same_origin(req: &ServiceRequest, platform: &Platform) -> bool {
    let text = |name: &HeaderName| req.headers().get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = text(&HeaderName::from_static("sec-fetch-site"))
        && site != "same-origin"
    {
        return false;
    }
    match text(&header::ORIGIN) {
        None => true,
        Some(origin) => {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let public = platform.config.server.public_url.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
            !host.is_empty() && (text(&header::HOST) == Some(host) || host == public.split('/').next().unwrap_or_default())
        }
    }
}

/// The token in the header, in a urlencoded form, or (for uploads) in the query.
async fn sent_token(req: &mut ServiceRequest) -> Result<Option<String>, ApiError> {
    if let Some(value) = req.headers().get("x-csrf-token") {
        return Ok(value.to_str().ok().map(ToOwned::to_owned));
    }
    if !req.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let query = url::form_urlencoded::parse(req.query_string().as_bytes());
        return Ok(query.into_iter().find(|(k, _)| k == "csrf").map(|(_, v)| v.into_owned()));
    }
    let length = req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if length.is_some_and(|n| n > MAX_FORM_BYTES) {
        return Err(ApiError::too_large("This form is larger than any of ours."));
    }
    let body = actix_web::body::to_bytes_limited(body_of(req), MAX_FORM_BYTES)
        .await
        .map_err(|_| ApiError::too_large("This form is larger than any of ours."))?
        .map_err(|e| ApiError::bad_request("bad_form", format!("The form cannot be read: {e}.")))?;
    let token = url::form_urlencoded::parse(&body).find(|(k, _)| k == "csrf").map(|(_, v)| v.into_owned());
    let (_, mut payload) = actix_http::h1::Payload::create(true);
    payload.unread_data(body);
    req.set_payload(payload.into());
    Ok(token)
}

fn body_of(req: &mut ServiceRequest) -> actix_web::body::BodyStream<actix_web::dev::Payload> {
    actix_web::body::BodyStream::new(req.take_payload())
}

/// A token looks different each time (so that compression cannot be made to spell it out) and means the same: mask ‖ mask xor secret.
fn masked(secret: &[u8; 32]) -> String {
    let mask: [u8; 32] = rand::random();
    let mut bytes = mask.to_vec();
    bytes.extend(secret.iter().zip(mask).map(|(s, m)| s ^ m));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unmasked(token: &str) -> Option<[u8; 32]> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|b| b.len() == 64)?;
    let mut secret = [0; 32];
    for (i, s) in secret.iter_mut().enumerate() {
        *s = bytes[i] ^ bytes[i + 32];
    }
    Some(secret)
}

fn token_matches(ours: &str, sent: &str) -> bool {
    match (unmasked(ours), unmasked(sent)) {
        (Some(a), Some(b)) => a.ct_eq(&b).into(),
        _ => false,
    }
}

/// Where the request came from. Behind a proxy of ours the last `X-Forwarded-For` entry is the one that it wrote.
fn visitor(req: &ServiceRequest, platform: &Platform) -> Visitor {
    let text = |name: &str| req.headers().get(name).and_then(|v| v.to_str().ok());
    let forwarded = platform.config.server.behind_proxy.then(|| text("x-forwarded-for")).flatten();
    let address = match forwarded.and_then(|f| f.rsplit(',').next()).map(str::trim).filter(|a| !a.is_empty()) {
        Some(address) => address.chars().take(64).collect(),
        None => req.peer_addr().map_or_else(String::new, |a| a.ip().to_string()),
    };
    Visitor { address, agent: text("user-agent").unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect() }
}

async fn shell(req: &mut ServiceRequest) -> Result<Shell, ApiError> {
    let missing = || ApiError::internal(anyhow::anyhow!("no Ui in the app"));
    let ui = req.app_data::<web::Data<Ui>>().ok_or_else(missing)?.clone();
    let platform = req.app_data::<web::Data<Platform>>().ok_or_else(missing)?.clone();
    let cookie = |name: &str| req.cookie(&cookie_name(&platform, name)).map(|c| c.value().to_owned());
    let session: Option<Session> = match cookie("session") {
        Some(token) => sessions::find(&platform, &token).await?,
        None => None,
    };
    let before = cookie("before").filter(|c| (20..=64).contains(&c.len()));
    let fresh = (session.is_none() && before.is_none()).then(|| URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()));
    let secret = match &session {
        Some(session) => platform.signer.digest("csrf", &session.token_hash),
        None => platform.signer.digest("csrf before", before.as_deref().or(fresh.as_deref()).unwrap_or_default().as_bytes()),
    };
    let flash = cookie("flash").and_then(|c| platform.signer.open("flash", &c)).and_then(|b| serde_json::from_slice::<Flash>(&b).ok());
    let user = session.as_ref().map(|s| &s.user);
    let accepted = req.headers().get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let reader = Reader {
        locale: user
            .and_then(|u| Locale::of(u.locale.as_deref()?))
            .or_else(|| Locale::accepted(accepted?))
            .or_else(|| Locale::of(&platform.config.shop.locale))
            .unwrap_or(Locale::En),
        zone: user.and_then(|u| u.time_zone).unwrap_or_else(|| zone_of(&platform)),
        now: platform.now(),
    };
    let inner = Inner {
        visitor: visitor(req, &platform),
        csrf: masked(&secret),
        path: req.path().to_owned(),
        ui,
        platform,
        session,
        reader,
        flash,
        note: RefCell::default(),
        cookies: RefCell::default(),
    };
    let shell = Shell { inner: Rc::new(inner) };
    if let Some(fresh) = fresh {
        shell.set_cookie(shell.cookie("before", fresh));
    }
    Ok(shell)
}

fn zone_of(platform: &Platform) -> Tz {
    platform.config.shop.time_zone
}

/// Does a browser ask for a page (and not one of our scripts for a fragment or JSON)?
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    !headers.contains_key("x-requested-by") && (accept.contains("text/html") || accept.contains("*/*") || accept.is_empty())
}

#[derive(Serialize)]
struct ErrorView<'a> {
    status: u16,
    detail: &'a str,
    request_id: String,
    ours: bool,
}

/// An error as a page: what happened, what was kept, what to do.
pub(super) fn refusal(shell: &Shell, error: &ApiError) -> HttpResponse {
    let plain = actix_web::ResponseError::error_response(error);
    let status = error.status();
    let detail = shell.fault(error.detail());
    let view = ErrorView {
        status: status.as_u16(),
        detail: &detail,
        request_id: crate::platform::http::request_id(),
        ours: status.is_server_error(),
    };
    let title = shell.say(match status {
        StatusCode::NOT_FOUND => "error.title.not_found",
        StatusCode::FORBIDDEN => "error.title.forbidden",
        StatusCode::UNAUTHORIZED => "error.title.signed_out",
        s if s.is_server_error() => "error.title.internal",
        _ => "error.title.refused",
    });
    match shell.html("error.html", &title, &view) {
        Ok(html) => {
            let mut response = HttpResponse::build(status);
            if let Some(after) = plain.headers().get(header::RETRY_AFTER) {
                response.insert_header((header::RETRY_AFTER, after.clone()));
            }
            response.content_type("text/html; charset=utf-8").body(html)
        }
        Err(_) => plain,
    }
}

/// Errors that handlers and extractors returned, as pages.
fn as_page(shell: &Shell, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let Some(error) = response.response().error() else { return response };
    let page = match error.as_error::<ApiError>() {
        // The log line and its request id were written when the error became a response.
        Some(error) => refusal(shell, error),
        None if response.status().is_client_error() => {
            refusal(shell, &ApiError::new(response.status(), "bad_request", shell.say("error.unreadable")))
        }
        None => refusal(shell, &ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", shell.say("error.internal"))),
    };
    response.into_response(page)
}

async fn audit(shell: &Shell, rule: &Rule, path: &str, status: StatusCode) {
    let note: Note = shell.inner.note.borrow().clone();
    let Some(action) = note.action.or(rule.action) else { return };
    if !(note.always || status.is_success() || status.is_redirection()) {
        return;
    }
    let user = shell.viewer();
    let entry = NewAudit {
        actor: note.actor.or_else(|| user.map(|u| u.email.clone())).unwrap_or_else(|| "–".into()),
        actor_role: user.map(|u| u.role.name().to_owned()).unwrap_or_default(),
        action: action.to_owned(),
        subject: note.subject.unwrap_or_else(|| path.to_owned()),
        detail: note.detail,
        address: shell.visitor().address.clone(),
    };
    if let Err(error) = shell.ui().audit.write(entry, shell.inner.reader.now).await {
        tracing::error!(action, error = %error, "the audit line could not be written");
    }
}

/// Headers and cookies of every answer.
fn finish(shell: &Shell, mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let html = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/html"));
    if shell.inner.flash.is_some() && html && response.status() != StatusCode::SEE_OTHER {
        shell.drop_cookie("flash");
    }
    for cookie in shell.inner.cookies.borrow().iter() {
        if let Err(error) = response.response_mut().add_cookie(cookie) {
            tracing::error!(%error, "a cookie could not be set");
        }
    }
    let secure = is_secure(&shell.inner.platform);
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    default(header::CONTENT_SECURITY_POLICY, POLICY);
    default(header::CACHE_CONTROL, "no-store");
    default(header::REFERRER_POLICY, "same-origin");
    default(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    default(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    default(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    default(HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    if secure {
        default(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_token_changes_its_looks_and_keeps_its_meaning() {
        let (a, b) = (masked(&[7; 32]), masked(&[7; 32]));
        assert_ne!(a, b);
        assert!(token_matches(&a, &b));
        assert!(!token_matches(&a, &masked(&[8; 32])));
        assert!(!token_matches(&a, ""));
    }
}
