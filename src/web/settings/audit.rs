//! Settings → Audit log: who did what, when, in which role. Newest first, by keyset.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::{AuditEntry, AuditFilter, Permission, audit};
use crate::platform::http::ApiResult;
use crate::platform::{Platform, Timestamp};
use crate::web::download;
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS, Pager, after_number, kept};

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Administer);
    vec![Route::get("/settings/audit", need, page), Route::file("/settings/audit.csv", need, "audit.download", download)]
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuditQuery {
    actor: String,
    action: String,
    /// Days of the viewer's zone, both included.
    from: String,
    to: String,
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
    from: String,
    to: String,
    filtered: bool,
    download: String,
}

impl AuditQuery {
    fn filter(&self, shell: &Shell) -> ApiResult<AuditFilter> {
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        // What is no day does not narrow.
        let day = |text: &str| text.trim().parse::<chrono::NaiveDate>().ok();
        let zone = shell.reader().zone;
        Ok(AuditFilter {
            actor: given(&self.actor),
            action: given(&self.action),
            from: day(&self.from).map(|d| Timestamp::from_date(d, zone)),
            until: day(&self.to).and_then(|d| d.succ_opt()).map(|d| Timestamp::from_date(d, zone)),
            before: after_number(self.after.as_deref())?,
        })
    }
    fn kept(&self) -> String {
        kept(&[("actor", &self.actor), ("action", &self.action), ("from", &self.from), ("to", &self.to)])
    }
}

async fn page(shell: Shell, platform: Data<Platform>, query: Query<AuditQuery>) -> ApiResult {
    let mut rows = audit::list(&platform.db, &query.filter(&shell)?, PAGE_ROWS + 1).await?;
    let query = query.into_inner();
    let kept = query.kept();
    let filtered = !kept.is_empty();
    let download = format!("/settings/audit.csv?{kept}");
    let pager = Pager::cut(&mut rows, query.after.as_deref(), kept, |r| r.id.to_string());
    let mut actions = vec![Choice::new("", shell.say("audit.any"))];
    actions.extend(audit::actions(&platform.db).await?.into_iter().map(|a| Choice::new(a.clone(), a)));
    let view = AuditView {
        tabs: tabs(&shell, "/settings/audit"),
        rows,
        pager,
        actions,
        actor: query.actor,
        action: query.action,
        from: query.from,
        to: query.to,
        filtered,
        download,
    };
    shell.render("settings/audit.html", shell.say("settings.audit"), &view)
}

static COLUMNS: [&str; 8] = ["id", "at", "actor", "role", "action", "subject", "detail", "address"];

/// The whole log, as it is narrowed.
async fn download(shell: Shell, platform: Data<Platform>, query: Query<AuditQuery>) -> ApiResult {
    let filter = AuditFilter { before: None, ..query.filter(&shell)? };
    shell.note("/settings/audit", query.kept());
    let platform = platform.into_inner();
    Ok(download::pieces("audit.csv", &COLUMNS, None, move |before| {
        let (platform, filter) = (platform.clone(), AuditFilter { before, ..filter.clone() });
        async move {
            let found = audit::list(&platform.db, &filter, download::PIECE).await?;
            let more = (found.len() == download::PIECE as usize).then(|| found.last().map(|last| Some(last.id))).flatten();
            let row = |r: &AuditEntry| {
                let texts = [&r.actor, &r.actor_role, &r.action, &r.subject, &r.detail, &r.address];
                [r.id.to_string(), r.at.to_string()].into_iter().chain(texts.into_iter().cloned()).collect()
            };
            Ok((found.iter().map(row).collect(), more))
        }
    }))
}
