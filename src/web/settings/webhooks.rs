//! Settings → Webhooks: which servers are told what, a test, and the log of attempts.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::Permission;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Platform, Timestamp};
use crate::web::page::{Confirm, Shell};
use crate::web::table::{PAGE_ROWS, Pager, after_number};
use crate::webhooks::{self, Attempt, EventKind, NewWebhook, Webhook, WebhookError};

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Administer);
    vec![
        Route::get("/settings/webhooks", need, list),
        Route::post("/settings/webhooks", need, "webhook.create", create),
        Route::get("/settings/webhooks/{id}", need, one),
        Route::post("/settings/webhooks/{id}", need, "webhook.change", change),
        Route::post("/settings/webhooks/{id}/test", need, "webhook.test", test),
        Route::post("/settings/webhooks/{id}/on", need, "webhook.on", on),
        Route::post("/settings/webhooks/{id}/off", need, "webhook.off", off),
        Route::get("/settings/webhooks/{id}/delete", need, ask_delete),
        Route::post("/settings/webhooks/{id}/delete", need, "webhook.delete", delete),
    ]
}

#[derive(Serialize)]
struct Row {
    id: i64,
    name: String,
    url: String,
    kinds: Vec<&'static str>,
    /// `on`, `failing` or `off`.
    state: &'static str,
    tone: &'static str,
    failures: i64,
    failing_since: Option<Timestamp>,
    next_attempt_at: Timestamp,
    waiting: i64,
    last: Option<Attempt>,
}

async fn row(platform: &Platform, w: Webhook) -> ApiResult<Row> {
    let (state, tone) = match (w.active, w.failures) {
        (false, _) => ("off", ""),
        (true, 0) => ("on", "good"),
        (true, _) => ("failing", "bad"),
    };
    Ok(Row {
        waiting: webhooks::waiting(&platform.db, w.id).await?,
        last: webhooks::attempts(&platform.db, w.id, None, 1).await?.pop(),
        id: w.id,
        name: w.name,
        url: w.url,
        kinds: w.kinds.iter().map(|k| k.as_str()).collect(),
        state,
        tone,
        failures: w.failures,
        failing_since: w.failing_since,
        next_attempt_at: w.next_attempt_at,
    })
}

#[derive(Serialize)]
struct KindChoice {
    name: &'static str,
    /// The part of its translation key.
    key: String,
    chosen: bool,
}

fn kinds(chosen: &[String]) -> Vec<KindChoice> {
    EventKind::ALL
        .iter()
        .map(|k| KindChoice { name: k.as_str(), key: k.as_str().replace('.', "_"), chosen: chosen.iter().any(|c| c == k.as_str()) })
        .collect()
}

/// The form of a webhook with its error.
#[derive(Serialize)]
struct FormView {
    action: String,
    name: String,
    url: String,
    kinds: Vec<KindChoice>,
    field: &'static str,
    error: Option<String>,
}

fn form(action: String, new: &NewWebhook) -> FormView {
    FormView { action, name: new.name.clone(), url: new.url.clone(), kinds: kinds(&new.kinds), field: "", error: None }
}

fn read(body: &Bytes) -> NewWebhook {
    let mut new = NewWebhook::default();
    for (key, value) in url::form_urlencoded::parse(body) {
        match key.as_ref() {
            "name" => new.name = value.into_owned(),
            "url" => new.url = value.into_owned(),
            "kind" => new.kinds.push(value.into_owned()),
            _ => {}
        }
    }
    new
}

fn refused(shell: &Shell, form: &mut FormView, error: WebhookError) -> ApiResult<()> {
    match error {
        WebhookError::Invalid { field, .. } => {
            form.field = field;
            form.error = Some(shell.say(match field {
                "name" => "webhooks.error_name",
                "url" => "webhooks.error_url",
                _ => "webhooks.error_kinds",
            }));
        }
        WebhookError::TooMany => {
            form.field = "name";
            form.error = Some(shell.say("webhooks.error_many"));
        }
        other => return Err(other.into()),
    }
    Ok(())
}

#[derive(Serialize)]
struct ListView {
    tabs: Vec<Tab>,
    rows: Vec<Row>,
    form: FormView,
}

async fn list_view(shell: &Shell, platform: &Platform, form: FormView) -> ApiResult<ListView> {
    let mut rows = Vec::new();
    for w in webhooks::list(&platform.db).await? {
        rows.push(row(platform, w).await?);
    }
    Ok(ListView { tabs: tabs(shell, "/settings/webhooks"), rows, form })
}

async fn list(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let view = list_view(&shell, &platform, form("/settings/webhooks".into(), &NewWebhook::default())).await?;
    shell.render("settings/webhooks.html", shell.say("settings.webhooks"), &view)
}

