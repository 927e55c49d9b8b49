//! `/v1/reports/*`.

use actix_web::http::header;
use actix_web::web::{Data, Json, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, put};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::answer::{self, Format, ReportKind};
use super::by::By;
use super::cohorts::{Cohort, CohortCell, CohortReport};
use super::deliver::{Deliveries, Delivery, Destination};
use super::engagement::{EngagementReport, EngagementRow, PeopleIn};
use super::funnel::{FunnelReport, FunnelRow};
use super::learned::Learned;
use super::lift::Lift;
use super::measure::{self, LiftIn, MeasureError, MeasuredLift};
use super::model::Model;
use super::paths::{Delay, DelayRow, LengthRow, PathRow, PathsReport};
use super::period::Unit;
use super::question::ReportQuery;
use super::report::{ModelsReport, ModelsRow, Report, Row, Total};
use crate::account::{Guarded, scope};
use crate::campaign::{self, GoalKind};
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult, Problem};

impl From<MeasureError> for ApiError {
    fn from(e: MeasureError) -> Self {
        match e {
            MeasureError::Campaign(e) => e.into(),
            MeasureError::Database(e) => e.into(),
        }
    }
}

async fn respond(platform: &Platform, kind: ReportKind, query: &ReportQuery, request: &HttpRequest) -> ApiResult {
    let accepts = |media: &str| request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(media));
    let format = match query.format.as_deref() {
        Some(name) => name.parse()?,
        None if accepts("text/csv") => Format::Csv,
        None if accepts("application/vnd.apache.parquet") => Format::Parquet,
        None => Format::Json,
    };
    let answer = answer::report(platform, kind, query).await?;
    if format == Format::Json {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let table = query.table.as_deref();
    let name = table.unwrap_or(kind.name());
    let body = answer.bytes(format, table)?;
    Ok(HttpResponse::Ok()
        .content_type(format.media_type())
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{}\"", format.extension())))
        .body(body))
}

/// Who earned what: net revenue of orders shared among touches, with what nobody earned as a row of its own. Uses: model, by, campaign,
/// channel, currency, view_through.
#[utoipa::path(get, path = "/v1/reports/attribution", tag = "reports", params(ReportQuery),
    responses((status = 200, body = Report), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/v1/reports/attribution")]
async fn attribution(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Attribution, &query, &request).await
}

/// All credit models side by side: one row per key, one column per model. Uses: by, campaign, channel, currency, view_through.
#[utoipa::path(get, path = "/v1/reports/models", tag = "reports", params(ReportQuery),
    responses((status = 200, body = ModelsReport), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/v1/reports/models")]
async fn models(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Models, &query, &request).await
}

/// By which sequences of contacts orders came, how long these were and how long they took; and journeys that led to nothing. Uses: by,
/// campaign, channel, currency, view_through, limit. Tables: paths, lengths, delays.
#[utoipa::path(get, path = "/v1/reports/paths", tag = "reports", params(ReportQuery),
    responses((status = 200, body = PathsReport), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/v1/reports/paths")]
async fn paths(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Paths, &query, &request).await
}

/// People by the period of their first order, and how many ordered again in each period after it. Uses: unit, currency.
#[utoipa::path(get, path = "/v1/reports/cohorts", tag = "reports", params(ReportQuery),
    responses((status = 200, body = CohortReport), (status = 422, body = Problem)))]
#[get("/v1/reports/cohorts")]
async fn cohorts(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Cohorts, &query, &request).await
}

/// How often people come, how much they do, how long ago they were here and whether they return, beside revenue. Uses: unit, currency.
/// Tables: engagement, frequency, recency.
#[utoipa::path(get, path = "/v1/reports/engagement", tag = "reports", params(ReportQuery),
    responses((status = 200, body = EngagementReport), (status = 422, body = Problem)))]
#[get("/v1/reports/engagement")]
async fn engagement(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Engagement, &query, &request).await
}

