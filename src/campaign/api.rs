//! Campaigns over HTTP, for keys with the scope `manage`.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::dry_run::{self, Detectable, DryRun, PersonPart, ProductShare};
use super::model::{Action, Campaign, NewCampaign, Run, RunStatus, Status, StoredVariant};
use super::plan::{Caps, Choice, Goal, GoalKind, Hours, IfPast, LocaleMode, Plan, Repeat, Schedule, SendWindow, Sender, Utm, Variant};
use super::policy::{self, ContactPolicy};
use super::report::{self, Progress, VariantResult};
use super::{service, store};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::{CampaignId, IdError, RunId, TouchId};
use crate::touches::{self, StateCount, Touch, TouchState};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/v1/campaigns").route(web::get().to(list_campaigns)).route(web::post().to(create_campaign)))
        .service(web::resource("/v1/campaigns/{id}").route(web::get().to(get_campaign)).route(web::put().to(update_campaign)))
        .service(web::resource("/v1/campaigns/{id}/dry-run").route(web::get().to(dry_run_campaign)))
        .service(web::resource("/v1/campaigns/{id}/runs").route(web::get().to(list_runs)))
        .service(web::resource("/v1/campaigns/{id}/touches").route(web::get().to(list_touches)))
        .service(web::resource("/v1/campaigns/{id}/progress").route(web::get().to(get_progress)))
        .service(web::resource("/v1/campaigns/{id}/resend").route(web::post().to(resend)))
        .service(web::resource("/v1/campaigns/{id}/{action}").route(web::post().to(act)))
        .service(web::resource("/v1/contact-policy").route(web::get().to(get_policy)).route(web::put().to(put_policy)));
}

#[derive(OpenApi)]
#[openapi(
    paths(
        list_campaigns,
        create_campaign,
        get_campaign,
        update_campaign,
        dry_run_campaign,
        list_runs,
        list_touches,
        get_progress,
        resend,
        act,
        get_policy,
        put_policy
    ),
    components(schemas(
        Campaign,
        NewCampaign,
        UpdateCampaign,
        Plan,
        Choice,
        Variant,
        StoredVariant,
        LocaleMode,
        Schedule,
        Repeat,
        IfPast,
        Goal,
        GoalKind,
        Caps,
        Hours,
        SendWindow,
        Sender,
        Utm,
        Status,
        Action,
        Run,
        RunStatus,
        DryRun,
        ProductShare,
        PersonPart,
        Detectable,
        Progress,
        StateCount,
        VariantResult,
        Touch,
        TouchState,
        Resend,
        Resent,
        ContactPolicy,
        Problem
    ))
)]
struct Api;

/// The part of the API description that this slice answers for.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

fn after<T: std::str::FromStr<Err = IdError>>(query: &PageQuery) -> ApiResult<Option<T>> {
    query.after.as_deref().map(|text| text.parse().map_err(|e: IdError| ApiError::invalid("after", e.to_string()))).transpose()
}

fn page<T>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> String) -> web::Json<Page<T>> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let next = if items.len() > limit { items.get(limit.saturating_sub(1)).map(key) } else { None };
    items.truncate(limit);
    web::Json(Page { items, next })
}

async fn find(platform: &Platform, key_or_id: &str) -> ApiResult<Campaign> {
    Ok(service::find(&platform.db, key_or_id).await?)
}

