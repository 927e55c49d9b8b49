//! A person's rights over HTTP: `DELETE /v1/people/{id}` erases, `GET /v1/people/{id}/export` hands everything out. Scope `manage`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use utoipa::OpenApi as _;

use super::model::{Event, EventError};
use super::orders::Order;
use super::{merge, orders, store};
use crate::account::{Guarded, scope};
use crate::people;
use crate::platform::Platform;
use crate::platform::db::Db;
use crate::platform::http::{ApiError, ApiResult, Problem};
use crate::platform::ids::{IdError, PersonId};
use crate::touches;

/// Most rows of each kind in an export; beyond any person, short of any trouble.
const MAX_ROWS: i64 = 100_000;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.route("/v1/people/{id}", web::delete().to(erase_person)).route("/v1/people/{id}/export", web::get().to(export_person));
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(erase_person, export_person), components(schemas(PersonFile, Event, Order, Problem)))]
struct Doc;

pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

/// Everything that is kept about one person.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PersonFile {
    #[serde(flatten)]
    pub profile: people::Export,
    /// Newest first.
    pub events: Vec<Event>,
    pub orders: Vec<Order>,
    /// Mails and ads planned, sent and shown.
    #[schema(value_type = Vec<Object>)]
    pub touches: Vec<touches::Touch>,
}

pub async fn export(db: &Db, id: PersonId) -> Result<PersonFile, EventError> {
    Ok(PersonFile {
        profile: people::export(db, id).await?,
        events: store::timeline(db, id, None, MAX_ROWS).await?,
        orders: orders::of_person(db, id, MAX_ROWS).await?,
        touches: touches::page_of_person(db, id, None, MAX_ROWS).await?,
    })
}

fn person_id(text: &str) -> ApiResult<PersonId> {
    text.parse().map_err(|e: IdError| ApiError::bad_request("bad_id", e.to_string()))
}

/// Erases a person: nothing personal stays, money and counts do. Cannot be undone.
#[utoipa::path(delete, path = "/v1/people/{id}", tag = "people", security(("bearer" = []), ("basic" = [])),
    params(("id" = String, Path, example = "per_42")), responses((status = 204), (status = 404, body = Problem)))]
async fn erase_person(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult {
    merge::erase(&platform, person_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Everything that is kept about one person, as JSON.
#[utoipa::path(get, path = "/v1/people/{id}/export", tag = "people", security(("bearer" = []), ("basic" = [])),
    params(("id" = String, Path, example = "per_42")), responses((status = 200, body = PersonFile), (status = 404, body = Problem)))]
async fn export_person(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult {
    let id = person_id(&id)?;
    let file = export(&platform.db, id).await?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.json\""))).json(file))
}
