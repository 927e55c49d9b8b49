//! Reports: what earned what? Every report that the engine has, with the same words in the address as over HTTP, so that a link can be
//! shared within a role and page, interface and command line show the same numbers.

mod asked;
mod cohorts;
mod credit;
mod deliveries;
pub(super) mod desk;
mod engagement;
mod funnel;
mod lift;
mod paths;
mod result;

use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Form, Path, Query};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use self::asked::{Asked, FilterView, filters, kind_of};
use self::desk::Outcome;
use self::result::ResultView;
use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::attribution::{AttributionSetting, Format, Model, ReportKind};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Platform, setting};

type Given = Query<BTreeMap<String, String>>;

pub(super) fn routes() -> Vec<Route> {
    let see = Need::May(Permission::See);
    let mut routes = vec![
        Route::get("/reports", see, start),
        Route::get("/reports/{kind}", see, page),
        Route::get("/reports/{kind}/part", see, part),
        Route::get("/reports/{kind}/file", see, file),
        Route::post("/reports/reading", Need::May(Permission::Configure), "report.reading", set_reading),
    ];
    routes.extend(lift::routes());
    routes.extend(deliveries::routes());
    routes
}

async fn start(shell: Shell) -> ApiResult {
    Ok(shell.redirect("/reports/attribution"))
}

#[derive(Clone, Serialize)]
struct Tab {
    path: String,
    label: String,
    current: bool,
}

/// All reports; the question travels from one to the next.
fn tabs(shell: &Shell, current: &str, asked: Option<&Asked>) -> Vec<Tab> {
    let mut tabs: Vec<Tab> = ReportKind::ALL
        .into_iter()
        .map(|kind| Tab {
            path: asked.map_or_else(|| format!("/reports/{}", kind.name()), |a| a.of_kind(kind).path()),
            label: shell.say(&format!("reports.kind.{}", kind.name())),
            current: current == kind.name(),
        })
        .collect();
    for name in ["lift", "deliveries"] {
        let label = shell.say(&format!("reports.kind.{name}"));
        tabs.push(Tab { path: format!("/reports/{name}"), label, current: current == name });
    }
    tabs
}

/// What a report came to, so far.
#[derive(Default, Serialize)]
struct OutcomeView {
    result: Option<ResultView>,
    /// It is being computed …
    computing: bool,
    /// … for so long.
    seconds: u64,
    problem: String,
    /// Address of the files, ready for a format.
    file: String,
}

fn outcome_view(shell: &Shell, asked: &Asked, outcome: Result<Outcome, std::time::Duration>) -> ApiResult<OutcomeView> {
    let mut view = OutcomeView { file: format!("/reports/{}/file?{}", asked.kind.name(), asked.parameters()), ..OutcomeView::default() };
    match outcome {
        Ok(Outcome::Done(answer)) => view.result = Some(result::view(shell, asked, &answer)?),
        Ok(Outcome::Refused(refused)) if refused.status >= 500 => view.problem = shell.say("error.internal"),
        Ok(Outcome::Refused(refused)) => view.problem = refused.detail.clone(),
        Ok(Outcome::TooLong) => view.problem = shell.say("reports.too_long"),
        Err(since) => (view.computing, view.seconds) = (true, since.as_secs()),
    }
    Ok(view)
}

#[derive(Serialize)]
struct PageView {
    kind: &'static str,
    about: String,
    tabs: Vec<Tab>,
    filters: FilterView,
    outcome: OutcomeView,
    /// Where the outcome is fetched again.
    part: String,
    link: String,
    /// This page, for forms that come back to it.
    here: String,
    api: String,
    /// A delivery of this question.
    deliver: String,
}

