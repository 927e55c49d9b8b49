//! API writes in the audit log: what a `manage` or `admin` key changed. Events, ads and reports are no deeds of anybody's.

use actix_web::HttpMessage as _;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::{AuditLog, NewAudit, Scope, Used};
use crate::platform::Platform;

/// Middleware: one line per write that succeeded, durable before it is acknowledged.
pub async fn audit_api<B: MessageBody + 'static>(req: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, actix_web::Error> {
    let writes = !matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS) && req.path().starts_with("/v1/");
    let response = next.call(req).await?;
    if !writes || !response.status().is_success() {
        return Ok(response);
    }
    let request = response.request();
    let used = request.extensions().get::<Used>().cloned().filter(|u| matches!(u.scope, Scope::Manage | Scope::Admin));
    let (Some(used), Some(log), Some(platform)) = (used, request.app_data::<Data<AuditLog>>(), request.app_data::<Data<Platform>>()) else {
        return Ok(response);
    };
    let entry = NewAudit {
        actor: format!("key: {}", used.principal.name),
        actor_role: used.principal.scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" "),
        action: format!("api {} {}", request.method(), request.match_pattern().unwrap_or_default()),
        subject: request.path().to_owned(),
        detail: String::new(),
        address: request.peer_addr().map_or_else(String::new, |a| a.ip().to_string()),
    };
    if let Err(error) = log.write(entry, platform.now()).await {
        tracing::error!(%error, "an API write could not be written into the audit log");
    }
    Ok(response)
}
