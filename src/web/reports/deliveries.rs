//! Reports that come by themselves: which, when, where to; made, paused, sent now, deleted.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path, Query};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, kind_of};
use super::{Tab, tabs};
use crate::account::Permission;
use crate::attribution::{self, Deliveries, Delivery, Destination, Format, ReportError, ReportKind, Unit};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Platform, Timestamp};
use crate::web::page::{Confirm, Shell};
use crate::web::route::{Need, Route};
use crate::web::table::Choice;
use crate::web::words;

pub(super) fn routes() -> Vec<Route> {
    let (see, plan) = (Need::May(Permission::See), Need::May(Permission::Plan));
    vec![
        Route::get("/reports/deliveries", see, list),
        Route::get("/reports/deliveries/new", plan, new),
        Route::post("/reports/deliveries", plan, "report_delivery.create", create),
        Route::post("/reports/deliveries/{name}/pause", plan, "report_delivery.pause", pause),
        Route::post("/reports/deliveries/{name}/resume", plan, "report_delivery.resume", resume),
        Route::post("/reports/deliveries/{name}/run", plan, "report_delivery.run", run),
        Route::get("/reports/deliveries/{name}/delete", plan, ask_delete),
        Route::post("/reports/deliveries/{name}/delete", plan, "report_delivery.delete", delete),
    ]
}

#[derive(Serialize)]
struct DeliveryView {
    name: String,
    report: String,
    about: String,
    schedule: String,
    /// Whom it goes to; how many, where the viewer may see no address.
    to: String,
    format: &'static str,
    last: Option<Timestamp>,
    paused: bool,
}

#[derive(Serialize)]
struct ListView {
    tabs: Vec<Tab>,
    rows: Vec<DeliveryView>,
}

fn about(shell: &Shell, delivery: &Delivery) -> String {
    match (delivery.about, &delivery.query.from) {
        (Some(unit), _) => shell.say(&format!("reports.last_whole.{}", unit.name())),
        (None, Some(_)) => shell.say("reports.fixed_span"),
        (None, None) => shell.say("reports.last_days"),
    }
}

async fn list(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let mut last = attribution::last_delivered(&platform.db).await?;
    let rows = Deliveries::load(&platform.db)
        .await?
        .0
        .into_iter()
        .map(|d| DeliveryView {
            report: shell.say(&format!("reports.kind.{}", d.report.name())),
            about: about(&shell, &d),
            schedule: words::cron(&d.cron, d.time_zone.unwrap_or(platform.config.shop.time_zone), shell.locale()),
            to: match &d.to {
                Destination::Mail(list) if shell.may(Permission::SeePeople) => list.join(", "),
                Destination::Mail(list) => shell.say_with("reports.recipients", &[("n", list.len().to_string())]),
                Destination::Folder(path) => path.clone(),
            },
            format: d.format.extension(),
            last: last.remove(&d.name),
            paused: d.paused,
            name: d.name,
        })
        .collect();
    let view = ListView { tabs: tabs(&shell, "deliveries", None), rows };
    shell.render("reports/deliveries.html", shell.say("reports.kind.deliveries"), &view)
}

/// The form of a new one. `query` carries the question of the page that it was opened from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NewForm {
    name: String,
    report: String,
    query: String,
    about: String,
    format: String,
    when: String,
    hour: String,
    cron: String,
    to: String,
    place: String,
}

#[derive(Serialize)]
struct NewView {
    tabs: Vec<Tab>,
    form: FormView,
    reports: Vec<Choice>,
    abouts: Vec<Choice>,
    formats: Vec<Choice>,
    whens: Vec<Choice>,
    hours: Vec<Choice>,
    zone: String,
    may_folder: bool,
    error_field: String,
    error: String,
}

#[derive(Serialize)]
struct FormView {
    name: String,
    report: String,
    query: String,
    about: String,
    format: String,
    when: String,
    hour: String,
    cron: String,
    to: String,
    place: String,
}

fn choices(shell: &Shell, prefix: &str, names: &[&str]) -> Vec<Choice> {
    names.iter().map(|n| Choice::new(*n, shell.say(&format!("{prefix}.{n}")))).collect()
}

fn form_page(shell: &Shell, platform: &Platform, form: NewForm, status: StatusCode, field: &str, error: String) -> ApiResult {
    let kinds: Vec<&str> = ReportKind::ALL.iter().map(|k| k.name()).collect();
    let view = NewView {
        tabs: tabs(shell, "deliveries", None),
        reports: choices(shell, "reports.kind", &kinds),
        abouts: choices(shell, "reports.span", &["week", "day", "month", "days"]),
        formats: choices(shell, "reports.format", &["csv", "parquet", "json"]),
        whens: choices(shell, "reports.when", &["weekly", "daily", "monthly", "cron"]),
        hours: (0..24).map(|h| Choice::new(h.to_string(), format!("{h:02}:00"))).collect(),
        zone: platform.config.shop.time_zone.name().to_owned(),
        may_folder: shell.may(Permission::Configure),
        error_field: field.to_owned(),
        error,
        form: FormView {
            name: form.name,
            report: form.report,
            query: form.query,
            about: form.about,
            format: form.format,
            when: form.when,
            hour: form.hour,
            cron: form.cron,
            to: form.to,
            place: form.place,
        },
    };
    shell.render_as(status, "reports/delivery_new.html", shell.say("reports.new_delivery"), &view)
}

