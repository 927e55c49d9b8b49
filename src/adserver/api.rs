//! HTTP of serving: placements, and creatives for ad servers and the shop's own server.

use actix_web::web::{self, Data, Json, Query, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::placements::{NewPlacement, Placement, PlacementError};
use super::service::{AdServer, AskedBy, Banner, Creative};
use super::{NoFill, placements};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Problem};

/// Longest id that is looked up.
const MAX_ID_CHARS: usize = 200;

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/creatives", web::get().to(creative))
        .route("/v1/placements", web::get().to(list_placements))
        .route("/v1/placements", web::post().to(put_placement));
}

#[derive(OpenApi)]
#[openapi(paths(creative, list_placements, put_placement), components(schemas(Creative, Banner, NoFill, Placement, NewPlacement)))]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CreativeQuery {
    /// Key of the placement.
    placement: String,
    /// The person looking, by the shop's own id or ours (`per_…`). Only servers may name people.
    person: Option<String>,
    /// The browser's id, where the person is not known.
    anonymous_id: Option<String>,
}

/// The banner for a place and a viewer. Asking counts as an impression; caps hold.
#[utoipa::path(get, path = "/v1/creatives", tag = "serving", params(CreativeQuery), security(("bearer" = [])),
    responses((status = 200, body = Creative), (status = 404, body = Problem, description = "No such placement"), (status = 422, body = Problem)))]
pub async fn creative(_: Guarded<scope::Serve>, server: Data<AdServer>, query: Query<CreativeQuery>) -> ApiResult {
    let asked_by = match (&query.person, &query.anonymous_id) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("anonymous_id", "Name either a person or an anonymous_id, not both.")),
        (Some(id), None) => AskedBy::Person(checked("person", id)?),
        (None, Some(id)) => AskedBy::Anonymous(checked("anonymous_id", id)?),
        (None, None) => AskedBy::Nobody,
    };
    let creative = server.creative(&query.placement, asked_by).ok_or_else(|| ApiError::not_found("placement"))?;
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(creative))
}

fn checked<'a>(field: &str, id: &'a str) -> Result<&'a str, ApiError> {
    if id.is_empty() || id.len() > MAX_ID_CHARS {
        return Err(ApiError::invalid(field, format!("An id has 1 to {MAX_ID_CHARS} characters.")));
    }
    Ok(id)
}

/// All placements.
#[utoipa::path(get, path = "/v1/placements", tag = "serving", security(("bearer" = [])), responses((status = 200, body = [Placement])))]
pub async fn list_placements(_: Guarded<scope::Manage>, platform: Data<Platform>) -> ApiResult<impl Responder> {
    Ok(Json(placements::list(&platform.db).await?))
}

/// Make a placement, or change the one with this key.
#[utoipa::path(post, path = "/v1/placements", tag = "serving", request_body = NewPlacement, security(("bearer" = [])),
    responses((status = 200, body = Placement), (status = 422, body = Problem)))]
pub async fn put_placement(
    _: Guarded<scope::Manage>,
    platform: Data<Platform>,
    server: Data<AdServer>,
    body: Json<NewPlacement>,
) -> ApiResult<impl Responder> {
    let placement = placements::put(&platform, body.into_inner()).await?;
    // Whoever was told that it exists may ask for it at once; other replicas follow within a second.
    server.refresh(true).await.map_err(ApiError::internal)?;
    Ok(Json(placement))
}

impl From<PlacementError> for ApiError {
    fn from(e: PlacementError) -> Self {
        match e {
            PlacementError::Database(e) => e.into(),
            PlacementError::Key => Self::invalid("key", e.to_string()),
            PlacementError::Size(_) => Self::invalid("width", e.to_string()),
            PlacementError::Name => Self::invalid("name", e.to_string()),
        }
    }
}