/// Campaigns, oldest first.
#[utoipa::path(get, path = "/v1/campaigns", tag = "Campaigns", params(PageQuery), security(("key" = ["manage"])),
    responses((status = 200, body = Page<Campaign>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_campaigns(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    query: web::Query<PageQuery>,
) -> ApiResult<web::Json<Page<Campaign>>> {
    let limit = query.limit()?;
    let after = after::<CampaignId>(&query)?.unwrap_or(CampaignId(0));
    Ok(page(store::page(&platform.db, after, limit + 1).await?, limit, |c| c.id.to_string()))
}

/// Makes a draft.
#[utoipa::path(post, path = "/v1/campaigns", tag = "Campaigns", request_body = NewCampaign, security(("key" = ["manage"])),
    responses((status = 201, body = Campaign), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create_campaign(_: Guarded<scope::Manage>, platform: web::Data<Platform>, body: web::Json<NewCampaign>) -> ApiResult {
    let made = service::create(&platform.db, body.into_inner(), platform.now()).await?;
    Ok(HttpResponse::Created().json(made))
}

/// One campaign, by id or key.
#[utoipa::path(get, path = "/v1/campaigns/{id}", tag = "Campaigns", params(("id" = String, Path,)), security(("key" = ["manage"])),
    responses((status = 200, body = Campaign), (status = 404, body = Problem)))]
async fn get_campaign(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult<web::Json<Campaign>> {
    find(&platform, &id).await.map(web::Json)
}

/// A campaign's new name and plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCampaign {
    pub name: String,
    pub plan: Plan,
}

/// Replaces name and plan. Once a campaign has begun, whatever measurement rests on stays as it is (409 `frozen`).
#[utoipa::path(put, path = "/v1/campaigns/{id}", tag = "Campaigns", params(("id" = String, Path,)), request_body = UpdateCampaign,
    security(("key" = ["manage"])),
    responses((status = 200, body = Campaign), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn update_campaign(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    id: web::Path<String>,
    body: web::Json<UpdateCampaign>,
) -> ApiResult<web::Json<Campaign>> {
    let id = find(&platform, &id).await?.id;
    let UpdateCampaign { name, plan } = body.into_inner();
    Ok(web::Json(service::update(&platform.db, id, &name, plan, platform.now()).await?))
}

/// Schedules, unschedules, pauses, resumes or cancels a campaign; `send-now` runs a draft once, at once.
#[utoipa::path(post, path = "/v1/campaigns/{id}/{action}", tag = "Campaigns",
    params(("id" = String, Path,), ("action" = String, Path, description = "schedule, unschedule, pause, resume, cancel or send-now")),
    security(("key" = ["manage"])),
    responses((status = 200, body = Campaign), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn act(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> ApiResult<web::Json<Campaign>> {
    let (id, action) = path.into_inner();
    let id = find(&platform, &id).await?.id;
    let done = match action.parse() {
        Ok(Action::Start | Action::Finish) | Err(_) if action != "send-now" => return Err(ApiError::not_found("action")),
        Ok(action) => service::transition(&platform, id, action).await?,
        Err(_) => service::send_now(&platform, id).await?,
    };
    Ok(web::Json(done))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DryRunQuery {
    /// How many people to name, at most 500 (default 20).
    people: Option<usize>,
}

/// Who would get what in the next run, and who would not and why. Writes nothing.
#[utoipa::path(get, path = "/v1/campaigns/{id}/dry-run", tag = "Campaigns", params(("id" = String, Path,), DryRunQuery),
    security(("key" = ["manage"])), responses((status = 200, body = DryRun), (status = 404, body = Problem)))]
async fn dry_run_campaign(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    id: web::Path<String>,
    query: web::Query<DryRunQuery>,
) -> ApiResult<web::Json<DryRun>> {
    let id = find(&platform, &id).await?.id;
    Ok(web::Json(dry_run::dry_run(&platform, id, query.people.unwrap_or(20)).await?))
}

/// A campaign's runs, oldest first.
#[utoipa::path(get, path = "/v1/campaigns/{id}/runs", tag = "Campaigns", params(("id" = String, Path,), PageQuery),
    security(("key" = ["manage"])), responses((status = 200, body = Page<Run>), (status = 404, body = Problem)))]
async fn list_runs(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    id: web::Path<String>,
    query: web::Query<PageQuery>,
) -> ApiResult<web::Json<Page<Run>>> {
    let id = find(&platform, &id).await?.id;
    let limit = query.limit()?;
    let after = after::<RunId>(&query)?.unwrap_or(RunId(0));
    Ok(page(store::runs(&platform.db, id, after, limit + 1).await?, limit, |r| r.id.to_string()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct TouchQuery {
    /// Only touches in this state.
    #[param(value_type = Option<String>)]
    state: Option<TouchState>,
    limit: Option<i64>,
    after: Option<String>,
}

/// A campaign's touches, oldest first.
#[utoipa::path(get, path = "/v1/campaigns/{id}/touches", tag = "Campaigns", params(("id" = String, Path,), TouchQuery),
    security(("key" = ["manage"])), responses((status = 200, body = Page<Touch>), (status = 404, body = Problem)))]
async fn list_touches(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    id: web::Path<String>,
    query: web::Query<TouchQuery>,
) -> ApiResult<web::Json<Page<Touch>>> {
    let id = find(&platform, &id).await?.id;
    let TouchQuery { state, limit, after: text } = query.into_inner();
    let paging = PageQuery { limit, after: text };
    let limit = paging.limit()?;
    let after = after::<TouchId>(&paging)?;
    Ok(page(touches::page_of_campaign(&platform.db, id, state, after, limit + 1).await?, limit, |t| t.id.to_string()))
}

/// Touches by state and reason, and the variants' results.
#[utoipa::path(get, path = "/v1/campaigns/{id}/progress", tag = "Campaigns", params(("id" = String, Path,)), security(("key" = ["manage"])),
    responses((status = 200, body = Progress), (status = 404, body = Problem)))]
