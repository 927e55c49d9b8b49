//! Settings → Audit log: who did what, when, in which role. Newest first, by keyset.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::{AuditEntry, AuditFilter, Permission, audit};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS, Pager, after_number, formula_safe, kept};

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Administer);
    vec![Route::get("/settings/audit", need, page), Route::get("/settings/audit.csv", need, download)]
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuditQuery {
    actor: String,
    action: String,
    after: Option<String>,
}

#[derive(Serialize)]
struct AuditView {
    tabs: Vec<Tab>,
    rows: Vec<AuditEntry>,
    pager: Pager,
    actions: Vec<Choice>,
    actor: String,
    action: String,
    filtered: bool,
    download: String,
}

impl AuditQuery {
    fn filter(&self) -> ApiResult<AuditFilter> {
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        Ok(AuditFilter { actor: given(&self.actor), action: given(&self.action), before: after_number(self.after.as_deref())? })
    }
}

async fn page(shell: Shell, platform: Data<Platform>, query: Query<AuditQuery>) -> ApiResult {
    let mut rows = audit::list(&platform.db, &query.filter()?, PAGE_ROWS + 1).await?;
    let query = query.into_inner();
    let kept = kept(&[("actor", &query.actor), ("action", &query.action)]);
    let download = format!("/settings/audit.csv?{kept}");
    let pager = Pager::cut(&mut rows, query.after.as_deref(), kept, |r| r.id.to_string());
    let mut actions = vec![Choice::new("", shell.say("audit.any"))];
    actions.extend(audit::actions(&platform.db).await?.into_iter().map(|a| Choice::new(a.clone(), a)));
    let filtered = !query.actor.is_empty() || !query.action.is_empty();
    let view = AuditView {
        tabs: tabs(&shell, "/settings/audit"),
        rows,
        pager,
        actions,
        actor: query.actor,
        action: query.action,
        filtered,
        download,
    };
    shell.render("settings/audit.html", shell.say("settings.audit"), &view)
}

/// Most rows of a download; the filter narrows it.
const MAX_ROWS: i64 = 100_000;

async fn download(platform: Data<Platform>, query: Query<AuditQuery>) -> ApiResult {
    let rows = audit::list(&platform.db, &query.filter()?, MAX_ROWS).await?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fault = |e: csv::Error| crate::platform::http::ApiError::internal(e);
    writer.write_record(["id", "at", "actor", "role", "action", "subject", "detail", "address"]).map_err(fault)?;
    for r in rows {
        let (id, at) = (r.id.to_string(), r.at.to_string());
        let cells = [&r.actor, &r.actor_role, &r.action, &r.subject, &r.detail, &r.address].map(|c| formula_safe(c));
        writer.write_record([&id, &at].into_iter().chain(cells.iter())).map_err(fault)?;
    }
    let bytes = writer.into_inner().map_err(|e| crate::platform::http::ApiError::internal(anyhow::anyhow!("{e}")))?;
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""))
        .body(bytes))
}