/// Of the touches due in a span, how many went out, arrived, were seen, clicked, and led to an order. Uses: by, campaign, channel,
/// currency, view_through.
#[utoipa::path(get, path = "/v1/reports/funnel", tag = "reports", params(ReportQuery),
    responses((status = 200, body = FunnelReport), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/v1/reports/funnel")]
async fn funnel(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<ReportQuery>, request: HttpRequest) -> ApiResult {
    respond(&platform, ReportKind::Funnel, &query, &request).await
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LiftQuery {
    /// Key or id; absent: all marketing, by the global holdout.
    campaign: Option<String>,
    /// Look back as of this moment; default: now.
    as_of: Option<String>,
    /// orders (their revenue), visit, days_active or share; default: the campaign's goal, of all marketing orders.
    outcome: Option<String>,
}

/// What a campaign (or all of them) added to what would have happened anyway.
#[utoipa::path(get, path = "/v1/reports/lift", tag = "reports", params(LiftQuery),
    responses((status = 200, body = MeasuredLift), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/v1/reports/lift")]
async fn lift(platform: Data<Platform>, _: Guarded<scope::Reports>, query: Query<LiftQuery>) -> ApiResult {
    let as_of = match &query.as_of {
        Some(text) => Timestamp::parse(text).ok_or_else(|| ApiError::invalid("as_of", "as_of is an RFC 3339 time or a date"))?,
        None => platform.now(),
    };
    let outcome = match &query.outcome {
        Some(text) => {
            Some(text.parse::<GoalKind>().map_err(|_| ApiError::invalid("outcome", "outcome is orders, visit, days_active or share"))?)
        }
        None => None,
    };
    let campaign = match &query.campaign {
        Some(name) => Some(campaign::find(&platform.db, name).await?.id),
        None => None,
    };
    Ok(HttpResponse::Ok().json(measure::lift(&platform, campaign, outcome, as_of).await?))
}

/// The reports that come by themselves. Their recipients are addresses, so a key that reads reports does not see them.
#[utoipa::path(get, path = "/v1/reports/deliveries", tag = "reports", responses((status = 200, body = Deliveries)))]
#[get("/v1/reports/deliveries")]
async fn deliveries(platform: Data<Platform>, _: Guarded<scope::Admin>) -> ApiResult {
    Ok(HttpResponse::Ok().json(Deliveries::load(&platform.db).await?))
}

/// Replaces them all. A delivery that was there by that name keeps its start. A folder is one on the machines that work jobs.
#[utoipa::path(put, path = "/v1/reports/deliveries", tag = "reports", request_body = Deliveries,
    responses((status = 200, body = Deliveries), (status = 422, body = Problem)))]
#[put("/v1/reports/deliveries")]
async fn set_deliveries(platform: Data<Platform>, _: Guarded<scope::Admin>, body: Json<Deliveries>) -> ApiResult {
    Ok(HttpResponse::Ok().json(body.into_inner().save(&platform).await?))
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(deliveries).service(set_deliveries);
    config.service(attribution).service(models).service(paths).service(cohorts).service(engagement).service(funnel).service(lift);
}

#[derive(OpenApi)]
#[openapi(
    paths(attribution, models, paths, cohorts, engagement, funnel, lift, deliveries, set_deliveries),
    components(schemas(
        Report,
        Row,
        Total,
        ModelsReport,
        ModelsRow,
        Learned,
        PathsReport,
        PathRow,
        LengthRow,
        DelayRow,
        Delay,
        CohortReport,
        Cohort,
        CohortCell,
        EngagementReport,
        EngagementRow,
        PeopleIn,
        FunnelReport,
        FunnelRow,
        Model,
        By,
        Unit,
        MeasuredLift,
        LiftIn,
        Lift,
        Deliveries,
        Delivery,
        Destination
    ))
)]
struct Doc;

/// This slice's part of the API description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}