async fn create(shell: Shell, platform: Data<Platform>, body: Bytes) -> ApiResult {
    let new = read(&body);
    match webhooks::create(&platform, &new).await {
        Ok(made) => {
            shell.note(made.name.clone(), made.url.clone());
            let said = shell.say_with("webhooks.made", &[("name", made.name)]);
            Ok(shell.redirect_saying(&format!("/settings/webhooks/{}", made.id), "good", said))
        }
        Err(error) => {
            let mut form = form("/settings/webhooks".into(), &new);
            refused(&shell, &mut form, error)?;
            let view = list_view(&shell, &platform, form).await?;
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/webhooks.html", shell.say("settings.webhooks"), &view)
        }
    }
}

#[derive(Serialize)]
struct OneView {
    row: Row,
    secret: Option<String>,
    form: FormView,
    attempts: Vec<Attempt>,
    pager: Pager,
}

fn number(text: &str) -> ApiResult<i64> {
    text.parse().map_err(|_| ApiError::not_found("webhook"))
}

async fn one_view(platform: &Platform, id: i64, form: Option<FormView>, after: Option<&str>) -> ApiResult<OneView> {
    let hook = webhooks::get(&platform.db, id).await?;
    let mut attempts = webhooks::attempts(&platform.db, id, after_number(after)?, PAGE_ROWS + 1).await?;
    let pager = Pager::cut(&mut attempts, after, String::new(), |a| a.id.to_string());
    let stored =
        NewWebhook { name: hook.name.clone(), url: hook.url.clone(), kinds: hook.kinds.iter().map(|k| k.as_str().to_owned()).collect() };
    Ok(OneView {
        secret: webhooks::secret(platform, id).await.ok(),
        form: form.unwrap_or_else(|| self::form(format!("/settings/webhooks/{id}"), &stored)),
        row: row(platform, hook).await?,
        attempts,
        pager,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneQuery {
    after: Option<String>,
}

async fn one(shell: Shell, platform: Data<Platform>, path: Path<String>, query: Query<OneQuery>) -> ApiResult {
    let view = one_view(&platform, number(&path)?, None, query.after.as_deref()).await?;
    shell.render("settings/webhook.html", view.row.name.clone(), &view)
}

async fn change(shell: Shell, platform: Data<Platform>, path: Path<String>, body: Bytes) -> ApiResult {
    let id = number(&path)?;
    let new = read(&body);
    match webhooks::update(&platform, id, &new).await {
        Ok(hook) => {
            shell.note(hook.name.clone(), format!("{} {}", hook.url, new.kinds.join(" ")));
            Ok(shell.redirect_saying(&format!("/settings/webhooks/{id}"), "good", shell.say("webhooks.saved")))
        }
        Err(error) => {
            let mut form = form(format!("/settings/webhooks/{id}"), &new);
            refused(&shell, &mut form, error)?;
            let view = one_view(&platform, id, Some(form), None).await?;
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/webhook.html", view.row.name.clone(), &view)
        }
    }
}

async fn test(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let id = number(&path)?;
    let made = webhooks::ping(&platform, id).await?;
    let status = made.status.map(|s| s.to_string()).unwrap_or_else(|| "–".into());
    shell.note(id.to_string(), format!("{status} {}", made.error.as_deref().unwrap_or_default()));
    let back = format!("/settings/webhooks/{id}");
    Ok(if made.ok {
        shell.redirect_saying(&back, "good", shell.say_with("webhooks.test_good", &[("status", status)]))
    } else {
        let why = made.error.unwrap_or_default();
        shell.redirect_saying(&back, "bad", shell.say_with("webhooks.test_bad", &[("status", status), ("why", why)]))
    })
}

async fn on(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let id = number(&path)?;
    webhooks::set_active(&platform, id, true).await?;
    shell.note(id.to_string(), "");
    Ok(shell.redirect_saying(&format!("/settings/webhooks/{id}"), "good", shell.say("webhooks.is_on")))
}

async fn off(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let id = number(&path)?;
    webhooks::set_active(&platform, id, false).await?;
    shell.note(id.to_string(), "");
    Ok(shell.redirect_saying(&format!("/settings/webhooks/{id}"), "good", shell.say("webhooks.is_off")))
}

async fn ask_delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let hook = webhooks::get(&platform.db, number(&path)?).await?;
    let confirm = Confirm {
        text: shell.say_with("webhooks.delete_text", &[("name", hook.name)]),
        consequence: shell.say("webhooks.delete_kept"),
        button: shell.say("webhooks.delete"),
        action: format!("/settings/webhooks/{}/delete", hook.id),
        back: format!("/settings/webhooks/{}", hook.id),
        danger: true,
    };
    shell.confirm(shell.say("webhooks.delete_title"), &confirm)
}

async fn delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let hook = webhooks::get(&platform.db, number(&path)?).await?;
    webhooks::remove(&platform, hook.id).await?;
    shell.note(hook.name.clone(), hook.url);
    let said = shell.say_with("webhooks.deleted", &[("name", hook.name)]);
    Ok(shell.redirect_saying("/settings/webhooks", "good", said))
}
