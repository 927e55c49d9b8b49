//! `/v1/segments`: JSON in and out.

use actix_web::web::{Data, Json, Path, Query, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::{PersonId, SegmentId};
use crate::platform::queue::{NewRun, enqueue};

use super::membership::{self, SizePoint};
use super::rule::Rule;
use super::service::{self, NewSegment, Overlap, SamplePerson, Segment};

const SAMPLE_ROWS: i64 = 10;
const SIZE_POINTS: i64 = 400;

#[derive(Serialize, ToSchema)]
struct SegmentBody {
    #[schema(value_type = String, example = "seg_7")]
    id: SegmentId,
    #[schema(example = "loyal-germans")]
    key: String,
    name: String,
    /// The rule tree: see the guide to segments.
    #[schema(value_type = Object)]
    rule: Rule,
    /// The rule in words.
    description: String,
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    latest: Option<SnapshotBody>,
}

#[derive(Serialize, ToSchema)]
struct SnapshotBody {
    #[schema(value_type = String, example = "snp_7")]
    id: crate::platform::ids::SnapshotId,
    #[schema(value_type = String, format = DateTime)]
    taken_at: Timestamp,
    size: i64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    key: String,
    name: String,
    #[schema(value_type = Object, example = json!({"type": "attribute", "field": "country", "test": {"op": "eq", "value": "DE"}}))]
    rule: Value,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    name: String,
    #[schema(value_type = Object)]
    rule: Value,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    #[schema(value_type = Object)]
    rule: Value,
    /// Default: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    as_of: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct PreviewAnswer {
    count: i64,
    sample: Vec<SamplePerson>,
    description: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AsOf {
    /// Default: now.
    #[param(value_type = Option<String>)]
    as_of: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct MembersPage {
    #[schema(value_type = String, format = DateTime)]
    taken_at: Timestamp,
    size: i64,
    #[schema(value_type = Vec<String>)]
    items: Vec<PersonId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

async fn show(platform: &Platform, segment: Segment) -> ApiResult<SegmentBody> {
    let latest = membership::latest_snapshot(&platform.db, segment.id).await?;
    Ok(SegmentBody {
        id: segment.id,
        key: segment.key,
        name: segment.name,
        description: segment.rule.describe(),
        rule: segment.rule,
        version: segment.version,
        created_at: segment.created_at,
        updated_at: segment.updated_at,
        latest: latest.map(|s| SnapshotBody { id: s.id, taken_at: s.taken_at, size: s.size }),
    })
}

fn parse(rule: Value) -> ApiResult<Rule> {
    Rule::parse(rule).map_err(|e| service::AudienceError::from(e).into())
}

/// All segments, in order of id.
#[utoipa::path(get, path = "/v1/segments", tag = "segments", params(PageQuery), responses((status = 200, body = Page<SegmentBody>)))]
#[get("/v1/segments")]
async fn list(platform: Data<Platform>, _: Guarded<scope::Manage>, query: Query<PageQuery>) -> ApiResult {
    let limit = query.limit()?;
    let after = match &query.after {
        Some(text) => text.parse::<SegmentId>().map_err(|e| ApiError::invalid("after", e.to_string()))?,
        None => SegmentId(0),
    };
    let segments = service::list(&platform.db, after, limit + 1).await?;
    let more = i64::try_from(segments.len()).unwrap_or(i64::MAX) > limit;
    let mut items = Vec::new();
    for segment in segments.into_iter().take(usize::try_from(limit).unwrap_or(50)) {
        items.push(show(&platform, segment).await?);
    }
    let next = if more { items.last().map(|s| s.id.to_string()) } else { None };
    Ok(HttpResponse::Ok().json(Page { items, next }))
}

/// Makes a segment.
#[utoipa::path(post, path = "/v1/segments", tag = "segments", request_body = CreateBody,
    responses((status = 201, body = SegmentBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/v1/segments")]
async fn create(platform: Data<Platform>, _: Guarded<scope::Manage>, body: Json<CreateBody>) -> ApiResult {
    let body = body.into_inner();
    let new = NewSegment { key: body.key, name: body.name, rule: parse(body.rule)? };
    let segment = service::create(&platform.db, new, platform.now()).await?;
    Ok(HttpResponse::Created().json(show(&platform, segment).await?))
}

/// What a rule would give: how many people, some of them, and the rule in words.
#[utoipa::path(post, path = "/v1/segments/preview", tag = "segments", request_body = PreviewBody,
    responses((status = 200, body = PreviewAnswer), (status = 422, body = Problem)))]
#[post("/v1/segments/preview")]
async fn preview(platform: Data<Platform>, _: Guarded<scope::Manage>, body: Json<PreviewBody>) -> ApiResult {
    let body = body.into_inner();
    let rule = parse(body.rule)?;
    let as_of = body.as_of.unwrap_or_else(|| platform.now());
    let count = service::count(&platform.db, &rule, as_of).await?;
    let sample = service::sample(&platform.db, &rule, as_of, SAMPLE_ROWS).await?;
    Ok(HttpResponse::Ok().json(PreviewAnswer { count, sample, description: rule.describe() }))
}

/// One segment, by key or id.
#[utoipa::path(get, path = "/v1/segments/{segment}", tag = "segments", params(("segment" = String, Path)),
    responses((status = 200, body = SegmentBody), (status = 404, body = Problem)))]
#[get("/v1/segments/{segment}")]
async fn read(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>) -> ApiResult {
    let segment = service::find(&platform.db, &path).await?;
    Ok(HttpResponse::Ok().json(show(&platform, segment).await?))
}

/// Changes name and rule.
#[utoipa::path(put, path = "/v1/segments/{segment}", tag = "segments", params(("segment" = String, Path)), request_body = UpdateBody,
    responses((status = 200, body = SegmentBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[put("/v1/segments/{segment}")]
async fn change(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>, body: Json<UpdateBody>) -> ApiResult {
    let body = body.into_inner();
    let id = service::find(&platform.db, &path).await?.id;
    let segment = service::update(&platform.db, id, &body.name, parse(body.rule)?, platform.now()).await?;
    Ok(HttpResponse::Ok().json(show(&platform, segment).await?))
}

/// Removes a segment that nothing uses.
#[utoipa::path(delete, path = "/v1/segments/{segment}", tag = "segments", params(("segment" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[delete("/v1/segments/{segment}")]
async fn remove(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>) -> ApiResult {
    let id = service::find(&platform.db, &path).await?.id;
    service::delete(&platform.db, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who would be in it: count and sample, now or at another moment.
#[utoipa::path(get, path = "/v1/segments/{segment}/preview", tag = "segments", params(("segment" = String, Path), AsOf),
    responses((status = 200, body = PreviewAnswer), (status = 404, body = Problem)))]
#[get("/v1/segments/{segment}/preview")]
async fn look(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>, query: Query<AsOf>) -> ApiResult {
    let rule = service::find(&platform.db, &path).await?.rule;
    let as_of = query.as_of.unwrap_or_else(|| platform.now());
    let count = service::count(&platform.db, &rule, as_of).await?;
    let sample = service::sample(&platform.db, &rule, as_of, SAMPLE_ROWS).await?;
    Ok(HttpResponse::Ok().json(PreviewAnswer { count, sample, description: rule.describe() }))
}

/// Members of the latest snapshot, by keyset.
#[utoipa::path(get, path = "/v1/segments/{segment}/members", tag = "segments", params(("segment" = String, Path), PageQuery),
    responses((status = 200, body = MembersPage), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[get("/v1/segments/{segment}/members")]
async fn members(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>, query: Query<PageQuery>) -> ApiResult {
    let limit = query.limit()?;
    let id = service::find(&platform.db, &path).await?.id;
    let Some(snapshot) = membership::latest_snapshot(&platform.db, id).await? else {
        return Err(ApiError::conflict("no_snapshot", "No snapshot has been taken yet: POST …/snapshot takes one."));
    };
    let after = match &query.after {
        Some(text) => text.parse::<PersonId>().map_err(|e| ApiError::invalid("after", e.to_string()))?,
        None => PersonId(0),
    };
    let items = membership::members(&platform.db, snapshot.id, after, limit).await?;
    let full = i64::try_from(items.len()).unwrap_or(i64::MAX) == limit;
    let next = if full { items.last().map(ToString::to_string) } else { None };
    Ok(HttpResponse::Ok().json(MembersPage { taken_at: snapshot.taken_at, size: snapshot.size, items, next }))
}

/// Enqueues a snapshot.
#[utoipa::path(post, path = "/v1/segments/{segment}/snapshot", tag = "segments", params(("segment" = String, Path)),
    responses((status = 202), (status = 404, body = Problem)))]
#[post("/v1/segments/{segment}/snapshot")]
async fn take(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>) -> ApiResult {
    let id = service::find(&platform.db, &path).await?.id;
    let now = platform.now();
    let run = NewRun { job: "audience.snapshot", unique_key: format!("{id}:{now}"), args: json!({ "segment": id }), at: now };
    let mut tx = platform.db.begin().await?;
    enqueue(&mut tx, run, now).await.map_err(ApiError::internal)?;
    tx.commit().await?;
    Ok(HttpResponse::Accepted().json(json!({ "job": "audience.snapshot", "scheduled_at": now })))
}

/// Size over time, oldest first.
#[utoipa::path(get, path = "/v1/segments/{segment}/sizes", tag = "segments", params(("segment" = String, Path)),
    responses((status = 200, body = Vec<SizePoint>), (status = 404, body = Problem)))]
#[get("/v1/segments/{segment}/sizes")]
async fn sizes(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<String>) -> ApiResult {
    let id = service::find(&platform.db, &path).await?.id;
    Ok(HttpResponse::Ok().json(membership::sizes(&platform.db, id, SIZE_POINTS).await?))
}

/// How many people are in both of two segments, and in only one.
#[utoipa::path(get, path = "/v1/segments/{segment}/overlap/{other}", tag = "segments",
    params(("segment" = String, Path), ("other" = String, Path), AsOf),
    responses((status = 200, body = Overlap), (status = 404, body = Problem)))]
#[get("/v1/segments/{segment}/overlap/{other}")]
async fn overlap(platform: Data<Platform>, _: Guarded<scope::Manage>, path: Path<(String, String)>, query: Query<AsOf>) -> ApiResult {
    let first = service::find(&platform.db, &path.0).await?;
    let second = service::find(&platform.db, &path.1).await?;
    let as_of = query.as_of.unwrap_or_else(|| platform.now());
    Ok(HttpResponse::Ok().json(service::overlap(&platform.db, &first.rule, &second.rule, as_of).await?))
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(preview)
        .service(list)
        .service(create)
        .service(read)
        .service(change)
        .service(remove)
        .service(look)
        .service(members)
        .service(take)
        .service(sizes)
        .service(overlap);
}

#[derive(OpenApi)]
#[openapi(
    paths(list, create, preview, read, change, remove, look, members, take, sizes, overlap),
    components(schemas(
        SegmentBody,
        SnapshotBody,
        CreateBody,
        UpdateBody,
        PreviewBody,
        PreviewAnswer,
        MembersPage,
        SamplePerson,
        SizePoint,
        Overlap
    ))
)]
struct Doc;

/// This slice's part of the API description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}
