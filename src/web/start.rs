//! The guided start: data → sender → first segment → first campaign, each step ticked by what is there. For Home, and on a page of its own.
//!
//! Home includes it with one call: `start::checklist(&shell, &platform).await?`, and `{% if start %}{{ <start_checklist list={start} /> }}{% endif %}`.

use actix_web::web::Data;
use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::platform::http::ApiResult;
use crate::platform::ids::{CampaignId, PersonId, ProductId, SegmentId};
use crate::platform::{Db, Platform, setting};
use crate::{audience, campaign, catalog, delivery, people};

const DISMISSED: &str = "web.start_dismissed";
/// More campaigns than this, and nobody needs to be told how to make the first.
const LOOKED_AT: i64 = 100;

pub(super) fn routes() -> Vec<Route> {
    let plan = Need::May(Permission::Plan);
    vec![
        Route::get("/start", plan, page),
        Route::post("/start/dismiss", plan, "start.dismiss", dismiss),
        Route::post("/start/show", plan, "start.show", show),
    ]
}

/// What a shop needs before its first campaign goes out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Checklist {
    steps: Vec<Step>,
    done: usize,
    total: usize,
    /// Not shown on Home any more.
    dismissed: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Step {
    /// `data`, `sender`, `segment`, `campaign`: translation keys `start.KEY`, `start.KEY_lead`, `start.KEY_do`.
    key: &'static str,
    done: bool,
    /// The first that is not done.
    next: bool,
    /// Where it is done; `None` where the viewer may not.
    href: Option<&'static str>,
}

/// The list for Home: `None` once everything is done, somebody has put it away, or the viewer cannot do any of it.
pub(super) async fn checklist(shell: &Shell, platform: &Platform) -> ApiResult<Option<Checklist>> {
    if !shell.may(Permission::Plan) {
        return Ok(None);
    }
    let list = read(shell, platform).await?;
    Ok(Some(list).filter(|l| !l.dismissed && l.done < l.total))
}

async fn has_data(db: &Db) -> sqlx::Result<bool> {
    Ok(!people::ids_after(db, PersonId(0), 1).await?.is_empty() && !catalog::page(db, ProductId(0), 1).await?.is_empty())
}

/// Anything beyond a draft.
async fn has_campaign(db: &Db) -> sqlx::Result<bool> {
    let page = campaign::list(db, CampaignId(0), LOOKED_AT).await?;
    Ok(page.len() as i64 == LOOKED_AT || page.iter().any(|c| !matches!(c.status, campaign::Status::Draft | campaign::Status::Cancelled)))
}

async fn read(shell: &Shell, platform: &Platform) -> ApiResult<Checklist> {
    let db = &platform.db;
    let config = delivery::mail_config(platform).await?;
    let mail = &config.mail;
    let facts = [
        ("data", has_data(db).await?, Some("/import")),
        (
            "sender",
            !mail.from_address.is_empty() && !mail.servers.is_empty(),
            shell.may(Permission::Configure).then_some("/settings/sender"),
        ),
        ("segment", !audience::list(db, SegmentId(0), 1).await?.is_empty(), Some("/segments/new")),
        ("campaign", has_campaign(db).await?, Some("/campaigns/new")),
    ];
    let first = facts.iter().position(|(_, done, _)| !done);
    let steps: Vec<Step> = facts
        .into_iter()
        .enumerate()
        .map(|(i, (key, done, href))| Step { key, done, next: Some(i) == first, href: href.filter(|_| !done) })
        .collect();
    let dismissed = setting::get_or_default::<bool>(db, DISMISSED).await?;
    Ok(Checklist { done: steps.iter().filter(|s| s.done).count(), total: steps.len(), steps, dismissed })
}

#[derive(Serialize)]
struct StartView {
    start: Checklist,
}

async fn page(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let start = read(&shell, &platform).await?;
    shell.render("start/page.html", shell.say("start.title"), &StartView { start })
}

async fn put(platform: &Platform, dismissed: bool) -> ApiResult<()> {
    let mut tx = platform.db.begin().await?;
    setting::put(&mut tx, DISMISSED, &dismissed, platform.now()).await?;
    Ok(tx.commit().await?)
}

async fn dismiss(shell: Shell, platform: Data<Platform>) -> ApiResult {
    put(&platform, true).await?;
    Ok(shell.redirect_saying("/", "info", shell.say("start.dismissed")))
}

async fn show(shell: Shell, platform: Data<Platform>) -> ApiResult {
    put(&platform, false).await?;
    Ok(shell.redirect("/"))
}
