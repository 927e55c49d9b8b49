//! HTTP ground rules: one error shape (RFC 9457 problem+json with stable codes), paging, request ids.

use std::fmt;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fault::Fault;
use crate::fault;

/// The body of every error answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Stable, machine-readable; documented in the API reference.
    pub code: &'static str,
    /// HTTP status, repeated.
    pub status: u16,
    /// What is wrong, in a few words.
    pub title: String,
    /// What happened here and what to do about it.
    pub detail: String,
    /// Which field or line is meant, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Quote this when asking for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error on its way out. Slices convert their own errors into this; nothing else writes error bodies.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Box<Fault>,
    field: Option<String>,
    retry_after_s: Option<u64>,
    source: Option<anyhow::Error>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Fault>) -> Self {
        Self { status, code, detail: Box::new(detail.into()), field: None, retry_after_s: None, source: None }
    }
    /// 400: the request itself is wrong.
    pub fn bad_request(code: &'static str, detail: impl Into<Fault>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
    /// 401: no key, or not one of ours.
    pub fn unauthorized(detail: impl Into<Fault>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }
    /// 403: a key without the scope.
    pub fn forbidden(detail: impl Into<Fault>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", fault!("not_found", "There is no such {what}.", what))
    }
    /// 409: the thing is in a state that does not allow this.
    pub fn conflict(code: &'static str, detail: impl Into<Fault>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }
    pub fn too_large(detail: impl Into<Fault>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }
    /// 422: well-formed, but it breaks a rule.
    pub fn invalid(field: impl Into<String>, detail: impl Into<Fault>) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        error.field = Some(field.into());
        error
    }
    /// 429: later.
    pub fn busy(detail: impl Into<Fault>) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail);
        error.retry_after_s = Some(1);
        error
    }
    /// 500: ours. The text is logged, never shown.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        let detail = fault!("internal", "Something went wrong on our side; it has been logged.");
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
        error.source = Some(source.into());
        error
    }
    pub fn status(&self) -> StatusCode {
        self.status
    }
    pub fn code(&self) -> &'static str {
        self.code
    }
    /// What happened, in a form that a page can say in the reader's language.
    pub fn detail(&self) -> &Fault {
        &self.detail
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}
impl std::error::Error for ApiError {}

impl From<sqlx::Error> for ApiError {
    fn from(e: sqlx::Error) -> Self {
        match e {
            sqlx::Error::PoolTimedOut => {
                let detail = fault!("database_busy", "The database is busy; try again in a moment.");
                let mut busy = Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_busy", detail);
                busy.retry_after_s = Some(2);
                busy
            }
            other => Self::internal(other),
        }
    }
}
impl From<super::batch::BatchError> for ApiError {
    fn from(e: super::batch::BatchError) -> Self {
        match e {
            super::batch::BatchError::Busy => Self::busy(e.to_string()),
            other => Self::internal(other),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }
    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        if let Some(s) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, s.to_string()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let request_id = if let Some(source) = &self.source {
            let id = request_id();
            tracing::error!(request_id = %id, error = %format!("{source:#}"), "request failed");
            Some(id)
        } else {
            None
        };
        response.content_type("application/problem+json").body(
            serde_json::to_vec(&Problem {
                code: self.code,
                status: self.status.as_u16(),
                title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
                detail: self.detail.to_string(),
                field: self.field.clone(),
                request_id,
            })
            .unwrap_or_default(),
        )
    }
}

pub type ApiResult<T = HttpResponse> = Result<T, ApiError>;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request under way; a fresh one outside a request.
pub fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_else(|_| super::ids::uuid_v4().simple().to_string())
}

/// The id that the caller gave a request, where it may stand in a header and in a log.
fn id_of(headers: &header::HeaderMap) -> Option<&str> {
    let given = headers.get(&REQUEST_ID_HEADER)?.to_str().ok()?;
    ((1..=64).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(given)
}

/// An answer of a route that stands outside of [`observe`], for speed: with a request's id, and an error as everywhere else.
pub fn identified(req: &actix_web::HttpRequest, result: ApiResult) -> HttpResponse {
    let mut buffer = [0; 32];
    let id = id_of(req.headers()).unwrap_or_else(|| super::ids::uuid_v4().simple().encode_lower(&mut buffer));
    let value = HeaderValue::from_str(id);
    let mut response = result.unwrap_or_else(|error| {
        let mut response = REQUEST_ID.sync_scope(id.to_owned(), || error.error_response());
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    });
    if let Ok(value) = value {
        response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
    }
    response
}

static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Middleware: gives every request an id (the caller's own where it is short and plain), hardens every answer, and counts it.
pub async fn observe(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody + 'static>, actix_web::Error> {
    let id = id_of(req.headers()).map_or_else(|| super::ids::uuid_v4().simple().to_string(), ToOwned::to_owned);
    let route = req.match_pattern().unwrap_or_else(|| "unmatched".into());
    let method = req.method().to_string();
    let started = std::time::Instant::now();
    let result = REQUEST_ID.scope(id.clone(), next.call(req)).await;
    let status = match &result {
        Ok(response) => response.status().as_u16(),
        Err(error) => error.as_response_error().status_code().as_u16(),
    };
    metrics::counter!("marquee_http_requests_total", "route" => route.clone(), "method" => method, "status" => status.to_string())
        .increment(1);
    metrics::histogram!("marquee_http_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    let response = result?;
    let mut response = match foreign_error(&response) {
        Some(error) => response.into_response(error.error_response()).map_into_right_body(),
        None => response.map_into_left_body(),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID_HEADER.clone(), value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::REFERRER_POLICY) {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    }
    response.request().extensions_mut().insert(());
    Ok(response)
}

/// What the server's own parts refuse (a body over its limit, a method that is not there), said as everything else is said.
fn foreign_error<B>(response: &ServiceResponse<B>) -> Option<ApiError> {
    let status = response.status();
    let inner = response.response();
    let bare = inner.error().is_some_and(|e| e.as_error::<ApiError>().is_none())
        || (status == StatusCode::METHOD_NOT_ALLOWED && !inner.headers().contains_key(header::CONTENT_TYPE));
    if !status.is_client_error() || !bare {
        return None;
    }
    let words = inner.error().map(ToString::to_string).unwrap_or_default();
    Some(match status {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("The body is larger than this address takes."),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(status, "method_not_allowed", "This address does not take this method."),
        StatusCode::REQUEST_TIMEOUT => ApiError::new(status, "timeout", "The body did not come in time."),
        _ => ApiError::new(status, "bad_request", format!("The request cannot be read: {words}.")),
    })
}

/// Most rows on one page.
pub const MAX_PAGE_ROWS: i64 = 500;

/// Keyset paging: pass the last page's `next` as `after`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows to return, 1 to 500 (default 50).
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl PageQuery {
    pub fn limit(&self) -> ApiResult<i64> {
        match self.limit.unwrap_or(50) {
            n @ 1..=MAX_PAGE_ROWS => Ok(n),
            n => Err(ApiError::invalid("limit", format!("limit is {n}; it must be between 1 and {MAX_PAGE_ROWS}."))),
        }
    }
}

/// One page of rows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `after` for the following page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
