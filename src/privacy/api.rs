//! A person's rights over HTTP: `DELETE /v1/people/{id}` erases, `GET /v1/people/{id}/export` hands everything out. Scope `manage`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use utoipa::OpenApi as _;

use super::PersonFile;
use crate::account::{Guarded, scope};
use crate::events::Event;
use crate::events::orders::Order;
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Problem};
use crate::platform::ids::{IdError, PersonId};
use crate::recommend::Pick;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.route("/v1/people/{id}", web::delete().to(erase_person)).route("/v1/people/{id}/export", web::get().to(export_person));
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(erase_person, export_person), components(schemas(PersonFile, Event, Order, Pick, Problem)))]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

fn person_id(text: &str) -> ApiResult<PersonId> {
    text.parse().map_err(|e: IdError| ApiError::bad_request("bad_id", e.to_string()))
}

/// Erases a person: nothing personal stays, money and counts do. Cannot be undone.
#[utoipa::path(delete, path = "/v1/people/{id}", tag = "people", security(("bearer" = []), ("basic" = [])),
    params(("id" = String, Path, example = "per_42")), responses((status = 204), (status = 404, body = Problem)))]
async fn erase_person(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult {
    super::erase(&platform, person_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Everything that is kept about one person, as JSON.
#[utoipa::path(get, path = "/v1/people/{id}/export", tag = "people", security(("bearer" = []), ("basic" = [])),
    params(("id" = String, Path, example = "per_42")), responses((status = 200, body = PersonFile), (status = 404, body = Problem)))]
async fn export_person(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult {
    let id = person_id(&id)?;
    let file = super::export(&platform.db, id).await?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.json\""))).json(file))
}
