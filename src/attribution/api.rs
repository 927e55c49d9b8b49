//! `/v1/reports/attribution` and `/v1/reports/lift`.

use actix_web::http::header;
use actix_web::web::{Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get};
use chrono_tz::Tz;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use crate::account::{Guarded, scope};
use crate::campaign;
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult, Problem};

use super::lift::Lift;
use super::measure::{self, LiftIn, MeasureError, MeasuredLift};
use super::model::Model;
use super::report::{self, By, Report, ReportError, Row, Total};

impl From<ReportError> for ApiError {
    fn from(e: ReportError) -> Self {
        match e {
            ReportError::Database(e) => e.into(),
            ReportError::Zone(_) => Self::invalid("time_zone", e.to_string()),
            ReportError::Time(_) | ReportError::Span | ReportError::Days => Self::invalid("from", e.to_string()),
        }
    }
}
impl From<MeasureError> for ApiError {
    fn from(e: MeasureError) -> Self {
        match e {
            MeasureError::Campaign(e) => e.into(),
            MeasureError::Database(e) => e.into(),
        }
    }
}

/// How a report is asked for, over HTTP and on the command line alike.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AttributionQuery {
    /// first, last (default), linear, time_decay or position.
    pub model: Option<String>,
    /// A date or RFC 3339 time; default: 30 days before `to`.
    pub from: Option<String>,
    /// A date (the whole day counts) or RFC 3339 time; default: now.
    pub to: Option<String>,
    /// campaign (default), channel, product, variant or day.
    pub by: Option<String>,
    /// Zone of dates and days; default: the shop's.
    pub time_zone: Option<String>,
    /// Also credit human opens and viewable banners without a click.
    pub view_through: Option<bool>,
    /// json (default) or csv; `Accept: text/csv` works too.
    pub format: Option<String>,
}

/// The one way to an attribution report: checks the question, and answers it.
pub async fn attribution_report(platform: &Platform, query: &AttributionQuery) -> Result<Report, ApiError> {
    let model = query.model.as_deref().unwrap_or("last").parse::<Model>().map_err(|e| ApiError::invalid("model", e))?;
    let by = query.by.as_deref().unwrap_or("campaign").parse::<By>().map_err(|e| ApiError::invalid("by", e))?;
    let time_zone = match &query.time_zone {
        Some(name) => name.parse::<Tz>().map_err(|_| ReportError::Zone(name.chars().take(40).collect()))?,
        None => platform.config.shop.time_zone,
    };
    let (from, to) = report::span(query.from.as_deref(), query.to.as_deref(), time_zone, platform.now())?;
    let view_through = query.view_through.unwrap_or(false);
    Ok(report::attribution(&platform.db, report::Query { model, by, from, to, time_zone, view_through }).await?)
}

/// Who earned what: net revenue of orders shared among touches, with what nobody earned as a row of its own.
#[utoipa::path(get, path = "/v1/reports/attribution", tag = "reports", params(AttributionQuery),
    responses((status = 200, body = Report), (status = 422, body = Problem)))]
#[get("/v1/reports/attribution")]
async fn attribution(
    platform: Data<Platform>,
    _: Guarded<scope::Reports>,
    query: Query<AttributionQuery>,
    request: HttpRequest,
) -> ApiResult {
    let accepts_csv = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/csv"));
    let csv = match query.format.as_deref() {
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("format", "format is json or csv")),
        None => accepts_csv,
    };
    let report = attribution_report(&platform, &query).await?;
    if !csv {
        return Ok(HttpResponse::Ok().json(report));
    }
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"attribution.csv\""))
        .body(report.to_csv()))
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LiftQuery {
    /// Key or id; absent: all marketing, by the global holdout.
    campaign: Option<String>,
    /// Look back as of this moment; default: now.
    as_of: Option<String>,
}

/// What a campaign (or all of them) added to what would have happened anyway.
#[utoipa::path(get, path = "/v1/reports/lift", tag = "reports", params(LiftQuery),
    responses((status = 200, body = MeasuredLift), (status = 404, body = Problem)))]
#[get("/v1/reports/lift")]
async fn lift(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<LiftQuery>) -> ApiResult {
    let as_of = match &query.as_of {
        Some(text) => Timestamp::parse(text).ok_or_else(|| ApiError::invalid("as_of", "as_of is an RFC 3339 time or a date"))?,
        None => platform.now(),
    };
    let measured = match &query.campaign {
        Some(name) => {
            let campaign = campaign::find(&platform.db, name).await?;
            measure::campaign_lift(&platform, campaign.id, as_of).await?
        }
        None => measure::global_lift(&platform, as_of).await?,
    };
    Ok(HttpResponse::Ok().json(measured))
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(attribution).service(lift);
}

#[derive(OpenApi)]
#[openapi(paths(attribution, lift), components(schemas(Report, Row, Total, Model, By, MeasuredLift, LiftIn, Lift)))]
struct Doc;

/// This slice's part of the API description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}
