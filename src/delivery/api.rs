//! `POST /v1/bounces`: a raw bounce or complaint, as a mail server pipes it or a mailbox reader forwards it.

use actix_web::HttpResponse;
use actix_web::web::{self, Data, ServiceConfig};
use utoipa::OpenApi;

use super::bounces::{self, Taken};
use super::dsn::{self, DsnError};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};

#[derive(OpenApi)]
#[openapi(paths(post_bounce), components(schemas(Taken)))]
struct Doc;

/// This slice's part of the API reference.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(web::resource("/v1/bounces").app_data(web::PayloadConfig::new(dsn::MAX_BYTES)).route(web::post().to(post_bounce)));
}

impl From<DsnError> for ApiError {
    fn from(e: DsnError) -> Self {
        match e {
            DsnError::TooLarge(_) => ApiError::too_large(e.to_string()),
            other => ApiError::invalid("body", other.to_string()),
        }
    }
}

/// Takes one bounce (RFC 3464) or complaint (RFC 5965) as a raw mail. The same mail again changes nothing.
#[utoipa::path(post, path = "/v1/bounces", tag = "delivery", request_body(content = String, content_type = "message/rfc822"),
    responses((status = 200, body = Taken), (status = 422, description = "Not a bounce or complaint")), security(("bearer" = [])))]
async fn post_bounce(_: Guarded<scope::Manage>, body: web::Bytes, platform: Data<Platform>) -> ApiResult {
    let bounces = dsn::parse(&body, platform.now())?;
    Ok(HttpResponse::Ok().json(take(&platform, &bounces).await?))
}

/// Records what a report says.
pub async fn take(platform: &Platform, found: &[bounces::NewBounce]) -> sqlx::Result<Taken> {
    let known = bounces::known(platform, found).await?;
    let mut tx = platform.db.begin().await?;
    let taken = bounces::record(&mut tx, found, &known).await?;
    tx.commit().await?;
    Ok(taken)
}