async fn get_progress(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult<web::Json<Progress>> {
    let id = find(&platform, &id).await?.id;
    Ok(web::Json(report::progress(&platform.db, id).await?))
}

/// Uncertain or failed touches that shall be sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resend {
    /// 1 to 500 touches of this campaign.
    #[schema(value_type = Vec<String>)]
    pub touches: Vec<TouchId>,
}

#[derive(Debug, serde::Serialize, ToSchema)]
pub struct Resent {
    /// Planned again.
    #[schema(value_type = Vec<String>)]
    pub touches: Vec<TouchId>,
}

/// Plans uncertain or failed touches again. An uncertain one may reach its person twice: only a person may ask for it.
#[utoipa::path(post, path = "/v1/campaigns/{id}/resend", tag = "Campaigns", params(("id" = String, Path,)), request_body = Resend,
    security(("key" = ["manage"])), responses((status = 200, body = Resent), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn resend(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    id: web::Path<String>,
    body: web::Json<Resend>,
) -> ApiResult<web::Json<Resent>> {
    let id = find(&platform, &id).await?.id;
    if !(1..=500).contains(&body.touches.len()) {
        return Err(ApiError::invalid("touches", "Name 1 to 500 touches."));
    }
    let own = touches::get_many(&platform.db, &body.touches).await?;
    if let Some(stranger) = body.touches.iter().find(|t| own.get(t).is_none_or(|touch| touch.campaign_id != id)) {
        return Err(ApiError::invalid("touches", format!("{stranger} is no touch of this campaign.")));
    }
    let mut tx = platform.db.begin().await?;
    let again = touches::resend(&mut tx, &body.touches, platform.now()).await?;
    tx.commit().await?;
    Ok(web::Json(Resent { touches: again }))
}

/// Caps, quiet hours and the global holdout.
#[utoipa::path(get, path = "/v1/contact-policy", tag = "Campaigns", security(("key" = ["manage"])),
    responses((status = 200, body = ContactPolicy)))]
async fn get_policy(_: Guarded<scope::Manage>, platform: web::Data<Platform>) -> ApiResult<web::Json<ContactPolicy>> {
    Ok(web::Json(policy::policy(&platform.db).await?))
}

/// Replaces caps, quiet hours and the global holdout. They hold from the next batch on.
#[utoipa::path(put, path = "/v1/contact-policy", tag = "Campaigns", request_body = ContactPolicy, security(("key" = ["manage"])),
    responses((status = 200, body = ContactPolicy), (status = 422, body = Problem)))]
async fn put_policy(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    body: web::Json<ContactPolicy>,
) -> ApiResult<web::Json<ContactPolicy>> {
    let mut tx = platform.db.begin().await?;
    policy::set_policy(&mut tx, &body, platform.now()).await?;
    tx.commit().await?;
    Ok(body)
}