async fn page(shell: Shell, platform: Data<Platform>, path: Path<String>, given: Given) -> ApiResult {
    let kind = kind_of(&path)?;
    let asked = Asked::read(&platform, kind, &given).await?;
    let outcome = shell.ui().reports.ask(&platform, kind, &asked.query).await;
    let outcome = outcome_view(&shell, &asked, outcome)?;
    let status = if outcome.problem.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let base = platform.config.server.public_url.trim_end_matches('/');
    let parameters = asked.parameters();
    let parameters = parameters.trim_end_matches('&');
    let view = PageView {
        kind: kind.name(),
        about: shell.say(&format!("reports.about.{}", kind.name())),
        tabs: tabs(&shell, kind.name(), Some(&asked)),
        filters: filters(&shell, &platform, &asked).await?,
        part: format!("/reports/{}/part?{parameters}", kind.name()),
        here: format!("/reports/{}?{parameters}", kind.name()),
        link: format!("{base}/reports/{}?{parameters}", kind.name()),
        api: format!("{base}/v1/reports/{}?{parameters}", kind.name()),
        deliver: format!("/reports/deliveries/new?report={}&{parameters}", kind.name()),
        outcome,
    };
    shell.render_as(status, "reports/page.html", shell.say(&format!("reports.kind.{}", kind.name())), &view)
}

/// The outcome alone, for a page that waits for it.
async fn part(shell: Shell, platform: Data<Platform>, path: Path<String>, given: Given) -> ApiResult {
    #[derive(Serialize)]
    struct Part {
        outcome: OutcomeView,
    }
    let asked = Asked::read(&platform, kind_of(&path)?, &given).await?;
    let outcome = shell.ui().reports.ask(&platform, asked.kind, &asked.query).await;
    let outcome = outcome_view(&shell, &asked, outcome)?;
    let done = !outcome.computing;
    shell.fragment("reports/outcome.html", &Part { outcome }, done)
}

/// The report as a file: the same bytes as over HTTP.
async fn file(shell: Shell, platform: Data<Platform>, path: Path<String>, given: Given) -> ApiResult {
    let asked = Asked::read(&platform, kind_of(&path)?, &given).await?;
    let format: Format = asked.query.format.as_deref().unwrap_or("csv").parse().map_err(ApiError::from)?;
    let answer = match shell.ui().reports.wait(&platform, asked.kind, &asked.query).await {
        Outcome::Done(answer) => answer,
        Outcome::Refused(why) if why.status < 500 => return Err(ApiError::invalid("report", why.detail.clone())),
        Outcome::Refused(why) => return Err(ApiError::internal(anyhow::anyhow!(why.detail.clone()))),
        Outcome::TooLong => return Err(ApiError::busy(shell.say("reports.too_long"))),
    };
    let table = asked.query.table.clone();
    let bytes = web::block(move || answer.bytes(format, table.as_deref())).await.map_err(ApiError::internal)?.map_err(ApiError::from)?;
    Ok(attachment(&format!("marquee-{}", asked.kind.name()), format, bytes))
}

fn attachment(name: &str, format: Format, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(format.media_type())
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{}\"", format.extension())))
        .body(bytes)
}

#[derive(Deserialize)]
struct ReadingForm {
    model: String,
    #[serde(default)]
    view_through: bool,
    #[serde(default)]
    back: String,
}

/// The model, and whether views count, where none is named: on Home, on every page, over HTTP.
async fn set_reading(shell: Shell, platform: Data<Platform>, form: Form<ReadingForm>) -> ApiResult {
    let form = form.into_inner();
    let model: Model = form.model.parse().map_err(|e: String| ApiError::invalid("model", e))?;
    let old: AttributionSetting = setting::get_or_default(&platform.db, AttributionSetting::KEY).await?;
    let new = AttributionSetting { model, view_through: form.view_through, ..old };
    let mut tx = platform.db.begin().await?;
    setting::put(&mut tx, AttributionSetting::KEY, &new, platform.now()).await?;
    tx.commit().await?;
    shell.note(model.name(), if new.view_through { "views count" } else { "clicks only" });
    let name = shell.say(&format!("model.{}", model.name()));
    let back = if form.back.starts_with("/reports/") { form.back } else { "/reports/attribution".to_owned() };
    Ok(shell.redirect_saying(&back, "good", shell.say_with("reports.reading_set", &[("model", name)])))
}