async fn new(shell: Shell, platform: Data<Platform>, given: Query<BTreeMap<String, String>>) -> ApiResult {
    let mut given = given.into_inner();
    let report = given.remove("report").unwrap_or_else(|| "attribution".into());
    kind_of(&report)?;
    // A delivery is about the time before it, whatever span the page showed.
    given.retain(|name, value| !value.is_empty() && !["from", "to", "format", "table"].contains(&name.as_str()));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&given).finish();
    let form = NewForm {
        name: format!("{report}-weekly"),
        report,
        query,
        about: "week".into(),
        format: "csv".into(),
        when: "weekly".into(),
        hour: "7".into(),
        to: shell.session()?.user.email.clone(),
        place: "mail".into(),
        ..NewForm::default()
    };
    form_page(&shell, &platform, form, StatusCode::OK, "", String::new())
}

/// The delivery that a form describes, or the field that is wrong and why.
async fn read(shell: &Shell, platform: &Platform, form: &NewForm) -> Result<Delivery, ReportError> {
    let wrong = |field: &'static str, key: &str| ReportError::Invalid { field, detail: shell.say(key) };
    let report = kind_of(&form.report).map_err(|_| wrong("report", "reports.wrong.report"))?;
    let given: BTreeMap<String, String> = url::form_urlencoded::parse(form.query.as_bytes()).into_owned().collect();
    let asked = Asked::read(platform, report, &given)
        .await
        .map_err(|e| ReportError::Invalid { field: "report", detail: shell.fault(e.detail()) })?;
    let mut query = asked.query;
    (query.from, query.to, query.format, query.table) = (None, None, None, None);
    let hour: u32 = form.hour.parse().ok().filter(|h| *h < 24).ok_or_else(|| wrong("hour", "reports.wrong.hour"))?;
    let cron = match form.when.as_str() {
        "daily" => format!("0 {hour} * * *"),
        "weekly" => format!("0 {hour} * * 1"),
        "monthly" => format!("0 {hour} 1 * *"),
        _ => form.cron.trim().to_owned(),
    };
    let to = if form.place == "folder" {
        if !shell.may(Permission::Configure) {
            return Err(wrong("to", "reports.wrong.folder"));
        }
        Destination::Folder(form.to.trim().to_owned())
    } else {
        let list = form.to.split([',', ';', ' ', '\n', '\r']).map(str::trim).filter(|a| !a.is_empty());
        Destination::Mail(list.map(str::to_owned).collect())
    };
    Ok(Delivery {
        name: form.name.trim().to_owned(),
        report,
        query,
        about: form.about.parse::<Unit>().ok(),
        format: form.format.parse::<Format>()?,
        cron,
        time_zone: None,
        to,
        starts_at: None,
        paused: false,
    })
}

async fn create(shell: Shell, platform: Data<Platform>, form: Form<NewForm>) -> ApiResult {
    let form = form.into_inner();
    let saved = async {
        let delivery = read(&shell, &platform, &form).await?;
        let name = delivery.name.clone();
        let mut all = Deliveries::load(&platform.db).await?;
        all.0.push(delivery);
        all.save(&platform).await?;
        Ok::<_, ReportError>(name)
    };
    match saved.await {
        Ok(name) => {
            shell.note(name.clone(), form.report);
            Ok(shell.redirect_saying("/reports/deliveries", "good", shell.say_with("reports.delivery_made", &[("name", name)])))
        }
        Err(ReportError::Invalid { field, detail }) => form_page(&shell, &platform, form, StatusCode::UNPROCESSABLE_ENTITY, field, detail),
        Err(other) => Err(other.into()),
    }
}

/// Changes the one of that name, or says that there is none.
async fn change(platform: &Platform, name: &str, edit: impl FnOnce(&mut Vec<Delivery>, usize)) -> ApiResult<()> {
    let mut all = Deliveries::load(&platform.db).await?;
    let at = all.0.iter().position(|d| d.name == name).ok_or_else(|| ApiError::not_found("delivery"))?;
    edit(&mut all.0, at);
    all.save(platform).await?;
    Ok(())
}

fn back(shell: &Shell, key: &str, name: String) -> HttpResponse {
    shell.note(name.clone(), "");
    shell.redirect_saying("/reports/deliveries", "good", shell.say_with(key, &[("name", name)]))
}

async fn pause(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    change(&platform, &name, |all, at| all[at].paused = true).await?;
    Ok(back(&shell, "reports.delivery_paused", name))
}

async fn resume(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    change(&platform, &name, |all, at| all[at].paused = false).await?;
    Ok(back(&shell, "reports.delivery_resumed", name))
}

async fn run(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    match attribution::deliver_now(&platform, &name).await {
        Ok(Some(_)) => Ok(back(&shell, "reports.delivery_sent", name)),
        Ok(None) => Err(ApiError::not_found("delivery")),
        Err(error) => {
            tracing::warn!(%error, delivery = name, "a report could not be delivered");
            let why = format!("{error:#}").chars().take(120).collect();
            Ok(shell.redirect_saying(
                "/reports/deliveries",
                "bad",
                shell.say_with("reports.delivery_failed", &[("name", name), ("why", why)]),
            ))
        }
    }
}

async fn ask_delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    if !Deliveries::load(&platform.db).await?.0.iter().any(|d| d.name == name) {
        return Err(ApiError::not_found("delivery"));
    }
    let ask = Confirm {
        text: shell.say_with("reports.delete_text", &[("name", name.clone())]),
        consequence: shell.say("reports.delete_kept"),
        button: shell.say("reports.delete"),
        action: format!("/reports/deliveries/{name}/delete"),
        back: "/reports/deliveries".into(),
        danger: true,
    };
    shell.confirm(shell.say("reports.delete_title"), &ask)
}

async fn delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let name = path.into_inner();
    change(&platform, &name, |all, at| drop(all.remove(at))).await?;
    Ok(back(&shell, "reports.delivery_deleted", name))
}
